//! The sampled processes: the root, its descendants, and processes that may become Python.

pub mod launch;
pub mod names;
pub mod pending;
pub mod root;
pub mod sampled;
