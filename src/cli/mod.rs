//! The command line: arguments, options, one function per subcommand, messages and exit statuses.

mod arg_values;
pub mod args;
pub mod attach;
pub mod candidates;
pub mod clock;
pub mod completions;
pub mod core_args;
mod core_json;
mod core_text;
pub mod doctor;
pub mod doctor_args;
mod doctor_facts;
mod doctor_fix;
mod doctor_model;
mod doctor_sample;
mod doctor_text;
mod doctor_words;
pub mod dump;
pub mod dump_core;
mod dump_interpreters;
pub mod dump_json;
pub mod dump_model;
pub mod dump_text;
pub mod errors;
pub mod escape;
pub mod inside;
pub mod logging;
pub mod memory;
mod memory_lines;
pub mod options;
pub mod program;
pub mod progress;
pub mod record;
mod redact_command;
pub mod signals;
pub mod sources;
pub mod summary;
pub mod summary_json;
pub mod timing;
pub mod top;
mod which;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use errors::{Advised, without_number};
use options::Action;

/// Runs the command line of this process and returns its exit status: 0, 1 for a failure, 2 for a
/// wrong command line, and a launched program's own.
pub fn run() -> ExitCode {
    let parsed = Cli::try_parse().and_then(|cli| {
        let action = Action::resolve(cli.command)?;
        Ok((cli.verbose, action))
    });
    let status = match parsed {
        Err(error) => errors::usage(&error),
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
            _ => Advised::failure(
                format!("cannot print: {}", without_number(&error.to_string())),
                "free some space, or print elsewhere",
            )
            .into(),
        })
}
