//! What a command prints on stderr: progress, the closing lines.

pub mod memory;
pub mod progress;
pub mod summary;
pub mod summary_json;
pub mod timing;
