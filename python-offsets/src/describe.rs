//! [`describe`]: from a version (and a target's own table) to its layout and semantics.

use std::fmt;

use crate::debug_offsets;
use crate::error::OffsetsError;
use crate::layout::Layout;
use crate::minor::{Minor, Source};
use crate::registry::REGISTRY;
use crate::semantics::Semantics;
use crate::version::{PythonVersion, ReleaseLevel};

/// Where each field of one CPython build is, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where.
    pub layout: Layout,
    /// What it means.
    pub semantics: Semantics,
    /// Where the layout came from.
    pub source: LayoutSource,
}

/// Where a layout came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutSource {
    /// This crate's table of the minor version (to 3.12).
    Table,
    /// The target's own `_Py_DebugOffsets` (3.13+).
    DebugOffsets,
}

impl fmt::Display for LayoutSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "built-in table",
            Self::DebugOffsets => "the target's debug offsets",
        })
    }
}

/// Describes the CPython build `version`.
///
/// `debug_offsets` are the first [`DEBUG_OFFSETS_LEN`](crate::DEBUG_OFFSETS_LEN) bytes (more are
/// ignored, fewer are fine when the version's own table is shorter) of the target's `_PyRuntime`;
/// they are needed from 3.13 on and ignored before.
///
/// # Errors
/// [`OffsetsError::UnsupportedVersion`] when no table knows the version, and the other variants
/// when the debug offsets are missing or cannot be right.
pub fn describe(
    version: PythonVersion,
    debug_offsets: Option<&[u8]>,
) -> Result<Description, OffsetsError> {
    let minor = find(version).ok_or(OffsetsError::UnsupportedVersion(version))?;
    match &minor.source {
        Source::Table(ranges) => {
            let (_, layout) = ranges
                .iter()
                .rev()
                .find(|(first_patch, _)| *first_patch <= version.patch)
                .ok_or(OffsetsError::UnsupportedVersion(version))?;
            Ok(Description {
                layout: layout.clone(),
                semantics: (minor.semantics)(false),
                source: LayoutSource::Table,
            })
        }
        Source::DebugOffsets(order) => {
            let bytes = debug_offsets.ok_or(OffsetsError::MissingDebugOffsets)?;
            let (layout, free_threaded) = debug_offsets::parse(bytes, version, order)?;
            Ok(Description {
                layout,
                semantics: (minor.semantics)(free_threaded),
                source: LayoutSource::DebugOffsets,
            })
        }
    }
}

/// Whether [`describe`] wants the target's own table for this version.
#[must_use]
pub fn needs_debug_offsets(version: PythonVersion) -> bool {
    find(version).is_some_and(|minor| matches!(minor.source, Source::DebugOffsets(_)))
}

/// Whether a table knows this version. Alphas and betas are refused: their structures still move.
#[must_use]
pub fn is_supported(version: PythonVersion) -> bool {
    find(version).is_some()
}

/// The versions that are supported, for messages: `2.7, 3.3 to 3.15`.
#[must_use]
pub fn supported_versions() -> String {
    let mut runs: Vec<(&Minor, &Minor)> = Vec::new();
    for minor in REGISTRY {
        match runs.last_mut() {
            Some((_, last)) if last.major == minor.major && last.minor + 1 == minor.minor => {
                *last = minor;
            }
            _ => runs.push((minor, minor)),
        }
    }
    let texts: Vec<_> = runs
        .iter()
        .map(|(first, last)| {
            if first.minor == last.minor {
                format!("{}.{}", first.major, first.minor)
            } else {
                format!(
                    "{}.{} to {}.{}",
                    first.major, first.minor, last.major, last.minor
                )
            }
        })
        .collect();
    texts.join(", ")
}

fn find(version: PythonVersion) -> Option<&'static Minor> {
    if matches!(version.level, ReleaseLevel::Alpha | ReleaseLevel::Beta) {
        return None;
    }
    REGISTRY
        .iter()
        .find(|minor| (minor.major, minor.minor) == (version.major, version.minor))
        .copied()
}
