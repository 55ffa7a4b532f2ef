//! From a code object and an instruction to a function, a file and a line.

pub mod cache;
pub mod entry;
pub mod frame_table;
pub mod identity;
pub mod instruction;
pub mod line_table;
pub mod resolved_stack;
pub mod short_path;
