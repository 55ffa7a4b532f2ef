//! A process as the operating system shows it: memory, mappings, ELF files, threads, RSS. Nothing
//! here knows Python.

pub mod address;
pub mod memory;

pub use address::RemoteAddr;
pub use memory::{MemoryError, RemoteMemory};

/// A process id, in our own PID namespace.
pub type Pid = i32;
/// An OS thread id, in our own PID namespace.
pub type Tid = i32;
