//! [`OffsetsError`]: why a CPython build could not be described.

use std::fmt;

use crate::PythonVersion;

/// Why a CPython build could not be described.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetsError {
    /// There is no table of this version; newer versions are never guessed.
    UnsupportedVersion(PythonVersion),
    /// The version needs the bytes of the target's `_Py_DebugOffsets` (3.13+), which were not given.
    MissingDebugOffsets,
    /// The bytes end before the version's last field.
    Truncated {
        /// The number of bytes given.
        len: usize,
        /// The length of the version's table.
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
    /// A value is outside its structure or not aligned, or a structure is too large.
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
