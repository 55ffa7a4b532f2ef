//! Interpreters, their threads, names, and who holds the GIL.

pub mod gil;
pub mod interpreter;
pub mod list;
pub mod names;
pub mod tid_map;
