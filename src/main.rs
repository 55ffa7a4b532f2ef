//! The `pyspy-rs` binary: parse, run, exit code.

fn main() {}
