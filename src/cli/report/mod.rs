//! What commands print while they run and at the end.

pub mod announce;
pub mod memory;
pub mod memory_lines;
pub mod progress;
pub mod summary;
pub mod summary_json;
pub mod timing;
pub mod write;
