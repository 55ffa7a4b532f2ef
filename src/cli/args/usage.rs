//! A wrong command line, in clap's shape.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::session::errors::{USAGE, print_stderr};

/// Prints a wrong command line's error (or the help and the version, which clap treats the same)
/// and returns the exit status.
pub fn usage(error: &clap::Error) -> u8 {
    if let Some((what, hint)) = unavailable(error) {
        print_stderr(&format!("error: {what}"));
        print_stderr(&format!("hint: {hint}"));
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

/// A usage error of a subcommand, in clap's shape and with its exit status (2).
pub(crate) fn usage_error(command: &str, message: &str) -> clap::Error {
    let mut cli = Cli::command();
    // Names the subcommand's usage line after the whole command.
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
