//! Formats that show memory over time.

pub mod mprof;
pub mod timeline;
