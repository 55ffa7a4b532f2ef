//! The tables of a profile: strings, labels, stacks, threads, functions. Each entry is known by its handle.

pub mod functions;
pub mod labels;
pub mod stacks;
pub mod strings;
pub mod threads;
