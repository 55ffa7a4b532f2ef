//! Failures as the user sees them: a line that says what is wrong, one that says what to do.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use super::advice;
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
pub struct UserError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The exit status.
    pub status: u8,
}

impl UserError {
    /// A failure (exit status 1).
    pub fn failure(message: impl Into<String>, hint: impl Into<String>) -> UserError {
        UserError {
            message: message.into(),
            hint: hint.into(),
            status: FAILURE,
        }
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UserError {}

/// Prints a failure on stderr and returns the exit status it asks for. A reader who closed our
/// stdout has seen enough: no message, and no failure.
pub fn report(error: &anyhow::Error) -> u8 {
    if is_broken_pipe(error) {
        return 0;
    }
    print_stderr(&format!("error: {error:#}"));
    let (hint, status) = advice(error);
    if let Some(hint) = hint {
        let words: Vec<_> = std::env::args_os().skip(1).collect();
        print_stderr(&format!("hint: {}", with_command(&hint, &words)));
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
    if let Some(advised) = error.downcast_ref::<UserError>() {
        return (Some(advised.hint.clone()), advised.status);
    }
    let attach = error.downcast_ref::<AttachError>();
    let below = match attach {
        Some(AttachError::NotPython { pid, .. } | AttachError::NotFound { pid, .. }) => {
            advice::advice_on_children(*pid)
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
pub fn print_stderr(line: &str) {
    let _ = writeln!(io::stderr(), "{}", for_terminal(line));
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
