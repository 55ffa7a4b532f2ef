//! The command line: arguments, options, one function per subcommand, messages and exit statuses.

pub mod args;
pub mod called_as;
pub mod completions;
pub mod doctor;
pub mod dump;
pub mod engine;
pub mod logging;
pub mod man;
pub mod memory;
pub mod options;
pub mod record;
pub mod report;
pub mod select;
pub mod stdout;
pub mod top;

use std::process::ExitCode;

use clap::Parser;

use crate::os::hold::watchdog;
use crate::os::process::sudo::has_lent_ids;
use crate::os::procfs::cgroup::cpu::note_counts;
use crate::session::errors;
use crate::session::job_control;
use crate::tui::terminal::term::can_draw;
use args::{Cli, Command};
use options::Action;
use stdout::to_stdout;

/// Runs this process's command line and returns its exit status: 0, 1 for a failure, 2 for a usage error,
/// or a launched program's own status.
pub fn run() -> ExitCode {
    if has_lent_ids() {
        errors::print_stderr(
            "error: pyspy-rs does not run setuid or setgid, which would let anybody read the processes and \
             write the files of its owner: remove that with `chmod ug-s`, and use sudo, or `setcap \
             cap_sys_ptrace=ep`",
        );
        return ExitCode::from(errors::FAILURE);
    }
    let parsed = Cli::try_parse().and_then(|cli| {
        let warnings = warnings(&cli.command);
        let action = Action::resolve(cli.command)?;
        Ok((cli.verbose, warnings, action))
    });
    let status = match parsed {
        Err(error) => args::usage::usage(&error),
        Ok((verbose, warnings, action)) => {
            logging::start(verbose);
            for warning in warnings {
                errors::print_stderr(&warning);
            }
            perform(action).unwrap_or_else(|error| errors::report(&error))
        }
    };
    ExitCode::from(status)
}

/// What py-spy's users ask for and do not get.
fn warnings(command: &Command) -> Vec<String> {
    let mut warnings = Vec::new();
    if command.asks_for_native() {
        let warning = "warning: --native is not available yet: stacks have Python frames only";
        warnings.push(warning.to_owned());
    }
    if let Some((pid, program)) = command.ignored_program() {
        warnings.push(format!(
            "warning: '{}' is not launched, since --pid selects process {pid}: leave one of them out",
            program.to_string_lossy()
        ));
    }
    warnings
}

fn perform(action: Action) -> anyhow::Result<u8> {
    note_counts();
    if !matches!(action, Action::Completions(_) | Action::Man(_)) {
        let has_screen = matches!(action, Action::Top(_) | Action::Memory(_)) && can_draw();
        // Before the first thread.
        if let Err(error) = watchdog::start(has_screen) {
            log::info!("no watchdog: {error}");
        }
    }
    match action {
        // Reads no process.
        Action::Completions(_) | Action::Man(_) => {}
        Action::Top(_) | Action::Memory(_) => job_control::start(can_draw())?,
        Action::Record(_) => job_control::start(false)?,
        // They pause for milliseconds, and are needed most where nothing more can be started.
        Action::Dump(_) | Action::Doctor(_) => {
            if let Err(error) = job_control::start(false) {
                log::info!("{error:#}");
            }
        }
    }
    match action {
        Action::Record(options) => record::run(&options),
        Action::Top(options) => top::run(&options),
        Action::Memory(options) => memory::run(&options),
        Action::Dump(options) => dump::run(&options),
        Action::Doctor(options) => doctor::run(&options),
        Action::Completions(shell) => {
            to_stdout(|out| completions::write(out, shell))?;
            Ok(0)
        }
        Action::Man(page) => {
            to_stdout(|out| page.write(out))?;
            Ok(0)
        }
    }
}
