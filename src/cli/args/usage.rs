//! Usage errors, in clap's format.

use std::io::{self, Write as _};

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::Cli;
use crate::cli::called_as::{PY_SPY_VERSION, is_py_spy};
use crate::session::errors::USAGE;

/// Prints a usage error (or the help or version, which clap also reports as errors) and returns the
/// exit status.
pub fn usage(error: &clap::Error) -> u8 {
    if error.kind() == ErrorKind::DisplayVersion && is_py_spy() {
        // Its scripts compare the version with that of a feature.
        let line = format!("py-spy {PY_SPY_VERSION} ({})", error.to_string().trim());
        let _ = writeln!(io::stdout(), "{line}");
    } else {
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(USAGE)
}

/// A usage error of a subcommand, in clap's format and with its exit status (2).
pub(crate) fn usage_error(command: &str, message: &str) -> clap::Error {
    let mut cli = Cli::command();
    // Gives the subcommand's usage line its full name.
    cli.build();
    match cli.find_subcommand_mut(command) {
        Some(subcommand) => subcommand.error(ErrorKind::ArgumentConflict, message),
        None => cli.error(ErrorKind::ArgumentConflict, message),
    }
}
