//! CPython's state in a target's memory: interpreters, threads, frames, code, objects. Nothing here
//! knows of time or of the command line.

pub mod attach_error;
mod attributes;
mod budget;
mod candidate;
mod class;
pub mod code;
mod dict;
pub mod error;
pub mod frame;
pub mod frame_table;
pub mod gil;
pub mod inspector;
pub mod interpreter;
pub mod line_table;
pub mod locals;
pub mod locate;
mod number;
pub mod object;
pub mod process;
pub mod python;
mod quote;
pub mod record;
mod redact;
mod scan;
pub mod source_path;
pub mod tape_facts;
pub mod thread_ids;
pub mod thread_names;
pub mod trace;
pub mod value;
pub mod version;

pub use attach_error::AttachError;
pub use error::{ReadError, SampleError};
pub use frame_table::{Columns, Frame, FrameId, FrameTable};
pub use inspector::{Inspector, PythonThread, ThreadList};
pub use locals::Local;
pub use locate::Found;
pub use object::Objects;
pub use process::PythonProcess;
pub use python::{Python, Roots};
pub use tape_facts::{Attached, FactsError};
pub use thread_names::ThreadNames;
pub use trace::{StackTrace, ThreadInfo};
pub use value::ValueOptions;
