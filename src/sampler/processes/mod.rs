//! The sampled processes: the root, its descendants, and processes that may become Python.

mod descendants;
mod examiner;
pub mod launch;
pub mod names;
pub mod pending;
mod program;
pub mod root;
pub mod sampled;
