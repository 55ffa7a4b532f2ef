//! When tracing a process could cost a program that it executes its rights.
//!
//! A set-user-ID program (or one with file capabilities) that is executed by a traced thread runs
//! without those rights, unless the tracer has CAP_SYS_PTRACE (`check_unsafe_exec` in the kernel's
//! fs/exec.c, `cap_bprm_creds_from_file` in its security/commoncap.c). Such programs are mostly
//! executed by a process that was forked for that, a few milliseconds after its fork.

use std::sync::OnceLock;
use std::time::Duration;

use crate::os::Pid;
use crate::os::permission::CAP_SYS_PTRACE;
use crate::os::procfs::stat::{ProcStat, age_of};
use crate::os::procfs::status::Status;

/// How long a process must have run since its fork or its last exec, before it may be paused by a
/// tracer without the capability.
pub const QUIET_TIME: Duration = Duration::from_millis(50);

/// Whether our pausing can have that effect.
pub fn may_be_lost() -> bool {
    static MAY_BE_LOST: OnceLock<bool> = OnceLock::new();
    *MAY_BE_LOST.get_or_init(|| {
        let own = Status::of_process(std::process::id().cast_signed()).unwrap_or_default();
        own.effective_capabilities >> CAP_SYS_PTRACE & 1 == 0
    })
}

/// Whether a process should not be paused now, as it may soon execute such a program.
pub fn is_at_risk(pid: Pid) -> bool {
    let age = || age_of(ProcStat::of_process(pid).ok()?.start_ticks).ok();
    may_be_lost() && age().is_some_and(|age| age < QUIET_TIME)
}
