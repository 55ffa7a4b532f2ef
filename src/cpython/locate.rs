//! Finding the interpreter in a process: which image holds it, where its state starts, which version
//! it is. Done once.

use std::fmt;

use log::{debug, info};
use python_offsets::semantics::{GilHolder, StrFormat};
use python_offsets::{
    DEBUG_OFFSETS_LEN, Description, OffsetsError, PythonVersion, describe, needs_debug_offsets,
    peek_debug_offsets,
};

use super::interpreter::{interpreters, threads};
use super::record::read_ptr;
use super::scan;
use super::version::{self, VersionSource};
use super::{AttachError, Python, Roots};
use crate::target::{
    ElfFile, Image, LiveMemory, Pid, RemoteAddr, RemoteMemory, TargetProcess, images,
};

/// An interpreter, and how it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The interpreter.
    pub python: Python,
    /// How its version was found out.
    pub version_source: VersionSource,
    /// How its state was found.
    pub roots_source: RootsSource,
    /// The file that holds it, as the target names it.
    pub image: String,
}

/// How an interpreter's state was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootsSource {
    /// A symbol of the executable or library.
    Symbol(&'static str),
    /// The section `.PyRuntime`.
    Section,
    /// A pointer in the data that holds up as an interpreter.
    Scan,
}

impl fmt::Display for RootsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootsSource::Symbol(name) => write!(f, "the symbol {name}"),
            RootsSource::Section => f.write_str("the section .PyRuntime"),
            RootsSource::Scan => f.write_str("a scan of its data"),
        }
    }
}

/// The symbols that lead to an interpreter, in the order of [`Symbols`]' fields.
const SYMBOLS: [&str; 6] = [
    "_PyRuntime",
    "Py_Version",
    "interp_head",
    "_PyThreadState_Current",
    "Py_GetVersion",
    "PyUnicodeUCS2_AsUTF8String",
];

/// One image that may hold an interpreter, with the addresses of its symbols in the process.
pub(super) struct Candidate<'a> {
    pub image: &'a Image,
    pub elf: ElfFile,
    pub bias: u64,
    pub symbols: Symbols,
}

#[derive(Default)]
pub(super) struct Symbols {
    pub runtime: Option<RemoteAddr>,
    pub py_version: Option<RemoteAddr>,
    pub interp_head: Option<RemoteAddr>,
    pub tstate_current: Option<RemoteAddr>,
    pub get_version: Option<RemoteAddr>,
    pub ucs2: Option<RemoteAddr>,
}

/// Finds the interpreter of a process.
///
/// # Errors
/// See [`AttachError`].
pub fn find(target: &TargetProcess) -> Result<Found, AttachError> {
    let pid = target.pid();
    let mappings = target.maps().map_err(|cause| AttachError::Io { pid, cause })?;
    let mut images = images(&mappings);
    let exe = target.exe_path();
    // What is called Python comes first, then the program itself, then everything else: an embedder
    // may have any name, and may even link the interpreter into a plugin.
    images.sort_by_key(|image| {
        let name = image.file_name();
        (!name.starts_with("libpython"), !name.contains("python"), Some(&image.path) != exe.as_ref())
    });
    let mut unreadable = None;
    for image in &images {
        match Candidate::open(target, image) {
            Ok(candidate) if candidate.looks_like_python() => {
                return Finder { pid, memory: target.memory(), candidate }.find();
            }
            Ok(_) => {}
            Err(error) => {
                debug!("{}: {error}", image.path.display());
                if image.file_name().contains("python") {
                    unreadable = Some(format!("{}: {error}", image.path.display()));
                }
            }
        }
    }
    if let Some(what) = unreadable {
        return Err(AttachError::NotFound { pid, what });
    }
    // A process whose dynamic loader has not got so far has no library to show yet.
    let what = exe.map_or_else(|| "a kernel thread".into(), |exe| exe.display().to_string());
    Err(AttachError::NotPython { pid, what })
}
