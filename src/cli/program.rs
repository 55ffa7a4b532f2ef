//! A program that we launched: it gets our stdin, stdout and stderr, and we get its exit status.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid as NixPid, Uid};

use super::errors::{Advised, report};
use super::options::Program;
use super::signals::StopSignals;
use crate::target::Pid;

/// How long a program has to end when we end it, before it is killed.
pub const GRACE: Duration = Duration::from_secs(5);

/// A launched program that has not been collected yet.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    pid: Pid,
    signals: StopSignals,
}

impl Launched {
    /// Runs a program in our process group; signals that somebody sends to us go to it too. Under
    /// sudo it runs as the user who called sudo, as with py-spy.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(program: &Program, signals: &StopSignals) -> Result<Launched, Advised> {
        let mut command = Command::new(&program.file);
        command.args(&program.args);
        if Uid::effective().is_root() {
            // The group first: std does it in this order, and drops all other groups.
            if let Some((uid, gid)) = sudo_user() {
                command.gid(gid).uid(uid);
            }
        }
        let child = command.spawn().map_err(|error| cannot_run(program, &error))?;
        let launched = Launched {
            pid: Pid::try_from(child.id()).unwrap_or(Pid::MAX),
            child,
            signals: signals.clone(),
        };
        signals.set_program(Some(launched.pid));
        Ok(launched)
    }

    /// Its process id, which stays its own until [`Launched::wait`].
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended. It is not collected, so its id stays taken.
    pub fn has_ended(&self) -> bool {
        self.peek(WaitPidFlag::WNOHANG)
    }

    fn peek(&self, how: WaitPidFlag) -> bool {
        let how = how | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(NixPid::from_raw(self.pid)), how) {
                Ok(WaitStatus::StillAlive) => return false,
                Err(Errno::EINTR) => {}
                // An error means that it was ended by a signal that nix has no name for.
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Waits for its end and returns its exit status; 128+N for one that signal N ended, as shells
    /// have it.
    ///
    /// # Errors
    /// When the system has no status of it.
    pub fn wait(&mut self) -> io::Result<u8> {
        self.peek(WaitPidFlag::empty());
        // From the next line on its id may become somebody else's.
        self.signals.set_program(None);
        Ok(exit_status(self.child.wait()?))
    }

    /// Asks it to end, and kills it when it has not after `grace`.
    ///
    /// # Errors
    /// When the system has no status of it.
    pub fn end(&mut self, grace: Duration) -> io::Result<()> {
        self.signals.send_to_program(Signal::SIGTERM);
        let deadline = Instant::now() + grace;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                self.signals.send_to_program(Signal::SIGKILL);
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.wait().map(|_| ())
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

fn exit_status(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn sudo_user() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

fn cannot_run(program: &Program, error: &io::Error) -> Advised {
    let name = program.file.to_string_lossy();
    let hint = match error.kind() {
        io::ErrorKind::NotFound if name.contains('/') => "check the path",
        io::ErrorKind::NotFound => "check the name, or give its path: nothing in PATH is called so",
        io::ErrorKind::PermissionDenied if name.ends_with(".py") => {
            "a script needs its interpreter: pyspy-rs record -- python3 SCRIPT"
        }
        _ => "check that it is a program, and that you may run it",
    };
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    Advised::failure(format!("cannot run '{name}': {reason}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_a_shell() {
        assert_eq!(exit_status(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_status(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_status(ExitStatus::from_raw(15)), 143);
        // With a core dump.
        assert_eq!(exit_status(ExitStatus::from_raw(0x80 | 11)), 139);
    }
}
