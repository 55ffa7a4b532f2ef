//! [`ChildProcess`]: a program that we started, which runs independently of us.
//!
//! It shares our terminal and process group, and our standard streams unless [`Streams`] says otherwise. So Ctrl-C in the terminal reaches it
//! directly, and nothing here ends it, not even our own death. As its parent we may also attach to
//! it where Yama forbids that to others.
//!
//! Its signal dispositions are those it would have without us: the standard library unblocks all
//! signals and resets SIGPIPE, and the kernel resets those that we handle. A signal that was
//! *ignored* when we started (by nohup) must stay ignored, so no handler may be installed for a
//! signal that [`is_ignored`].

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::streams::Streams;
use super::sudo::sudo_user;
use crate::os::Pid;
use crate::os::own_children;
use crate::os::procfs::status::Status;
use crate::os::ptrace::pause::PauseGuard;
use crate::os::ptrace::wait::{self, Event, WaitFor};
use crate::text::sanitize::printable;

#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}: {cause}")]
pub struct LaunchError {
    /// The name as given, without control characters.
    pub program: String,
    pub cause: io::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The status for us to exit with: its own, or 128 + the signal, as in shells.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

#[derive(Debug)]
pub struct ChildProcess {
    pid: Pid,
    exit: Option<Exit>,
}

impl ChildProcess {
    /// Starts a program, searched in PATH if its name has no slash. On return the kernel has
    /// accepted the program, but may not have mapped it yet.
    pub fn start(
        program: &OsString,
        arguments: &[OsString],
        streams: Streams,
    ) -> Result<ChildProcess, LaunchError> {
        let mut command = Command::new(program);
        command.args(arguments);
        command.stdin(streams.stdin);
        command.stdout(streams.stdout);
        command.stderr(streams.stderr);
        let failure = |cause| LaunchError {
            program: printable(&program.to_string_lossy()).into_owned(),
            cause,
        };
        let user = sudo_user();
        let user = user.map_err(|bad| failure(io::Error::new(io::ErrorKind::InvalidInput, bad)))?;
        if let Some((user, group)) = user {
            // The standard library sets both and drops the supplementary groups of root.
            command.uid(user.as_raw()).gid(group.as_raw());
        }
        // The standard library's own wait mistakes a stop by our tracing for the end, so it is not
        // used.
        own_children::start(|| {
            let pid = command.spawn().map_err(failure)?.id().cast_signed();
            Ok((pid, ChildProcess { pid, exit: None }))
        })
    }

    /// Its process id, which may be reused after [`ChildProcess::wait`].
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            PauseGuard::settle();
            self.note(wait::poll(self.pid, WaitFor::End));
        }
        self.exit
    }

    /// Waits until it ends. Must be called on the OS thread that paused threads of the program, if
    /// one did.
    pub fn wait(&mut self) -> Exit {
        loop {
            if let Some(exit) = self.try_wait() {
                return exit;
            }
            // A killed thread that we trace must be reaped before its process can end.
            if PauseGuard::settle() {
                self.note(wait::wait_for_end(self.pid));
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn note(&mut self, event: Event) {
        self.exit = exit_of(event);
        if self.exit.is_some() {
            own_children::forget(self.pid);
        }
    }
}

fn exit_of(event: Event) -> Option<Exit> {
    match event {
        Event::Exited(code) => Some(Exit::Code(code)),
        Event::Killed(signal) => Some(Exit::Signal(signal)),
        // Another waiter has reaped it, or SIGCHLD is ignored: the exit status is lost.
        Event::Unknown => Some(Exit::Code(0)),
        Event::Nothing | Event::Stopped { .. } => None,
    }
}

/// Whether we ignore a signal. Right after our start this means that our parent wants it ignored,
/// by us and by our children.
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

    fn shell(code: &str) -> ChildProcess {
        ChildProcess::start(
            &"sh".into(),
            &["-c".into(), code.into()],
            Streams::inherited(),
        )
        .unwrap()
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
    fn a_failed_start_names_the_program() {
        let error = ChildProcess::start(
            &"/nonexistent/\u{7}program".into(),
            &[],
            Streams::inherited(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/\u{fffd}program"));
        let error =
            ChildProcess::start(&"/dev/null".into(), &[], Streams::inherited()).unwrap_err();
        assert!(error.to_string().contains("/dev/null"));
    }

    #[test]
    fn a_pause_is_not_mistaken_for_the_end() {
        let mut program =
            ChildProcess::start(&"sleep".into(), &["1000".into()], Streams::inherited()).unwrap();
        let pid = program.pid();
        // At first it may be in a disk wait for its program, where nothing stops it.
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
    fn ignored_signals_are_recognised() {
        // Rust programs start with SIGPIPE ignored, and their children do not.
        assert!(is_ignored(Signal::SIGPIPE as i32));
        assert!(!is_ignored(Signal::SIGUSR2 as i32));
        assert!(!is_ignored(0) && !is_ignored(i32::MAX));
    }
}
