//! CPython's state in a target's memory: interpreters, threads, frames, code, objects. Nothing here
//! knows of time or of the command line.

pub mod frame_table;
pub mod trace;

pub use frame_table::{Columns, Frame, FrameId, FrameTable};
pub use trace::{StackTrace, ThreadInfo};
