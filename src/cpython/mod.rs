//! CPython's state in a target's memory: interpreters, threads, frames, code, objects. Nothing here
//! knows of time or of the command line.

pub mod error;
pub mod frame_table;
pub mod object;
pub mod python;
pub mod record;
pub mod trace;

pub use error::{ReadError, SampleError};
pub use frame_table::{Columns, Frame, FrameId, FrameTable};
pub use object::Objects;
pub use python::{Python, Roots};
pub use trace::{StackTrace, ThreadInfo};
