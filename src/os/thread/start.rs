//! [`start`]: starts a thread of our own, and explains why there can be none.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};

use crate::os::procfs::cgroup::pids::PidsLimit;

/// Why a thread of ours could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread \"{name}\": {reason}")]
pub struct StartError {
    name: &'static str,
    reason: String,
}

/// Starts a thread with this name.
///
/// # Errors
/// When the system refuses; the error names the limit.
pub fn start<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    let thread = Builder::new().name(name.to_owned());
    thread.spawn(run).map_err(|cause| StartError {
        name,
        reason: reached_limit(&cause).unwrap_or_else(|| cause.to_string()),
    })
}

/// The limit that a failed start of a process or thread has reached (`EAGAIN`, fork(2)); `None` if it failed
/// for another reason.
pub fn reached_limit(cause: &io::Error) -> Option<String> {
    if cause.raw_os_error() != Some(libc::EAGAIN) {
        return None;
    }
    Some(match PidsLimit::reached() {
        Some(PidsLimit { group, max }) => format!(
            "the control group {} has all the processes and threads that it may have (pids.max is {max})",
            group.display()
        ),
        None => {
            let of_user = getrlimit(Resource::RLIMIT_NPROC).map_or(0, |(soft, _)| soft);
            format!(
                "a limit of processes and threads is reached: of the user (`ulimit -u`, {of_user} here), of a \
                 control group (pids.max), or of the machine (/proc/sys/kernel/threads-max)"
            )
        }
    })
}
