//! [`RunState`]: what the kernel says a thread is doing.

use std::io;

use crate::os::procfs::stat::ProcStat;
use crate::os::{Pid, Tid};

/// The state of a thread, as the letter in its `stat` gives it (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Running, or ready to (R).
    Running,
    /// Waiting for something that a signal can interrupt (S).
    Sleeping,
    /// Waiting for something that no signal interrupts, mostly a disk or a vfork (D).
    DiskWait,
    /// Stopped by job control (T).
    Stopped,
    /// Stopped for its tracer (t).
    Traced,
    /// Ended (Z, X).
    Zombie,
    /// A kernel thread's idling, or what later kernels think of.
    Other,
}

impl RunState {
    /// The state of one thread of a process.
    ///
    /// # Errors
    /// `NotFound` when there is no such thread (any more).
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
