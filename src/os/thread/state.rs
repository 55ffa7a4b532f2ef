//! [`RunState`]: the scheduling state of a thread.

use std::io;

use crate::os::procfs::stat::ProcStat;
use crate::os::{Pid, Tid};

/// The letter in a thread's `stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Running or runnable (R).
    Running,
    /// Interruptible sleep (S).
    Sleeping,
    /// Uninterruptible sleep (D), usually for a disk or a vfork.
    DiskWait,
    /// Stopped by job control (T).
    Stopped,
    /// Stopped by its tracer (t).
    Traced,
    /// Ended (Z, X).
    Zombie,
    /// An idle kernel thread, or a state unknown to us.
    Other,
}

impl RunState {
    /// # Errors
    /// `NotFound` when there is no such thread.
    pub fn of_thread(pid: Pid, tid: Tid) -> io::Result<RunState> {
        ProcStat::of_thread(pid, tid).map(|stat| RunState::from_letter(stat.state))
    }

    fn from_letter(letter: u8) -> RunState {
        match letter {
            b'R' => RunState::Running,
            b'S' => RunState::Sleeping,
            b'D' => RunState::DiskWait,
            b'T' => RunState::Stopped,
            b't' => RunState::Traced,
            b'Z' | b'X' | b'x' => RunState::Zombie,
            _ => RunState::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use nix::sys::signal::{Signal, kill};

    #[test]
    fn states_of_real_threads() {
        let own = std::process::id() as Pid;
        let tid = nix::unistd::gettid().as_raw();
        assert_eq!(RunState::of_thread(own, tid).unwrap(), RunState::Running);
        let missing = RunState::of_thread(own, 0).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);

        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as Pid;
        let becomes = |state| while RunState::of_thread(pid, pid).unwrap() != state {};
        becomes(RunState::Sleeping);
        kill(nix::unistd::Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        becomes(RunState::Stopped);
        child.kill().unwrap();
        becomes(RunState::Zombie);
        child.wait().unwrap();
    }
}
