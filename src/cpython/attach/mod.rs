//! Finds CPython in a process: its version and the address of its runtime.

pub mod candidate;
pub mod error;
pub mod locate;
pub mod scan;
pub mod version;
