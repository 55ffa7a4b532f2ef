//! `completions SHELL`: a script for the shell.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;

/// Prints the completion script of one shell.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, shell: Shell) -> std::io::Result<()> {
    // clap_complete panics when its writer fails; a Vec cannot.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pyspy-rs", &mut script);
    out.write_all(&script)
}
