//! A program that we launched: it gets our stdin, stdout and stderr, and we get its exit status.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid as NixPid;

use super::errors::{UserError, report, without_number};
use super::signals::StopSignals;
use crate::os::Pid;
use crate::os::process::launch::{self, LaunchError};
use crate::os::ptrace::pause::PauseGuard;
use crate::session::options::Program;

/// How long a program has to end when we end it, before it is killed.
pub const GRACE: Duration = Duration::from_secs(5);

/// A launched program that has not been collected yet, and gets the signals that we get.
#[derive(Debug)]
pub struct Launched {
    program: launch::ChildProcess,
    signals: StopSignals,
}

impl Launched {
    /// Runs a program in our process group; signals that somebody sends to us go to it too.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(program: &Program, signals: &StopSignals) -> anyhow::Result<Launched> {
        let launched = launch::ChildProcess::start(&program.file, &program.args)
            .map_err(|error| cannot_run(program, &error))?;
        signals.set_program(Some(launched.pid()));
        // Not before: the program shall find it ignored if we did.
        signals.catch_interrupt()?;
        Ok(Launched {
            program: launched,
            signals: signals.clone(),
        })
    }

    /// Its process id, which stays its own until [`Launched::wait`].
    pub fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// Whether it has ended. It is not collected, so its id stays taken.
    pub fn has_ended(&self) -> bool {
        self.peek(WaitPidFlag::WNOHANG)
    }

    fn peek(&self, how: WaitPidFlag) -> bool {
        let how = how | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(NixPid::from_raw(self.pid())), how) {
                Ok(WaitStatus::StillAlive) => return false,
                Err(Errno::EINTR) => {}
                // An error means that it was ended by a signal that nix has no name for.
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Waits for its end and returns its exit status; 128+N for one that signal N ended, as shells
    /// have it.
    pub fn wait(&mut self) -> u8 {
        // A thread of it that we still trace would hold its end up.
        while !PauseGuard::settle() {
            thread::sleep(Duration::from_millis(1));
        }
        self.peek(WaitPidFlag::empty());
        // From the next line on its id may become somebody else's.
        self.signals.set_program(None);
        u8::try_from(self.program.wait().code()).unwrap_or(1)
    }

    /// Asks it to end, and kills it when it has not after `grace`.
    pub fn end(&mut self, grace: Duration) {
        self.signals.send_to_program(Signal::SIGTERM);
        let deadline = Instant::now() + grace;
        while !self.has_ended() {
            PauseGuard::settle();
            if Instant::now() >= deadline {
                self.signals.send_to_program(Signal::SIGKILL);
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.wait();
    }
}

/// When we failed and the program did too, its exit status tells more; the message is ours.
///
/// # Errors
/// Our error, when the program has succeeded.
pub fn status_of_failure(status: u8, error: anyhow::Error) -> anyhow::Result<u8> {
    if status == 0 {
        return Err(error);
    }
    report(&error);
    Ok(status)
}

fn cannot_run(program: &Program, error: &LaunchError) -> UserError {
    use std::io::ErrorKind;
    let name = program.file.to_string_lossy();
    let hint = match error.cause.kind() {
        ErrorKind::NotFound if name.contains('/') => "check the path",
        ErrorKind::NotFound => "check the name, or give its path: nothing in PATH is called so",
        ErrorKind::PermissionDenied if name.ends_with(".py") => {
            "a script needs its interpreter: pyspy-rs record -- python3 SCRIPT"
        }
        _ => "check that it is a program, and that you may run it",
    };
    UserError::failure(without_number(&error.to_string()), hint)
}
