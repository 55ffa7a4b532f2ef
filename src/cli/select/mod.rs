//! The process that a command is for.

pub mod candidates;
pub mod container;
pub mod resolve;
pub mod target;
