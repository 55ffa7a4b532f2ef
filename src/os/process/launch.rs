//! [`Launched`]: a program that we started, which lives its own life beside us.
//!
//! It has our standard streams, our terminal and our process group, so Ctrl-C reaches it from the
//! terminal as if we weren't there, and it is never ended by us, not even when we die. As its parent
//! we may look into it also where Yama lets nobody else.
//!
//! What it finds of signals is what it would find without us: the standard library unblocks all and
//! gives it SIGPIPE back, and the kernel resets those that we handle. One that was being *ignored*
//! when we started (nohup does so) must stay ignored, so nobody may install a handler for a
//! signal that [`is_ignored`].

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::os::procfs::status::Status;
use crate::os::ptrace::pause::PauseGuard;
use crate::os::ptrace::wait::{self, Event, For};
use crate::os::{Pid, printable};

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}: {cause}")]
pub struct LaunchError {
    /// Its name as it was given, without control characters.
    pub program: String,
    /// What the system said.
    pub cause: io::Error,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The status for us to exit with: its own, or 128 + the signal, as shells have it.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// A running program that is our child.
#[derive(Debug)]
pub struct Launched {
    pid: Pid,
    exit: Option<Exit>,
}

impl Launched {
    /// Starts a program, looked for on the search path if its name has no slash. When this returns,
    /// the system has accepted the program, but may not have mapped it yet.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(program: &OsString, arguments: &[OsString]) -> Result<Launched, LaunchError> {
        let mut command = Command::new(program);
        command.args(arguments);
        if nix::unistd::geteuid().is_root()
            && let Some((user, group)) = sudo_user(|name| std::env::var(name).ok())
        {
            // The standard library sets both and leaves root's other groups.
            command.uid(user).gid(group);
        }
        let child = command.spawn();
        let child = child.map_err(|cause| LaunchError {
            program: printable(&program.to_string_lossy()),
            cause,
        })?;
        // The standard library's own wait takes a stop by our tracing for the end, so it's not used.
        Ok(Launched {
            pid: child.id().cast_signed(),
            exit: None,
        })
    }

    /// Its process id. The process may be another's after its end has been waited for.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            PauseGuard::settle();
            self.exit = exit_of(wait::poll(self.pid, For::End));
        }
        self.exit
    }

    /// Waits until it ends, however long that takes. Call it on the OS thread that paused threads of
    /// the program, if one did.
    pub fn wait(&mut self) -> Exit {
        loop {
            if let Some(exit) = self.try_wait() {
                return exit;
            }
            // A thread that we trace and that was killed must be collected before its process ends.
            if PauseGuard::settle() {
                self.exit = exit_of(wait::wait_for_end(self.pid));
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Who called sudo, by the variables that it sets.
fn sudo_user(variable: impl Fn(&str) -> Option<String>) -> Option<(u32, u32)> {
    let user = variable("SUDO_UID")?.parse().ok()?;
    let group = variable("SUDO_GID")?.parse().ok()?;
    Some((user, group))
}

fn exit_of(event: Event) -> Option<Exit> {
    match event {
        Event::Exited(code) => Some(Exit::Code(code)),
        Event::Killed(signal) => Some(Exit::Signal(signal)),
        // Somebody else collected it, as happens when SIGCHLD is ignored: how it ended is lost.
        Event::Unknown => Some(Exit::Code(0)),
        Event::Nothing | Event::Stopped { .. } => None,
    }
}

/// Whether we ignore a signal, given by its number. Right after our start that means that whoever
/// started us wants it ignored, by us and by what we start.
pub fn is_ignored(signal: i32) -> bool {
    let ignored = Status::of_process(std::process::id().cast_signed())
        .map(|status| status.ignored_signals)
        .unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| ignored.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::ptrace::pause::NotPaused;
    use nix::sys::signal::{Signal, kill};

    fn shell(code: &str) -> Launched {
        Launched::start(&"sh".into(), &["-c".into(), code.into()]).unwrap()
    }

    #[test]
    fn every_end_has_its_exit_code() {
        assert_eq!(shell("exit 0").wait(), Exit::Code(0));
        assert_eq!(shell("exit 7").wait().code(), 7);
        assert_eq!(shell("kill -TERM $$").wait(), Exit::Signal(15));
        assert_eq!(shell("kill -TERM $$").wait().code(), 143);
        // A real-time signal, for which the safe wrappers have no name.
        assert_eq!(shell("kill -s 40 $$").wait(), Exit::Signal(40));
        let mut program = shell("exit 3");
        while program.try_wait().is_none() {
            thread::yield_now();
        }
        assert_eq!(program.try_wait(), Some(Exit::Code(3)));
        assert_eq!(program.wait(), Exit::Code(3));
    }

    #[test]
    fn what_cannot_be_started_says_so() {
        let error = Launched::start(&"/nonexistent/\u{7}program".into(), &[]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/\u{fffd}program"));
        let error = Launched::start(&"/dev/null".into(), &[]).unwrap_err();
        assert!(error.to_string().contains("/dev/null"));
    }

    #[test]
    fn being_paused_is_not_taken_for_the_end() {
        let mut program = Launched::start(&"sleep".into(), &["1000".into()]).unwrap();
        let pid = program.pid();
        // At first it may wait for the disk that its program is on, where nothing stops it.
        let pause = || loop {
            let guard = PauseGuard::pause(pid, &[pid]).unwrap();
            match guard.not_paused() {
                [(_, NotPaused::Uninterruptible)] => thread::yield_now(),
                _ => return guard,
            }
        };
        for _ in 0..100 {
            let guard = pause();
            assert_eq!(guard.paused().count(), 1);
            assert_eq!(program.try_wait(), None);
            drop(guard);
            assert_eq!(program.try_wait(), None);
        }
        let guard = pause();
        kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        drop(guard);
        assert_eq!(program.wait(), Exit::Signal(9));
    }

    #[test]
    fn only_what_was_ignored_is() {
        // Rust programs start with it ignored, and their children don't.
        assert!(is_ignored(Signal::SIGPIPE as i32));
        assert!(!is_ignored(Signal::SIGUSR2 as i32));
        assert!(!is_ignored(0) && !is_ignored(i32::MAX));
    }
}
