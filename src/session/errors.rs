//! Failures as the user sees them: a line that says what is wrong, one that says what to do.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::select::candidates;
use crate::cpython::attach::error::AttachError;
use crate::cpython::core::NoInterpreter;
use crate::os::core_file::error::CoreError;
use crate::text::escape::for_terminal;

/// The exit status of a failure.
pub const FAILURE: u8 = 1;
/// The exit status of a wrong command line.
pub const USAGE: u8 = 2;

/// A failure of the command line's own, with its advice.
#[derive(Debug)]
pub struct Advised {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The exit status.
    pub status: u8,
}

impl Advised {
    /// A failure (exit status 1).
    pub fn failure(message: impl Into<String>, hint: impl Into<String>) -> Advised {
        Advised {
            message: message.into(),
            hint: hint.into(),
            status: FAILURE,
        }
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Advised {}

/// Prints a failure on stderr and returns the exit status it asks for. A reader who closed our
/// stdout has seen enough: no message, and no failure.
pub fn report(error: &anyhow::Error) -> u8 {
    if is_broken_pipe(error) {
        return 0;
    }
    say(&format!("error: {error:#}"));
    let (hint, status) = advice(error);
    if let Some(hint) = hint {
        let words: Vec<_> = std::env::args_os().skip(1).collect();
        say(&format!("hint: {}", with_command(&hint, &words)));
    }
    status
}

/// A hint with our own command line where it says `pyspy-rs …`, so that it can be pasted into a shell.
fn with_command(hint: &str, words: &[OsString]) -> String {
    /// Longer ones are no help to anybody.
    const LONGEST: usize = 200;
    let mut command = "pyspy-rs".to_owned();
    for word in words {
        let word = word.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
        command.push(' ');
        match !word.is_empty() && word.chars().all(is_plain) {
            true => command.push_str(&word),
            false => command.push_str(&format!("'{}'", word.replace('\'', r"'\''"))),
        }
    }
    match command.len() {
        0..=LONGEST => hint.replace("pyspy-rs …", &command),
        _ => hint.to_owned(),
    }
}

fn advice(error: &anyhow::Error) -> (Option<String>, u8) {
    if let Some(advised) = error.downcast_ref::<Advised>() {
        return (Some(advised.hint.clone()), advised.status);
    }
    let attach = error.downcast_ref::<AttachError>();
    let below = match attach {
        Some(AttachError::NotPython { pid, .. } | AttachError::NotFound { pid, .. }) => {
            candidates::advice_on_children(*pid)
        }
        _ => None,
    };
    let core = error.downcast_ref::<CoreError>();
    let core = core.map(|error| error.hint().to_owned());
    let no_interpreter = error.downcast_ref::<NoInterpreter>();
    let no_interpreter = no_interpreter.map(|error| error.hint.clone());
    let attach = attach.map(AttachError::hint);
    let hint = below.or(attach).or(core).or(no_interpreter);
    (hint, FAILURE)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The text of a system error without its number, which says nothing to a reader.
pub fn without_number(text: &str) -> &str {
    text.split(" (os error").next().unwrap_or(text)
}

/// One line on stderr. Unlike `eprintln!` it does not panic when nobody reads stderr any more: a
/// recording must survive that.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", for_terminal(line));
}

/// Prints a wrong command line's error (or the help and the version, which clap treats the same)
/// and returns the exit status.
pub fn usage(error: &clap::Error) -> u8 {
    if let Some((what, hint)) = unavailable(error) {
        say(&format!("error: {what}"));
        say(&format!("hint: {hint}"));
    } else {
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(USAGE)
}

/// What to say of an option that py-spy has and we have not: what is wrong, and what to do.
fn unavailable(error: &clap::Error) -> Option<(&'static str, &'static str)> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    match argument.as_str() {
        "--native" | "-n" => Some((
            "--native is not available yet",
            "leave it out: the stacks then hold the Python frames",
        )),
        "--capture" => Some((
            "--capture is not available",
            "leave it out: the program's output goes where it would go without us",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report(&closed.context("cannot print")), 0);
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(report(&full), FAILURE);
    }

    #[test]
    fn a_hint_can_be_pasted() {
        let words = ["dump", "--pid", "7", "--only", "it's a b", ""].map(OsString::from);
        assert_eq!(
            with_command("run sudo pyspy-rs …, or", &words),
            r"run sudo pyspy-rs dump --pid 7 --only 'it'\''s a b' '', or"
        );
        let long = ["x".repeat(300).into()];
        assert_eq!(with_command("sudo pyspy-rs …", &long), "sudo pyspy-rs …");
    }

    #[test]
    fn tells_what_of_py_spy_is_missing() {
        for (line, is_told) in [
            ("pyspy-rs record --native -p 1", true),
            ("pyspy-rs record -n -p 1", true),
            ("pyspy-rs record --capture python x.py", true),
            // The `--` before the program is missing, and clap says so.
            ("pyspy-rs record python -c x", false),
        ] {
            match Cli::try_parse_from(line.split(' ')) {
                Ok(_) => panic!("{line} was accepted"),
                Err(error) => assert_eq!(unavailable(&error).is_some(), is_told, "{line}"),
            }
        }
    }
}
