//! A launched program: its standard streams are ours, or beside our screen; its exit status becomes ours.

use std::ffi::{OsStr, OsString};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid as NixPid;

use super::errors::{UserError, print_stderr, report, without_number};
use super::program_output;
use super::signals::StopSignals;
use crate::os::Pid;
use crate::os::process::captured::CapturedOutput;
use crate::os::process::launch::{self, LaunchError};
use crate::os::process::streams::Streams;
use crate::os::process::sudo::sudo_user;
use crate::os::ptrace::pause::PauseGuard;
use crate::os::thread::start::reached_limit;
use crate::session::options::Program;
use crate::tui::terminal::term::can_draw;

/// Time between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a program that prints nothing on the terminal is awaited without a message.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What we print ourselves while a launched program runs, which the program's output must not disturb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnOutput {
    /// Nothing that has to be kept apart: the streams are the program's.
    None,
    /// Lines on stdout, for a reader: the program's stdout is our stderr.
    Lines,
    /// Nothing, and the program's output is captured; its end is shown if the program fails.
    Captured,
    /// A screen with keys on the terminal: the program reads nothing from the terminal, and the end of its output
    /// is shown when the program has ended.
    Screen,
}

impl OwnOutput {
    /// That of a live view: a screen, or lines where none can be shown.
    pub fn of_view() -> OwnOutput {
        if can_draw() {
            OwnOutput::Screen
        } else {
            OwnOutput::Lines
        }
    }
}

/// A launched program that has not been waited for. Signals to pyspy-rs are forwarded to it.
#[derive(Debug)]
pub struct Launched {
    program: launch::ChildProcess,
    file: OsString,
    signals: StopSignals,
    output: Option<CapturedOutput>,
    beside: OwnOutput,
}

impl Launched {
    /// Runs a program in this process group.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(
        program: &Program,
        beside: OwnOutput,
        signals: &StopSignals,
    ) -> anyhow::Result<Launched> {
        let (streams, output) = match beside {
            OwnOutput::None => (Streams::inherited(), None),
            OwnOutput::Lines => (Streams::beside_stdout()?, None),
            OwnOutput::Screen => {
                let (output, writer) = CapturedOutput::start()?;
                (Streams::beside_screen(writer)?, Some(output))
            }
            OwnOutput::Captured => {
                let (output, writer) = CapturedOutput::start()?;
                (Streams::captured(writer)?, Some(output))
            }
        };
        let launched = launch::ChildProcess::start(&program.file, &program.args, streams)
            .map_err(|error| cannot_run(program, &error))?;
        signals.set_program(Some(launched.pid()));
        // After the start: the program must inherit an ignored SIGINT.
        signals.catch_interrupt()?;
        Ok(Launched {
            program: launched,
            file: program.file.clone(),
            signals: signals.clone(),
            output,
            beside,
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

    /// Whether its output is captured, so that nobody sees it before it ends.
    pub fn is_captured(&self) -> bool {
        self.output.is_some()
    }

    /// Prints the end of its output, if that was captured.
    pub fn print_output(&self, has_failed: bool) {
        let Some(output) = &self.output else {
            return;
        };
        match self.beside {
            // Its stdout may be the file.
            OwnOutput::Captured if has_failed => program_output::print_stderr(&output.end()),
            OwnOutput::Captured => {}
            _ => program_output::print(&output.end(), has_failed),
        }
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
        if !self.ends_within(grace) {
            self.signals.send_to_program(Signal::SIGKILL);
        }
        self.wait();
    }

    fn ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while !self.has_ended() {
            PauseGuard::settle();
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Waits for its end as [`wait`](Launched::wait) does, and says so if nothing else shows that it runs.
    pub fn wait_visibly(&mut self) -> u8 {
        if self.is_captured() && !self.ends_within(SILENCE) {
            print_stderr(&format!(
                "waiting for the end of the program (process {})",
                self.pid()
            ));
        }
        self.wait()
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
            "launch the interpreter: -- python3 SCRIPT"
        }
        _ => "check that it is an executable that you may run",
    };
    UserError::failure(without_number(&error.to_string()), hint)
}
