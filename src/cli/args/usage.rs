//! Usage errors, in clap's format.

use std::io::{self, Write as _};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::cli::called_as::{PY_SPY_VERSION, is_py_spy};
use crate::session::errors::{USAGE, print_stderr};

/// Prints a usage error (or the help or version, which clap also reports as errors) and returns the
/// exit status.
pub fn usage(error: &clap::Error) -> u8 {
    if let Some((what, hint)) = unavailable(error) {
        print_stderr(&format!("error: {what}"));
        print_stderr(&format!("hint: {hint}"));
    } else if error.kind() == ErrorKind::DisplayVersion && is_py_spy() {
        // Its scripts compare the version with that of a feature.
        let line = format!("py-spy {PY_SPY_VERSION} ({})", error.to_string().trim());
        let _ = writeln!(io::stdout(), "{line}");
    } else {
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(USAGE)
}

/// The message and hint for an option of py-spy that is not implemented.
fn unavailable(error: &clap::Error) -> Option<(&'static str, &'static str)> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    match argument.as_str() {
        "--capture" => Some((
            "--capture is not available",
            "remove it: the program's output is not captured",
        )),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn missing_options_of_py_spy_have_a_hint() {
        for (line, has_hint) in [
            ("pyspy-rs record --capture python x.py", true),
            // The `--` before the program is missing: clap's own error explains that.
            ("pyspy-rs record python -c x", false),
        ] {
            match Cli::try_parse_from(line.split(' ')) {
                Ok(_) => panic!("{line} was accepted"),
                Err(error) => assert_eq!(unavailable(&error).is_some(), has_hint, "{line}"),
            }
        }
    }
}
