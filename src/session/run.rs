//! Runs a command on its target: a running process, or a program to launch.

use super::attach::{Launching, attach_launched, attach_tree, never_python};
use super::errors::print_stderr;
use super::launch::{GRACE, Launched, OwnOutput, status_of_failure};
use super::options::{Process, Program};
use super::recording::Ending;
use super::signals::StopSignals;
use crate::os::process::tree::orphans;
use crate::sampler::processes::root::Root;

/// The target, ready to be sampled.
pub enum Started<'a> {
    /// A running process, or a launched program.
    Attached(Root),
    /// A launched Python program that ended, or was stopped, before its interpreter was initialized.
    EndedEarly(&'a Program),
}

/// How a command's part of a run went.
pub struct Outcome {
    pub ending: Ending,
    pub result: anyhow::Result<()>,
}

/// Starts the target, calls the command's part, and returns the exit status: 0, or a launched program's
/// own. A launched program is terminated when the duration is over or the user has quit, as py-spy does;
/// else its end is awaited. `beside`: what the command prints while the program runs.
///
/// # Errors
/// When the target cannot be attached to or launched, or the command fails.
pub fn run(
    process: &Process,
    subprocesses: bool,
    beside: OwnOutput,
    signals: &StopSignals,
    command: impl FnOnce(Started<'_>) -> Outcome,
) -> anyhow::Result<u8> {
    let program = match process {
        Process::Running(pid) => {
            signals.catch_interrupt()?;
            let root = attach_tree(*pid, subprocesses)?;
            return command(Started::Attached(root)).result.map(|()| 0);
        }
        Process::Launch(program) => program,
    };
    if subprocesses {
        orphans::adopt();
    }
    let mut launched = Launched::start(program, beside, signals)?;
    let attached = attach_launched(&launched, subprocesses, &signals.stop_flag());
    let outcome = match attached {
        Ok(Launching::Attached(root)) => command(Started::Attached(*root)),
        Ok(Launching::EndedEarly) => command(Started::EndedEarly(program)),
        // The program runs on without us, if its user sees it.
        Ok(Launching::NeverPython(what)) => Outcome::failure(never_python(&what).into()),
        Err(error) => Outcome::failure(error.into()),
    };
    let is_over = match outcome.ending {
        Ending::Duration => true,
        // A key, not a signal: the program does not know that the user has quit.
        Ending::Stopped => signals.received().is_none(),
        // A failure, after which nobody would see what the program prints.
        Ending::ProgramEnded => {
            outcome.result.is_err() && launched.is_captured() && !launched.has_ended()
        }
    };
    let status = if is_over {
        launched.end(GRACE);
        0
    } else {
        launched.wait_visibly()
    };
    launched.print_output(status != 0 || outcome.result.is_err());
    match outcome.result {
        Ok(()) => Ok(status),
        Err(error) => status_of_failure(status, error),
    }
}

impl Outcome {
    /// A launched program ended before there was anything to show.
    pub fn ended_early(program: &Program) -> Outcome {
        print_stderr(&format!(
            "'{}' ended before its interpreter was initialized: nothing to show",
            program.file.to_string_lossy()
        ));
        Outcome {
            ending: Ending::ProgramEnded,
            result: Ok(()),
        }
    }

    /// A failure after which a launched program runs on to its end.
    pub fn failure(error: anyhow::Error) -> Outcome {
        Outcome {
            ending: Ending::ProgramEnded,
            result: Err(error),
        }
    }
}
