//! A launched program: it inherits stdin, stdout and stderr; its exit status becomes ours.

use std::ffi::{OsStr, OsString};
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
use crate::os::process::sudo::sudo_user;
use crate::os::ptrace::pause::PauseGuard;
use crate::os::thread::start::reached_limit;
use crate::session::options::Program;

/// Time between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

/// A launched program that has not been waited for. Signals to pyspy-rs are forwarded to it.
#[derive(Debug)]
pub struct Launched {
    program: launch::ChildProcess,
    file: OsString,
    signals: StopSignals,
}

impl Launched {
    /// Runs a program in this process group.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(program: &Program, signals: &StopSignals) -> anyhow::Result<Launched> {
        let launched = launch::ChildProcess::start(&program.file, &program.args)
            .map_err(|error| cannot_run(program, &error))?;
        signals.set_program(Some(launched.pid()));
        // After the start: the program must inherit an ignored SIGINT.
        signals.catch_interrupt()?;
        Ok(Launched {
            program: launched,
            file: program.file.clone(),
            signals: signals.clone(),
        })
    }

    /// Its PID, which is not reused before [`Launched::wait`].
    pub fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// The program as given.
    pub fn file(&self) -> &OsStr {
        &self.file
    }

    /// Whether it has ended. It is not waited for, so that its PID is not reused.
    pub fn has_ended(&self) -> bool {
        self.peek(WaitPidFlag::WNOHANG)
    }

    fn peek(&self, how: WaitPidFlag) -> bool {
        let how = how | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(NixPid::from_raw(self.pid())), how) {
                Ok(WaitStatus::StillAlive) => return false,
                Err(Errno::EINTR) => {}
                // An error means that a signal unknown to nix ended it.
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Waits for its end and returns its exit status; 128+N if signal N ended it, as in shells.
    pub fn wait(&mut self) -> u8 {
        // A thread that is still traced would delay its end.
        while !PauseGuard::settle() {
            thread::sleep(Duration::from_millis(1));
        }
        self.peek(WaitPidFlag::empty());
        // After the next line its PID may be reused.
        self.signals.set_program(None);
        u8::try_from(self.program.wait().code()).unwrap_or(1)
    }

    /// Sends SIGTERM, and SIGKILL after `grace`.
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

/// The exit status when both pyspy-rs and the program failed: the program's, with our error printed.
///
/// # Errors
/// Our error, if the program succeeded.
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
    if let Some(limit) = reached_limit(&error.cause) {
        return UserError::failure(without_number(&error.to_string()), limit);
    }
    let hint = match error.cause.kind() {
        ErrorKind::InvalidInput if sudo_user().is_err() => {
            "it would run as root: use sudo again, or unset both variables if that is meant"
        }
        ErrorKind::NotFound if name.contains('/') => "check the path",
        ErrorKind::NotFound => "check the name, or use its path: PATH has no such program",
        ErrorKind::PermissionDenied if name.ends_with(".py") => {
            "launch the interpreter: pyspy-rs record -- python3 SCRIPT"
        }
        _ => "check that it is an executable that you may run",
    };
    UserError::failure(without_number(&error.to_string()), hint)
}
