//! Interpreters, their threads and thread names, the GIL and the garbage collection.

pub mod gc;
pub mod gil;
pub mod interpreter;
pub mod list;
pub mod names;
pub mod tid_map;
