//! pyspy-rs: see inside a running CPython from another process.
//!
//! The modules are the floors of a house, lowest first; each imports only those below it
//! (`tests/layers.rs` checks that). A sample travels upwards: memory of the target, interpreter
//! structures, samples, a profile, a file or a screen.

pub mod target;

pub mod cpython;

pub mod sampler;

pub mod profile;

pub mod output;

pub mod tui;

pub mod cli;
