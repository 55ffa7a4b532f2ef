//! [`describe`]: layout and semantics of a version, with the target's own table if it has one.

use std::fmt;

use crate::debug_offsets;
use crate::error::OffsetsError;
use crate::layout::Layout;
use crate::minor::{Minor, Source};
use crate::registry::REGISTRY;
use crate::semantics::Semantics;
use crate::version::{PythonVersion, ReleaseLevel};

/// The offset and the meaning of each field in one CPython build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The offsets.
    pub layout: Layout,
    /// Their meaning.
    pub semantics: Semantics,
    /// The origin of the layout.
    pub source: LayoutSource,
}

/// The origin of a layout.
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
/// [`OffsetsError::UnsupportedVersion`] when there is no table of the version, and the other variants
/// when the debug offsets are missing or invalid.
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

/// Whether [`describe`] needs the target's own table for this version.
#[must_use]
pub fn needs_debug_offsets(version: PythonVersion) -> bool {
    find(version).is_some_and(|minor| matches!(minor.source, Source::DebugOffsets(_)))
}

/// Whether this version has a table. Alphas and betas are refused: their structures still change.
#[must_use]
pub fn is_supported(version: PythonVersion) -> bool {
    find(version).is_some()
}

/// The major and minor numbers of the versions that are supported, oldest first.
pub fn supported() -> impl DoubleEndedIterator<Item = (u8, u8)> + ExactSizeIterator {
    REGISTRY.iter().map(|minor| (minor.major, minor.minor))
}

/// The same for messages, as in `2.7, 3.3 to 3.15`.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.

    use super::{describe, is_supported, needs_debug_offsets, supported, supported_versions};
    use crate::error::OffsetsError;
    use crate::minor::Source;
    use crate::registry::REGISTRY;
    use crate::version::PythonVersion;

    fn parse(text: &str) -> PythonVersion {
        PythonVersion::parse(text).unwrap()
    }

    #[test]
    fn every_minor_has_a_layout_or_needs_the_offsets() {
        for minor in REGISTRY {
            let version = PythonVersion::new(minor.major, minor.minor, 0);
            assert!(is_supported(version), "{version}");
            match describe(version, None) {
                Ok(_) => assert!(!needs_debug_offsets(version), "{version}"),
                Err(error) => {
                    assert_eq!(error, OffsetsError::MissingDebugOffsets);
                    assert!(needs_debug_offsets(version), "{version}");
                }
            }
        }
        let (_, newest) = supported().next_back().unwrap();
        assert_eq!(supported_versions(), format!("2.7, 3.3 to 3.{newest}"));
    }

    #[test]
    fn versions_without_a_table_are_refused() {
        let (_, newest) = supported().next_back().unwrap();
        let next = format!("3.{}.0", newest + 1);
        for text in [
            "2.6.9", "3.2.6", &next, "4.0.0", "3.14.0a7", "3.15.0b4", "3.12.0b1",
        ] {
            let version = parse(text);
            assert!(!is_supported(version), "{text}");
            assert_eq!(
                describe(version, Some(&[0; 4096])),
                Err(OffsetsError::UnsupportedVersion(version))
            );
        }
        assert!(is_supported(parse("3.14.0rc1")));
    }

    #[test]
    fn patch_ranges_start_at_zero_and_ascend() {
        for minor in REGISTRY {
            if let Source::Table(ranges) = &minor.source {
                let starts: Vec<_> = ranges.iter().map(|range| range.0).collect();
                assert_eq!(starts.first(), Some(&0), "{}.{}", minor.major, minor.minor);
                assert!(starts.is_sorted(), "{}.{}", minor.major, minor.minor);
            }
        }
    }

    /// Regression: the GIL's holder and the GC state moved in 3.7.4.
    #[test]
    fn offsets_that_changed_within_3_7_depend_on_the_patch_release() {
        let moved = |text| {
            let layout = describe(parse(text), None).unwrap().layout;
            (layout.runtime_state.tstate_current, layout.gc.collecting)
        };
        for (text, expected) in [
            ("3.7.0", (Some(1392), Some(232))),
            ("3.7.3", (Some(1392), Some(232))),
            ("3.7.4rc1", (Some(1480), Some(312))),
            ("3.7.4", (Some(1480), Some(312))),
            ("3.7.17", (Some(1480), Some(312))),
        ] {
            assert_eq!(moved(text), expected, "{text}");
        }
    }
}
