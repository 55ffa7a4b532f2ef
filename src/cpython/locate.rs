//! Finding the interpreter in a process: which image holds it, where its state starts, which version
//! it is. Done once.

use std::fmt;

use log::{debug, info};
use python_offsets::semantics::{GilHolder, StrFormat};
use python_offsets::{Description, OffsetsError, PythonVersion};

use super::interpreter::interpreters;
use super::python::describe_build;
use super::scan;
use super::version::{self, VersionSource};
use super::{AttachError, Python, Roots};
use crate::target::{
    ElfError, ElfFile, Image, LiveMemory, Mapping, Pid, RemoteAddr, TargetProcess, images,
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

/// Looks like CPython to us: an image with one of these symbols.
const MARKS: [&str; 3] = ["_PyRuntime", "_PyThreadState_Current", "Py_GetVersion"];

/// An image that holds an interpreter.
pub(super) struct Candidate<'a> {
    /// The image.
    pub image: &'a Image,
    elf: ElfFile<'a>,
    bias: u64,
    /// `_PyRuntime` (3.7+), and how it was found.
    runtime: Option<(RemoteAddr, RootsSource)>,
    /// `_PyThreadState_Current` (to 3.6).
    tstate_current: Option<RemoteAddr>,
}

impl<'a> Candidate<'a> {
    /// Looks into an image; `None` when it holds no interpreter.
    fn open(target: &'a TargetProcess, image: &'a Image) -> Result<Option<Self>, ElfError> {
        let Some(base) = image.base() else {
            return Ok(None);
        };
        let elf = match target.open_mapped(base) {
            Ok(file) => ElfFile::open(file)?,
            // The file cannot be had any more: what the loader needs is in memory.
            Err(error) => {
                debug!("{}: {error}; reading it from memory", image.path.display());
                ElfFile::from_memory(target.memory(), RemoteAddr(base.start))?
            }
        };
        let Some(bias) = elf.load_bias(base) else {
            return Ok(None);
        };
        let mut found = elf.exported_symbols(&MARKS)?;
        if found.iter().all(Option::is_none) {
            found = elf.symbols(&MARKS)?;
        }
        let mut addrs = found
            .into_iter()
            .map(|vaddr| Some(RemoteAddr(vaddr?.wrapping_add(bias))));
        let mut next = || addrs.next().flatten();
        let (runtime, tstate_current, get_version) = (next(), next(), next());
        let section = || {
            Some(RemoteAddr(
                elf.section(".PyRuntime")?.vaddr.wrapping_add(bias),
            ))
        };
        let runtime = runtime
            .map(|addr| (addr, RootsSource::Symbol("_PyRuntime")))
            .or_else(|| section().map(|addr| (addr, RootsSource::Section)));
        if runtime.is_none()
            && tstate_current.or(get_version).is_none()
            && !image.file_name().starts_with("libpython")
        {
            return Ok(None);
        }
        Ok(Some(Candidate {
            image,
            elf,
            bias,
            runtime,
            tstate_current,
        }))
    }

    /// A symbol's address in the process; the full table is only looked at when `everywhere`.
    fn symbol(&self, name: &str, everywhere: bool) -> Option<RemoteAddr> {
        let search = if everywhere {
            ElfFile::symbols
        } else {
            ElfFile::exported_symbols
        };
        let vaddr = search(&self.elf, &[name]).ok()?.into_iter().next()??;
        Some(RemoteAddr(vaddr.wrapping_add(self.bias)))
    }

    /// Where `_PyRuntime` is (3.7+).
    pub fn runtime(&self) -> Option<RemoteAddr> {
        self.runtime.map(|(addr, _)| addr)
    }

    /// Where `Py_Version` is (3.11+).
    pub fn py_version(&self) -> Option<RemoteAddr> {
        self.runtime?;
        self.symbol("Py_Version", false)
    }

    /// The image's writable data in the process, as start and size.
    pub fn writable_memory(&self) -> impl Iterator<Item = (RemoteAddr, u64)> {
        let ranges = self.elf.writable_ranges().into_iter();
        ranges.map(|range| (RemoteAddr(range.vaddr.wrapping_add(self.bias)), range.size))
    }
}

/// Finds the interpreter of a process.
///
/// # Errors
/// See [`AttachError`].
pub fn find(target: &TargetProcess) -> Result<Found, AttachError> {
    let pid = target.pid();
    let mappings = target
        .maps()
        .map_err(|cause| AttachError::Io { pid, cause })?;
    let mut images = images(&mappings);
    let exe = target.exe_path();
    // What is called Python comes first, then the program itself, then everything else: an embedder
    // may have any name, and may even link the interpreter into a plugin.
    images.sort_by_key(|image| {
        let name = image.file_name();
        (
            !name.starts_with("libpython"),
            !name.contains("python"),
            image.path != exe,
        )
    });
    let mut unreadable = None;
    for image in &images {
        match Candidate::open(target, image) {
            Ok(Some(candidate)) => {
                return identify(target.memory(), pid, &candidate, &mappings);
            }
            Ok(None) => {}
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
    let is_python = exe
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"python"));
    if is_python {
        // Its dynamic loader has not got so far as to map the library.
        return Err(AttachError::StillStarting(pid));
    }
    let what = match exe.as_os_str().is_empty() {
        true => "a kernel thread".into(),
        false => exe.display().to_string(),
    };
    Err(AttachError::NotPython { pid, what })
}

/// Version, layout and roots of the interpreter that an image holds.
fn identify(
    memory: &LiveMemory,
    pid: Pid,
    candidate: &Candidate<'_>,
    mappings: &[Mapping],
) -> Result<Found, AttachError> {
    let image = candidate.image.path.display().to_string();
    debug!(
        "{image} holds an interpreter, loaded at bias {:#x}",
        candidate.bias
    );
    // The text is written when `sys` is made.
    let (version, version_source) =
        version::find(memory, candidate).ok_or(AttachError::StillStarting(pid))?;
    info!("process {pid} runs CPython {version} ({image}), by {version_source}");
    let description = describe_version(memory, pid, candidate, version)?;
    let roots = Roots {
        interpreters_head: RemoteAddr::NULL,
        runtime: candidate.runtime(),
        tstate_current: candidate.tstate_current,
        unicode_unit: match description.semantics.str_format {
            StrFormat::Python2 => python2_unicode_unit(candidate),
            StrFormat::Pep393 { .. } => 4,
        },
    };
    let python = Python {
        version,
        layout: description.layout,
        semantics: description.semantics,
        layout_source: description.source,
        roots,
    };
    let (roots, roots_source) =
        find_roots(memory, &python, candidate, mappings).ok_or_else(|| {
            // A scan finds nothing until the first interpreter is made.
            debug!("no interpreter in the data of {image}");
            AttachError::StillStarting(pid)
        })?;
    info!(
        "process {pid}: its interpreters start at {}, by {roots_source}",
        roots.interpreters_head
    );
    let found = Found {
        python: Python { roots, ..python },
        version_source,
        roots_source,
        image,
    };
    if is_running(memory, &found.python) {
        Ok(found)
    } else {
        Err(AttachError::StillStarting(pid))
    }
}

fn describe_version(
    memory: &LiveMemory,
    pid: Pid,
    candidate: &Candidate<'_>,
    version: PythonVersion,
) -> Result<Description, AttachError> {
    describe_build(memory, version, candidate.runtime()).map_err(|cause| match cause {
        OffsetsError::UnsupportedVersion(version) => {
            AttachError::UnsupportedPython { pid, version }
        }
        cause => AttachError::BadOffsets {
            pid,
            version,
            cause,
        },
    })
}

/// Where the list of interpreters starts.
fn find_roots(
    memory: &LiveMemory,
    python: &Python,
    candidate: &Candidate<'_>,
    mappings: &[Mapping],
) -> Option<(Roots, RootsSource)> {
    let known = python.roots;
    let runtime_state = &python.layout.runtime_state;
    if let (Some((runtime, by)), Some(field)) = (candidate.runtime, runtime_state.interpreters_head)
    {
        return Some((
            from_runtime(python, runtime, runtime.offset(field.into())),
            by,
        ));
    }
    if python.semantics.gil_holder == GilHolder::Symbol
        && let Some(head) = candidate.symbol("interp_head", true)
    {
        return Some((
            Roots {
                interpreters_head: head,
                ..known
            },
            RootsSource::Symbol("interp_head"),
        ));
    }
    let head = scan::interpreters_head(memory, python, candidate.writable_memory(), mappings)?;
    let roots = match runtime_state.interpreters_head {
        Some(field) => {
            let runtime = head.offset_signed(-i64::from(field));
            from_runtime(python, runtime, head)
        }
        None => Roots {
            interpreters_head: head,
            ..known
        },
    };
    Some((roots, RootsSource::Scan))
}

fn from_runtime(python: &Python, runtime: RemoteAddr, interpreters_head: RemoteAddr) -> Roots {
    let tstate_current = match python.semantics.gil_holder {
        GilHolder::Runtime => python
            .layout
            .runtime_state
            .tstate_current
            .map(|at| runtime.offset(at.into())),
        GilHolder::Symbol | GilHolder::Interpreter => None,
    };
    Roots {
        interpreters_head,
        runtime: Some(runtime),
        tstate_current,
        ..python.roots
    }
}

/// A narrow build of Python 2 exports its `unicode` functions with `UCS2` in their names.
fn python2_unicode_unit(candidate: &Candidate<'_>) -> u8 {
    match candidate.symbol("PyUnicodeUCS2_AsUTF8String", false) {
        Some(_) => 2,
        None => 4,
    }
}

/// Whether some interpreter has a thread: until then there is nothing to see.
fn is_running(memory: &LiveMemory, python: &Python) -> bool {
    interpreters(memory, python).is_ok_and(|list| {
        list.iter()
            .any(|interpreter| !interpreter.threads_head.is_null())
    })
}
