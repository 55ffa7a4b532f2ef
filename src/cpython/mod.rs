//! CPython's state in a target's memory: interpreters, threads, frames, code, objects. Nothing here
//! depends on time or on the command line.

pub mod attach;
pub mod code;
pub mod core;
pub mod frame;
pub mod process;
pub mod read;
pub mod reader;
pub mod runtime;
pub mod stack;
pub mod tape;
pub mod threads;
pub mod values;
