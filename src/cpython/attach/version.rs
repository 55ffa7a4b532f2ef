//! Finds the CPython version of a process.

use std::fmt;

use python_offsets::{PythonVersion, peek_debug_offsets};

use super::candidate::Candidate;
use super::scan;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::work_budget::WorkBudget;

/// How a version was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionSource {
    /// The constant `Py_Version` (3.11+).
    PyVersion,
    /// The table at the start of `_PyRuntime` (3.13+).
    DebugOffsets,
    /// The text behind `sys.version`, in the interpreter's data.
    Text,
}

impl fmt::Display for VersionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VersionSource::PyVersion => "Py_Version",
            VersionSource::DebugOffsets => "its debug offsets",
            VersionSource::Text => "the text of sys.version",
        })
    }
}

/// Finds the version; `None` if it is not in memory (yet).
pub(crate) fn find(
    memory: &impl RemoteMemory,
    candidate: &Candidate<'_>,
    budget: &WorkBudget,
) -> Option<(PythonVersion, VersionSource)> {
    if let Some(addr) = candidate.py_version()
        && let Some(version) = read_hex(memory, addr)
    {
        return Some((version, VersionSource::PyVersion));
    }
    if let Some(runtime) = candidate.runtime() {
        let mut head = [0; 16];
        if memory.read(runtime, &mut head).is_ok()
            && let Some(version) = peek_debug_offsets(&head)
        {
            return Some((version, VersionSource::DebugOffsets));
        }
    }
    from_text(memory, candidate, budget).map(|version| (version, VersionSource::Text))
}

fn read_hex(memory: &impl RemoteMemory, addr: RemoteAddr) -> Option<PythonVersion> {
    let mut hex = [0; 4];
    memory.read(addr, &mut hex).ok()?;
    PythonVersion::from_hex(u32::from_le_bytes(hex))
}

/// Searches the image's data for the static buffer of `Py_GetVersion`. If the file name has a
/// version, only that minor version is accepted: an extension may contain texts of other
/// interpreters.
fn from_text(
    memory: &impl RemoteMemory,
    candidate: &Candidate<'_>,
    budget: &WorkBudget,
) -> Option<PythonVersion> {
    // Py_GetVersion writes at most 250 bytes.
    const OVERLAP: usize = 256;
    let expected = version_in_name(&candidate.image.file_name());
    let ranges = candidate.writable_memory();
    scan::search_pieces(memory, ranges, OVERLAP, budget, |_, piece| {
        version_text(piece, expected)
    })
}

/// The first text in `bytes` with the form of `sys.version`: `3.8.18 (default, …) \n[GCC …]`.
fn version_text(bytes: &[u8], expected: Option<(u8, u8)>) -> Option<PythonVersion> {
    bytes.windows(2).enumerate().find_map(|(at, pair)| {
        if pair != b"2." && pair != b"3." {
            return None;
        }
        let text = bytes.get(at..)?;
        let text = text.get(
            ..text
                .iter()
                .take(250)
                .position(|byte| *byte == 0)
                .unwrap_or(250),
        )?;
        let text = std::str::from_utf8(text).ok()?;
        let (number, rest) = text.split_once(" (")?;
        let (_, compiler) = rest.split_once(')')?;
        if !compiler.trim_start().starts_with('[') {
            return None;
        }
        let version = PythonVersion::parse(number)?;
        let minor = (version.major, version.minor);
        expected
            .is_none_or(|expected| expected == minor)
            .then_some(version)
    })
}

/// The minor version in the name of a library or program: `libpython3.8.so.1.0`, `python2.7`.
fn version_in_name(name: &str) -> Option<(u8, u8)> {
    let (_, rest) = name.split_once("python")?;
    let (major, rest) = rest.split_once('.')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_libraries_and_programs() {
        assert_eq!(version_in_name("libpython3.8.so.1.0"), Some((3, 8)));
        assert_eq!(version_in_name("libpython3.6m.so.1.0"), Some((3, 6)));
        assert_eq!(version_in_name("python2.7"), Some((2, 7)));
        assert_eq!(version_in_name("python3"), None);
        assert_eq!(version_in_name("libpython3.so"), None);
        assert_eq!(version_in_name("uwsgi"), None);
    }

    #[test]
    fn the_text_of_sys_version_among_other_bytes() {
        let data = b"\0\xff3.9.1 (x)\x003.8.18 (default, Jan  1 2024, 00:00:00) \n[GCC 12.2.0]\0\0";
        assert_eq!(version_text(data, None), Some(PythonVersion::new(3, 8, 18)));
        assert_eq!(version_text(data, Some((3, 9))), None);
        assert_eq!(version_text(b"3.", None), None);
    }
}
