//! The offsets of the fields that a profiler reads, for each CPython version, and their meaning.
//!
//! [`describe`] turns a [`PythonVersion`] (and, from 3.13 on, the bytes of the target's own
//! `_Py_DebugOffsets`) into a [`Description`]: a [`Layout`] of byte offsets and the [`Semantics`]
//! that offsets do not express. This crate does not read processes, and its users do not compare
//! versions.

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
