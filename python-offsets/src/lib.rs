//! Where each CPython version keeps the fields that a profiler reads.
#![forbid(unsafe_code)]

pub mod layout;
pub mod semantics;
