//! The `pyspy-rs` binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyspy_rs::run()
}
