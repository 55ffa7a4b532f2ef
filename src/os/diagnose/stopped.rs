//! [`StoppedReason`]: why a process is stopped for a long time.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::os::procfs::cgroup::freezer::Frozen;
use crate::os::procfs::status::Status;
use crate::os::procfs::tasks;
use crate::os::thread::state::RunState;
use crate::os::{Pid, permission};
use crate::text::sanitize::printable;

/// A tracer such as strace stops a process for moments. A process that is still stopped after this
/// many checks, this far apart, counts as stopped.
const CHECKS: u32 = 5;
const INTERVAL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoppedReason {
    /// By job control: Ctrl-Z, or `kill -STOP`.
    Stopped { pid: Pid },
    /// By a debugger.
    Held {
        pid: Pid,
        /// The tracer and its command; `None` when hidden from us.
        by: Option<(Pid, String)>,
    },
    /// By its control group's freezer.
    Frozen { pid: Pid, by: Frozen },
}

impl StoppedReason {
    /// Takes a few hundredths of a second if the process is traced and stopped, else one read, or some
    /// if it does not run.
    pub fn of(pid: Pid) -> Option<StoppedReason> {
        for _ in 0..CHECKS {
            match RunState::of_thread(pid, pid) {
                Ok(RunState::Stopped) => return Some(StoppedReason::Stopped { pid }),
                Ok(RunState::Traced) if !has_active_thread(pid) => std::thread::sleep(INTERVAL),
                Ok(RunState::Running | RunState::Zombie) | Err(_) => return None,
                // A frozen process looks asleep.
                Ok(_) => {
                    return Frozen::process(pid).map(|by| StoppedReason::Frozen { pid, by });
                }
            }
        }
        let tracer = Status::of_process(pid)
            .ok()
            .and_then(|status| status.tracer);
        let by = tracer.map(|thread| permission::tracer(Path::new("/"), thread));
        Some(StoppedReason::Held { pid, by })
    }
}

/// Whether any thread of a process runs or sleeps.
fn has_active_thread(pid: Pid) -> bool {
    let tids = tasks::thread_ids(pid).unwrap_or_default().into_iter();
    let mut states = tids.filter_map(|tid| RunState::of_thread(pid, tid).ok());
    states.any(|state| {
        !matches!(
            state,
            RunState::Stopped | RunState::Traced | RunState::Zombie
        )
    })
}

impl fmt::Display for StoppedReason {
    /// One line with the reason and the way to end it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoppedReason::Stopped { pid } => write!(
                f,
                "process {pid} is stopped, so its stacks do not change; to resume it: kill -CONT {pid}"
            ),
            StoppedReason::Held {
                pid,
                by: Some((tracer, command)),
            } => write!(
                f,
                "process {pid} is stopped by process {tracer} ({command}), so its stacks do not change \
                 until that resumes it"
            ),
            StoppedReason::Held { pid, by: None } => write!(
                f,
                "process {pid} is stopped by a debugger that we cannot see, so its stacks do not change"
            ),
            StoppedReason::Frozen { pid, by } => {
                let (file, text) = by.remedy();
                write!(
                    f,
                    "process {pid} is frozen by its control group {} (as by docker pause), so its stacks \
                     do not change; to resume it: docker unpause, or echo {text} > {}",
                    printable(&by.group.to_string_lossy()),
                    printable(&file.to_string_lossy())
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::ptrace::pause::PauseGuard;
    use crate::os::test_support::Cat;
    use nix::sys::signal::{Signal, kill};
    use std::process::Command;

    #[test]
    fn the_reason_for_a_stop() {
        let cat = Cat::start(&mut Command::new("cat"));
        let pid = cat.pid();
        assert_eq!(StoppedReason::of(pid), None);
        // Held by ourselves, as by a debugger.
        let guard = PauseGuard::pause(pid, &[pid]).unwrap();
        if guard.paused().count() == 1 {
            let held = StoppedReason::of(pid).unwrap().to_string();
            let own = std::process::id();
            let by = format!("process {pid} is stopped by process {own} (");
            assert!(held.starts_with(&by), "{held}");
        }
        drop(guard);
        kill(nix::unistd::Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        while RunState::of_thread(pid, pid).unwrap() != RunState::Stopped {
            std::thread::yield_now();
        }
        assert_eq!(StoppedReason::of(pid), Some(StoppedReason::Stopped { pid }));
        assert_eq!(StoppedReason::of(0), None);
    }
}
