//! `top`: the live view on a real terminal, frames of text where there is none, and launched programs beside both.

mod frames;
mod launched;
mod terminal;

use crate::support::{Interpreter, interpreters};

/// Our program, for a shell.
const BINARY: &str = env!("CARGO_BIN_EXE_pyspy-rs");

/// One interpreter for what does not depend on it.
fn one_python() -> &'static Interpreter {
    let mut native = interpreters().iter().filter(|python| python.root.is_none());
    native.next_back().expect("a Python without chroot")
}

/// Whether the table is there with `function` in its first row.
fn is_on_top(screen: &str, function: &str) -> bool {
    let mut lines = screen.lines();
    lines.any(|line| line.contains("%Own") && line.contains("Function"))
        && lines.next().is_some_and(|line| line.contains(function))
}

/// Words for the shell in the terminal.
fn shell_line(python: &Interpreter, fixture: &str, arguments: &[&str]) -> String {
    let mut all = vec![python.fixture(fixture).into_os_string()];
    all.extend(arguments.iter().map(Into::into));
    let words = python.words(&all);
    let words = words.iter().map(|word| word.to_str().unwrap());
    words.collect::<Vec<_>>().join(" ")
}
