//! The command line: arguments, options, one function per subcommand, messages and exit statuses.

pub mod args;
pub mod completions;
pub mod doctor;
pub mod dump;
pub mod logging;
pub mod memory;
pub mod options;
pub mod record;
pub mod report;
pub mod select;
pub mod top;

use crate::session::errors;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::session::errors::{UserError, without_number};
use args::Cli;
use options::Action;

/// Runs the command line of this process and returns its exit status: 0, 1 for a failure, 2 for a
/// wrong command line, and a launched program's own.
pub fn run() -> ExitCode {
    let parsed = Cli::try_parse().and_then(|cli| {
        let action = Action::resolve(cli.command)?;
        Ok((cli.verbose, action))
    });
    let status = match parsed {
        Err(error) => args::usage::usage(&error),
        Ok((verbose, action)) => {
            logging::start(verbose);
            perform(action).unwrap_or_else(|error| errors::report(&error))
        }
    };
    ExitCode::from(status)
}

fn perform(action: Action) -> anyhow::Result<u8> {
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
    }
}

/// Prints on stdout, whole or with an error: the last bytes too, which a drop would lose silently.
fn to_stdout(
    print: impl FnOnce(&mut BufWriter<io::StdoutLock<'static>>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    print(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            // Whoever reads has seen enough; see `errors::report`.
            io::ErrorKind::BrokenPipe => error.into(),
            _ => UserError::failure(
                format!("cannot print: {}", without_number(&error.to_string())),
                "free some space, or print elsewhere",
            )
            .into(),
        })
}
