//! [`PythonVersion`]: from `Py_Version`, a debug-offsets table or a version string.

use std::fmt;

/// The release level. Ordered: an alpha is less than its final release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseLevel {
    /// `a`, 0xA in `PY_VERSION_HEX`.
    Alpha,
    /// `b`, 0xB.
    Beta,
    /// `rc`, 0xC.
    Candidate,
    /// A release, 0xF.
    Final,
}

/// A CPython version. Ordered as releases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    /// `3` in 3.12.1.
    pub major: u8,
    /// `12` in 3.12.1.
    pub minor: u8,
    /// `1` in 3.12.1.
    pub patch: u8,
    /// Alpha, beta, candidate or final.
    pub level: ReleaseLevel,
    /// `2` in 3.14.0rc2; 0 in a final release.
    pub serial: u8,
}

impl PythonVersion {
    /// A final release.
    #[must_use]
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self {
            major,
            minor,
            patch,
            level: ReleaseLevel::Final,
            serial: 0,
        }
    }

    /// Decodes `PY_VERSION_HEX` (`Include/patchlevel.h`), also the value of `Py_Version` (3.11+): a byte
    /// each for major, minor and patch, four bits each for level and serial. `None` if the level is
    /// invalid.
    #[must_use]
    pub const fn from_hex(hex: u32) -> Option<Self> {
        let [major, minor, patch, rest] = hex.to_be_bytes();
        let level = match rest >> 4 {
            0xA => ReleaseLevel::Alpha,
            0xB => ReleaseLevel::Beta,
            0xC => ReleaseLevel::Candidate,
            0xF => ReleaseLevel::Final,
            _ => return None,
        };
        Some(Self {
            major,
            minor,
            patch,
            level,
            serial: rest & 0xF,
        })
    }

    /// Parses the version at the start of `text`: `3.12.1`, `3.14.0rc2`, `2.7.18+`, or the whole of
    /// `sys.version`. `None` if there is none; major and minor are required, a missing patch is 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = number(text)?;
        let (minor, mut rest) = number(rest.strip_prefix('.')?)?;
        let mut patch = 0;
        if let Some((value, after)) = rest.strip_prefix('.').and_then(number) {
            (patch, rest) = (value, after);
        }
        let levels = [
            ("a", ReleaseLevel::Alpha),
            ("b", ReleaseLevel::Beta),
            ("rc", ReleaseLevel::Candidate),
            ("c", ReleaseLevel::Candidate),
        ];
        let mut version = Self::new(major, minor, patch);
        for (prefix, level) in levels {
            if let Some((serial, after)) = rest.strip_prefix(prefix).and_then(number) {
                (version.level, version.serial, rest) = (level, serial, after);
                break;
            }
        }
        // "3.12.1x" and "3.12.1.4" are not versions but, for example, file names.
        let ends = rest
            .chars()
            .next()
            .is_none_or(|next| next == '+' || next.is_whitespace());
        ends.then_some(version)
    }
}

/// Splits off the decimal number at the start of `text`, of at most three digits.
fn number(text: &str) -> Option<(u8, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.len() > 3 {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        match self.level {
            ReleaseLevel::Alpha => write!(f, "a{}", self.serial),
            ReleaseLevel::Beta => write!(f, "b{}", self.serial),
            ReleaseLevel::Candidate => write!(f, "rc{}", self.serial),
            ReleaseLevel::Final => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.

    use super::{PythonVersion, ReleaseLevel};

    #[test]
    fn versions_are_parsed_and_printed() {
        for (text, printed) in [
            ("3.12.1", "3.12.1"),
            ("3.14.0rc2", "3.14.0rc2"),
            ("2.7.18+", "2.7.18"),
            ("3.15.0a2+ (heads/main:abc, Nov  1 2025)", "3.15.0a2"),
            ("3.11.7 (main, Sep  5 2023) [GCC 12.2.0]", "3.11.7"),
            ("3.13.0b1 experimental free-threading build", "3.13.0b1"),
            ("2.7", "2.7.0"),
        ] {
            let version = PythonVersion::parse(text).unwrap();
            assert_eq!(version.to_string(), printed, "{text:?}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "3",
            "3.",
            "x3.12",
            "3.x",
            "3.1234.0",
            "3.300",
            "3.12.1.so",
            "3.12-",
            "3.12.1z",
            "-3.12",
            "٣.١٢",
        ] {
            assert_eq!(PythonVersion::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn hex_versions_are_decoded() {
        let version = PythonVersion::from_hex(0x030F_00A2).unwrap();
        assert_eq!(version.to_string(), "3.15.0a2");
        assert_eq!(version.level, ReleaseLevel::Alpha);
        assert_eq!(
            PythonVersion::from_hex(0x0207_12F0),
            Some(PythonVersion::new(2, 7, 18))
        );
        assert_eq!(PythonVersion::from_hex(0x0312_0100), None);
    }

    #[test]
    fn releases_are_ordered() {
        let texts = [
            "2.7.18",
            "3.9.18",
            "3.14.0a1",
            "3.14.0b3",
            "3.14.0rc1",
            "3.14.0",
            "3.14.1",
        ];
        let versions: Vec<_> = texts.map(|t| PythonVersion::parse(t).unwrap()).into();
        assert!(versions.is_sorted());
    }
}
