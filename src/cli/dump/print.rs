//! Prints a dump.

use super::model::ProcessDump;
use super::{json, text};
use crate::cli::options::DumpOptions;
use crate::cli::stdout::to_stdout;
use crate::session::errors::print_stderr;

/// Prints processes on stdout, and errors on stderr.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(
    processes: &[ProcessDump],
    errors: &[String],
    options: &DumpOptions,
) -> anyhow::Result<()> {
    to_stdout(|out| {
        if options.json {
            json::write(out, processes, errors)
        } else {
            let text = text::TextOptions {
                full_filenames: options.full_filenames,
                colour: wants_colour(),
            };
            text::write(out, processes, text)
        }
    })?;
    let of_threads = processes.iter().flat_map(|process| &process.errors);
    for error in of_threads.chain(errors) {
        print_stderr(&format!("warning: {error}"));
    }
    Ok(())
}

fn wants_colour() -> bool {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    choice != anstream::ColorChoice::Never
}
