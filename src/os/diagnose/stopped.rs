//! [`StoppedReason`]: why a process does not go on, for a while that may be long.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::os::procfs::status::Status;
use crate::os::thread::state::RunState;
use crate::os::{Pid, permission};

/// A tracer such as strace stops a process for moments. One that still stands still after so many looks,
/// this far apart, is held.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(10);

/// What keeps a process from going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoppedReason {
    /// Job control: Ctrl-Z, or `kill -STOP`.
    Stopped {
        /// The process.
        pid: Pid,
    },
    /// A debugger holds it.
    Held {
        /// The process.
        pid: Pid,
        /// Who holds it, and its command; `None` when that is hidden from us.
        by: Option<(Pid, String)>,
    },
}

impl StoppedReason {
    /// Whether a process stands still. Takes a few hundredths of a second if it is traced and stopped, else
    /// one look.
    pub fn of(pid: Pid) -> Option<StoppedReason> {
        for _ in 0..LOOKS {
            match RunState::of_thread(pid, pid) {
                Ok(RunState::Stopped) => return Some(StoppedReason::Stopped { pid }),
                Ok(RunState::Traced) if !others_go_on(pid) => std::thread::sleep(BETWEEN),
                _ => return None,
            }
        }
        let tracer = Status::of_process(pid)
            .ok()
            .and_then(|status| status.tracer);
        let by = tracer.map(|thread| permission::tracer(Path::new("/"), thread));
        Some(StoppedReason::Held { pid, by })
    }
}

/// Whether a thread of a process does anything.
fn others_go_on(pid: Pid) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    let mut states = tids.filter_map(|tid| RunState::of_thread(pid, tid).ok());
    states.any(|state| {
        !matches!(
            state,
            RunState::Stopped | RunState::Traced | RunState::Zombie
        )
    })
}

impl fmt::Display for StoppedReason {
    /// One line that says what is so, and how it ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoppedReason::Stopped { pid } => write!(
                f,
                "process {pid} is stopped, so its stacks do not move; kill -CONT {pid} lets it go on"
            ),
            StoppedReason::Held {
                pid,
                by: Some((tracer, command)),
            } => write!(
                f,
                "process {pid} is held by process {tracer} ({command}), so its stacks do not move until \
                 that lets it go on"
            ),
            StoppedReason::Held { pid, by: None } => write!(
                f,
                "process {pid} is held by a debugger that we cannot see, so its stacks do not move"
            ),
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
    fn says_what_keeps_a_process() {
        let cat = Cat::start(&mut Command::new("cat"));
        let pid = cat.pid();
        assert_eq!(StoppedReason::of(pid), None);
        // Held by ourselves, as by a debugger.
        let guard = PauseGuard::pause(pid, &[pid]).unwrap();
        if guard.paused().count() == 1 {
            let held = StoppedReason::of(pid).unwrap().to_string();
            let own = std::process::id();
            let by = format!("process {pid} is held by process {own} (");
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
