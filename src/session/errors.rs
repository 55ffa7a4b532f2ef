//! Errors as the user sees them: one line with the problem, one with a hint.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use super::advice;
use crate::cpython::attach::error::{AttachError, pid_option};
use crate::cpython::core::NoInterpreter;
use crate::os::Pid;
use crate::os::core_file::error::CoreError;
use crate::text::escape::for_terminal;

/// The exit status of a failure.
pub const FAILURE: u8 = 1;
/// The exit status of a wrong command line.
pub const USAGE: u8 = 2;

/// An error with a hint and an exit status.
#[derive(Debug)]
pub struct UserError {
    pub message: String,
    pub hint: String,
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

/// Prints an error on stderr and returns its exit status. A closed stdout is not an error and has no
/// message: the reader has read enough.
pub fn report(error: &anyhow::Error) -> u8 {
    if has_closed_pipe(error) {
        return 0;
    }
    print_stderr(&format!("error: {error:#}"));
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let (hint, status) = advice(error, names_container(&words));
    if let Some(hint) = hint {
        print_stderr(&format!("hint: {}", with_command(&hint, &words)));
    }
    status
}

/// A hint with this process's command line in place of `pyspy-rs …`, ready to paste into a shell.
fn with_command(hint: &str, words: &[OsString]) -> String {
    /// Longer command lines make the hint unreadable.
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

/// Whether this command line gives PIDs as they are inside a container.
fn names_container(words: &[OsString]) -> bool {
    let ours = words.iter().take_while(|word| *word != "--");
    ours.map(|word| word.to_string_lossy())
        .any(|word| word == "--in-container" || word.starts_with("--in-container="))
}

/// The option that names a process, for a command line that gives PIDs of a container.
fn pid_option_of_here(pid: Pid) -> String {
    format!("{} without --in-container", pid_option(pid))
}

/// The hint and the exit status; `in_container`: what was asked for had a PID of a container.
fn advice(error: &anyhow::Error, in_container: bool) -> (Option<String>, u8) {
    if let Some(advised) = error.downcast_ref::<UserError>() {
        return (Some(advised.hint.clone()), advised.status);
    }
    let pid_option = match in_container {
        true => pid_option_of_here,
        false => pid_option,
    };
    let attach = error.downcast_ref::<AttachError>();
    let children = match attach {
        Some(AttachError::NotPython { pid, .. } | AttachError::NotFound { pid, .. }) => {
            advice::advice_on_children(*pid, pid_option)
        }
        _ => None,
    };
    let core = error.downcast_ref::<CoreError>();
    let core = core.map(|error| error.hint().to_owned());
    let no_interpreter = error.downcast_ref::<NoInterpreter>();
    let no_interpreter = no_interpreter.map(|error| error.hint.clone());
    let attach = attach.map(|error| error.hint_with(pid_option));
    let hint = children.or(attach).or(core).or(no_interpreter);
    (hint, FAILURE)
}

fn has_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(is_closed_pipe)
    })
}

/// Whether writing failed because the reader has closed the pipe.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// The text of a system error without its number.
pub fn without_number(text: &str) -> &str {
    text.split(" (os error").next().unwrap_or(text)
}

/// Prints a line on stderr. Unlike `eprintln!` it does not panic when stderr is closed: a recording
/// must survive that.
pub fn print_stderr(line: &str) {
    let _ = writeln!(io::stderr(), "{}", for_terminal(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report(&closed.context("cannot print")), 0);
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(report(&full), FAILURE);
    }

    /// The PID of the hint was one of the machine, and taken for one of the container.
    #[test]
    fn a_hint_names_a_pid_as_it_is_here() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(names_container(&words("dump --in-container web --pid 1")));
        assert!(names_container(&words("dump --pid 1 --in-container=web")));
        assert!(!names_container(&words("record -- x --in-container y")));
        let thread = anyhow::Error::from(AttachError::IsThread { tid: 9, pid: 7 });
        let hint = |in_container| advice(&thread, in_container).0;
        assert_eq!(hint(false).as_deref(), Some("give the process: --pid 7"));
        assert_eq!(
            hint(true).as_deref(),
            Some("give the process: --pid 7 without --in-container")
        );
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
