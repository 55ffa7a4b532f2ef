//! Prints a dump.

use super::model::ProcessDump;
use super::{json, text};
use crate::cli::options::DumpOptions;
use crate::cli::stdout::to_stdout;
use crate::session::errors::{FAILURE, print_stderr};

/// Prints processes on stdout, and errors on stderr. Returns the exit status: a dump that shows no thread is
/// a failure, though it is printed.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(
    processes: &mut [ProcessDump],
    errors: &[String],
    options: &DumpOptions,
) -> anyhow::Result<u8> {
    let is_empty = explain_missing(processes);
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
    let kind = if is_empty { "error" } else { "warning" };
    for error in of_threads.chain(errors) {
        print_stderr(&format!("{kind}: {error}"));
    }
    Ok(if is_empty { FAILURE } else { 0 })
}

/// Adds an error to each process without threads that has none. Returns whether no process has threads.
fn explain_missing(processes: &mut [ProcessDump]) -> bool {
    for process in &mut *processes {
        if process.threads.is_empty() && process.errors.is_empty() {
            let pid = process.pid;
            process.errors.push(format!(
                "no Python thread was found in process {pid}: its interpreter may be starting or ending"
            ));
        }
    }
    processes.iter().all(|process| process.threads.is_empty())
}

fn wants_colour() -> bool {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    choice != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dump::samples;

    /// Such a dump was a success, and said nothing.
    #[test]
    fn a_dump_without_threads_is_a_failure() {
        let whole = || ProcessDump {
            errors: Vec::new(),
            ..samples::process()
        };
        let empty = || ProcessDump {
            threads: Vec::new(),
            ..whole()
        };
        let mut dump = [whole(), empty()];
        assert!(!explain_missing(&mut dump));
        let [first, second] = dump.map(|process| process.errors);
        assert!(first.is_empty());
        assert_eq!(second.len(), 1, "{second:?}");
        assert!(second.concat().contains("process 8172"), "{second:?}");
        assert!(explain_missing(&mut [empty(), empty()]));
        // The reason is known.
        let torn = ProcessDump {
            threads: Vec::new(),
            ..samples::process()
        };
        let mut dump = [torn];
        assert!(explain_missing(&mut dump));
        assert!(dump.iter().all(|process| process.errors.len() == 1));
    }
}
