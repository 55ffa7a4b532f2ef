//! The name that we are called by: a link named `py-spy` speaks as py-spy to its scripts.

use std::ffi::OsString;
use std::path::Path;

/// The version of py-spy whose options and output ours are.
pub const PY_SPY_VERSION: &str = "0.4.3";

/// `py-spy`, or our own name.
pub fn name() -> &'static str {
    name_of(std::env::args_os().next())
}

/// Whether that is py-spy's.
pub fn is_py_spy() -> bool {
    name() == "py-spy"
}

fn name_of(program: Option<OsString>) -> &'static str {
    let program = program.unwrap_or_default();
    match Path::new(&program).file_name() {
        Some(name) if name == "py-spy" => "py-spy",
        _ => "pyspy-rs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_py_spys_if_we_are_called_so() {
        for (program, expected) in [
            (Some("py-spy"), "py-spy"),
            (Some("/usr/bin/py-spy"), "py-spy"),
            (Some("/usr/bin/pyspy-rs"), "pyspy-rs"),
            (Some("py-spy/x"), "pyspy-rs"),
            (None, "pyspy-rs"),
        ] {
            assert_eq!(name_of(program.map(OsString::from)), expected);
        }
    }
}
