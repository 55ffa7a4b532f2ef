//! [`OffsetsError`]: why a CPython build could not be described.

use std::fmt;

use crate::PythonVersion;

/// Why a CPython build could not be described.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetsError {
    /// No table knows this version; a newer one is never guessed.
    UnsupportedVersion(PythonVersion),
    /// The version describes itself (3.13+) and the bytes of its `_Py_DebugOffsets` were not given.
    MissingDebugOffsets,
    /// The bytes end before the version's last field.
    Truncated {
        /// Bytes that were given.
        len: usize,
        /// Bytes that the version's table takes.
        need: usize,
    },
    /// The bytes do not start with the cookie `xdebugpy`.
    BadCookie,
    /// The bytes are the table of another version than the caller found.
    VersionMismatch {
        /// The version that the caller found.
        expected: PythonVersion,
        /// The version in the bytes (`PY_VERSION_HEX`).
        found: u64,
    },
    /// A value lies outside its structure, is not aligned, or a structure's size is absurd.
    OutOfBounds {
        /// The field, as `group.name`.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Two fields of a structure share bytes.
    Overlapping {
        /// One field, as `group.name`.
        field: &'static str,
        /// The other.
        other: &'static str,
    },
}

impl fmt::Display for OffsetsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedVersion(version) => {
                write!(f, "CPython {version} is not supported")
            }
            Self::MissingDebugOffsets => write!(f, "the debug offsets table was not found"),
            Self::Truncated { len, need } => {
                write!(
                    f,
                    "the debug offsets table has {len} bytes instead of {need}"
                )
            }
            Self::BadCookie => write!(f, "the debug offsets table has no cookie"),
            Self::VersionMismatch { expected, found } => write!(
                f,
                "the debug offsets table is of version {found:#x}, not of CPython {expected}"
            ),
            Self::OutOfBounds { field, value } => {
                write!(
                    f,
                    "the debug offsets table has an impossible {field}: {value}"
                )
            }
            Self::Overlapping { field, other } => {
                write!(f, "the debug offsets table puts {field} onto {other}")
            }
        }
    }
}

impl std::error::Error for OffsetsError {}
