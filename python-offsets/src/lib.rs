//! Where each CPython version keeps the fields that a profiler reads, and what they mean.
//!
//! [`describe`] turns a [`PythonVersion`] (and, from 3.13 on, the bytes of the target's own
//! `_Py_DebugOffsets`) into a [`Description`]: a [`Layout`] of byte offsets and the [`Semantics`]
//! that offsets cannot say. Nothing here reads a process; nothing outside compares versions.

#![forbid(unsafe_code)]

pub mod consts;
mod debug_offsets;
mod describe;
mod error;
pub mod layout;
mod minor;
mod registry;
pub mod semantics;
mod table;
mod trace_refs;
mod version;

pub use debug_offsets::{DEBUG_OFFSETS_LEN, peek_debug_offsets};
pub use describe::{
    Description, LayoutSource, describe, is_supported, needs_debug_offsets, supported,
    supported_versions,
};
pub use error::OffsetsError;
pub use layout::Layout;
pub use semantics::Semantics;
pub use version::{PythonVersion, ReleaseLevel};
