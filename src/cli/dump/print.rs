//! Prints a dump.

use std::cell::{Cell, RefCell};

use super::model::ProcessDump;
use super::{json, text, thread_list};
use crate::cli::options::{DumpOptions, DumpOutput};
use crate::cli::stdout::to_stdout;
use crate::os::Pid;
use crate::session::errors::{FAILURE, print_stderr};

/// Prints processes on stdout, each as soon as it is dumped, so that one at a time is in memory and one that
/// takes long delays no other; then errors on stderr, `errors` after those of the processes. Returns the exit
/// status: a dump that shows no thread is a failure, though it is printed. So is a list of threads that lacks
/// any: it has no place for errors.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(
    processes: impl Iterator<Item = ProcessDump>,
    errors: &RefCell<Vec<String>>,
    options: &DumpOptions,
) -> anyhow::Result<u8> {
    let of_processes = RefCell::new(Vec::new());
    let is_empty = Cell::new(true);
    let processes = processes.map(|process| {
        let process = explain_missing(process);
        is_empty.set(is_empty.get() && process.threads.is_empty());
        let errors = process.errors.iter();
        let named = errors.map(|error| with_process(process.pid, error));
        of_processes.borrow_mut().extend(named);
        process
    });
    to_stdout(|out| match options.output {
        DumpOutput::Document => json::write(out, processes, errors),
        DumpOutput::ThreadList => thread_list::write(out, processes),
        DumpOutput::Text => {
            let text = text::TextOptions {
                full_filenames: options.full_filenames,
                colour: wants_colour(),
            };
            text::write(out, processes, text)
        }
    })?;
    let (of_processes, others) = (of_processes.into_inner(), errors.borrow());
    let is_whole = of_processes.is_empty() && others.is_empty();
    let has_failed = is_failure(options.output, is_empty.get(), is_whole);
    let kind = if has_failed { "error" } else { "warning" };
    for error in folded(&of_processes).chain(folded(&others)) {
        print_stderr(&format!("{kind}: {error}"));
    }
    Ok(if has_failed { FAILURE } else { 0 })
}

fn is_failure(output: DumpOutput, is_empty: bool, is_whole: bool) -> bool {
    is_empty || output == DumpOutput::ThreadList && !is_whole
}

/// An error with the process that it is about.
fn with_process(pid: Pid, error: &str) -> String {
    match error.contains(&format!("process {pid}")) {
        true => error.to_owned(),
        false => format!("process {pid}: {error}"),
    }
}

/// Each run of equal errors as one: all thread states of a thread may have the same.
fn folded(errors: &[String]) -> impl Iterator<Item = String> {
    errors
        .chunk_by(|a, b| a == b)
        .filter_map(|equal| match equal {
            [] => None,
            [error] => Some(error.clone()),
            [error, ..] => Some(format!("{error} ({} times)", equal.len())),
        })
}

/// Adds an error to a process without threads that has none.
fn explain_missing(mut process: ProcessDump) -> ProcessDump {
    if process.threads.is_empty() && process.errors.is_empty() {
        let pid = process.pid;
        process.errors.push(format!(
            "no Python thread was found in process {pid}: its interpreter may be starting or ending"
        ));
    }
    process
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
    fn a_process_without_threads_says_why() {
        let whole = || ProcessDump {
            errors: Vec::new(),
            ..samples::process()
        };
        let empty = || ProcessDump {
            threads: Vec::new(),
            ..whole()
        };
        assert!(explain_missing(whole()).errors.is_empty());
        let errors = explain_missing(empty()).errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors.concat().contains("process 8172"), "{errors:?}");
        // The reason is known.
        let torn = explain_missing(ProcessDump {
            threads: Vec::new(),
            ..samples::process()
        });
        assert_eq!(torn.errors.len(), 1);
    }

    /// Programs that read the list would take it for all threads.
    #[test]
    fn a_list_of_threads_that_lacks_any_is_a_failure() {
        assert!(is_failure(DumpOutput::ThreadList, false, false));
        assert!(!is_failure(DumpOutput::ThreadList, false, true));
        assert!(!is_failure(DumpOutput::Document, false, false));
        assert!(is_failure(DumpOutput::Document, true, false));
    }

    /// With -s nothing said which process an error was of.
    #[test]
    fn an_error_names_its_process() {
        let unread = "2 of 9 threads were not read within 250 ms";
        assert_eq!(with_process(7, unread), format!("process 7: {unread}"));
        let ended = "no Python thread was found in process 7";
        assert_eq!(with_process(7, ended), ended);
    }

    /// One thread with 1,024 states had a line for each.
    #[test]
    fn equal_errors_are_one_line() {
        let errors = ["late", "late", "torn", "late"].map(str::to_owned);
        let lines: Vec<_> = folded(&errors).collect();
        assert_eq!(lines, ["late (2 times)", "torn", "late"]);
    }
}
