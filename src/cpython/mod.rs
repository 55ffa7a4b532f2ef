//! CPython's state in a target's memory: interpreters, threads, frames, code, objects. Nothing here
//! knows of time or of the command line.

pub mod attach;
pub mod build;
pub mod code;
pub mod core;
pub mod process;
pub mod read;
pub mod reader;
pub mod runtime;
pub mod stack;
pub mod tape;
pub mod threads;
pub mod values;
