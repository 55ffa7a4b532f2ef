//! Finding the interpreter in a process: which image holds it, where its state starts, which version
//! it is. Done once.

use std::fmt;
use std::path::Path;

use log::{debug, info};
use python_offsets::semantics::{GilHolder, StrFormat};
use python_offsets::{Description, Layout, OffsetsError, PythonVersion};

use super::candidate::{Candidate, is_marked};
use super::error::AttachError;
use super::scan;
use super::version::{self, VersionSource};
use crate::cpython::runtime::{Runtime, RuntimeAddresses, describe_build};
use crate::cpython::threads::interpreter::interpreters;
use crate::os::Pid;
use crate::os::elf::{ElfError, ElfFile};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::process::TargetProcess;
use crate::os::process::image::ProcessImage;
use crate::os::procfs::maps::{Mapping, images};

/// An interpreter, and how it was found.
#[derive(Clone, Debug)]
pub struct LocatedRuntime {
    /// The interpreter.
    pub python: Runtime,
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
    /// The cookie that starts `_PyRuntime` (3.13+), in the data.
    Cookie,
    /// A pointer in the data that holds up as an interpreter.
    Scan,
}

impl fmt::Display for RootsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootsSource::Symbol(name) => write!(f, "the symbol {name}"),
            RootsSource::Section => f.write_str("the section .PyRuntime"),
            RootsSource::Cookie => f.write_str("the cookie of its debug offsets"),
            RootsSource::Scan => f.write_str("a scan of its data"),
        }
    }
}

/// Finds the interpreter of a process, live or of a core file.
///
/// # Errors
/// See [`AttachError`].
pub fn find(target: &impl ProcessImage) -> Result<LocatedRuntime, AttachError> {
    let pid = target.pid();
    let mappings = target
        .maps()
        .map_err(|cause| AttachError::Io { pid, cause })?;
    let mut images = images(&mappings);
    let exe = target.exe_path();
    // The library comes first, then the program itself, then everything else: an embedder may have
    // any name, and may even link the interpreter into a plugin.
    images.sort_by_key(|image| {
        let name = image.file_name();
        (
            !name.starts_with("libpython"),
            image.path != exe,
            !name.contains("python"),
        )
    });
    let memory = target.memory();
    let mut failure = None;
    let mut unmarked = Vec::new();
    for image in &images {
        match Candidate::open(target, image) {
            Ok(Some(candidate)) if candidate.is_marked => {
                match identify(memory, pid, candidate, &mappings) {
                    // A library that some extension is linked with can be mapped beside the program
                    // that holds the interpreter, and is never started.
                    Err(error @ AttachError::StillStarting(_)) => {
                        debug!("{}: {error}", image.path.display());
                        failure.get_or_insert(error);
                    }
                    result => return result,
                }
            }
            Ok(Some(candidate)) if image.path == exe => unmarked.push(candidate),
            Ok(_) => {}
            Err(error) => {
                debug!("{}: {error}", image.path.display());
                if image.file_name().contains("python") {
                    let what = format!("{}: {error}", image.path.display());
                    failure.get_or_insert(AttachError::NotFound { pid, what });
                }
            }
        }
    }
    // A program that was stripped of all names still has an interpreter's data.
    for candidate in unmarked {
        match identify(memory, pid, candidate, &mappings) {
            Err(AttachError::StillStarting(_)) => {}
            result => return result,
        }
    }
    Err(failure.unwrap_or_else(|| nothing_found(target, &exe)))
}

/// Whether the program that a process runs says itself that it holds an interpreter. Much quicker than
/// to look for one in all that the process has mapped.
pub fn program_holds_interpreter(target: &TargetProcess) -> bool {
    let program = target.open_exe().map_err(ElfError::from);
    program
        .and_then(ElfFile::open)
        .is_ok_and(|elf| is_marked(&elf))
}

/// What to say of a process without an interpreter.
fn nothing_found(target: &impl ProcessImage, exe: &Path) -> AttachError {
    let pid = target.pid();
    if exe.as_os_str().is_empty() {
        return AttachError::NoSuchProcess(pid);
    }
    let what = exe.display().to_string();
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("python") {
        // Something else of that name, or its loader has not got so far as to map the library.
        AttachError::NotFound { pid, what }
    } else {
        AttachError::NotPython { pid, what }
    }
}

/// Version, layout and roots of the interpreter that an image holds.
fn identify(
    memory: &impl RemoteMemory,
    pid: Pid,
    mut candidate: Candidate<'_>,
    mappings: &[Mapping],
) -> Result<LocatedRuntime, AttachError> {
    let image = candidate.image.path.display().to_string();
    debug!(
        "looking for an interpreter in {image}, loaded at bias {:#x}",
        candidate.bias
    );
    candidate.search_runtime(memory);
    let candidate = &candidate;
    // The text is written when `sys` is made.
    let (version, version_source) =
        version::find(memory, candidate).ok_or(AttachError::StillStarting(pid))?;
    info!("process {pid} runs CPython {version} ({image}), by {version_source}");
    let mut description = describe_version(memory, pid, candidate, version)?;
    if has_trace_refs(memory, candidate, &description) {
        info!("process {pid}: its CPython was built with Py_TRACE_REFS");
        description = description.with_trace_refs();
    }
    let roots = RuntimeAddresses {
        interpreters_head: RemoteAddr::NULL,
        runtime: candidate.runtime(),
        tstate_current: candidate.tstate_current,
        next_func_version: next_func_version(candidate, &description.layout),
        unicode_unit: match description.semantics.str_format {
            StrFormat::Python2 => python2_unicode_unit(candidate),
            StrFormat::Pep393 { .. } => 4,
        },
    };
    let python = Runtime {
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
    let found = LocatedRuntime {
        python: Runtime { roots, ..python },
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
    memory: &impl RemoteMemory,
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

/// Whether the build has two pointers more in front of every object. The type of types is its own type,
/// and so tells where objects have theirs.
fn has_trace_refs(
    memory: &impl RemoteMemory,
    candidate: &Candidate<'_>,
    description: &Description,
) -> bool {
    let Some(ob_type) = description.trace_refs_ob_type() else {
        return false;
    };
    let Some(type_type) = candidate.symbol("PyType_Type", true) else {
        return false;
    };
    let mut word = [0; 8];
    memory
        .read(type_type.offset(ob_type.into()), &mut word)
        .is_ok()
        && RemoteAddr(u64::from_le_bytes(word)) == type_type
}

/// Where the list of interpreters starts.
fn find_roots(
    memory: &impl RemoteMemory,
    python: &Runtime,
    candidate: &Candidate<'_>,
    mappings: &[Mapping],
) -> Option<(RuntimeAddresses, RootsSource)> {
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
            RuntimeAddresses {
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
        None => RuntimeAddresses {
            interpreters_head: head,
            ..known
        },
    };
    Some((roots, RootsSource::Scan))
}

fn from_runtime(
    python: &Runtime,
    runtime: RemoteAddr,
    interpreters_head: RemoteAddr,
) -> RuntimeAddresses {
    let tstate_current = match python.semantics.gil_holder {
        GilHolder::Runtime => python
            .layout
            .runtime_state
            .tstate_current
            .map(|at| runtime.offset(at.into())),
        GilHolder::Symbol | GilHolder::Interpreter => None,
    };
    RuntimeAddresses {
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

/// The counter of code objects where it is a variable, which no library exports: only a file that
/// was not stripped names it.
fn next_func_version(candidate: &Candidate<'_>, layout: &Layout) -> Option<RemoteAddr> {
    layout.code_object.co_version?;
    if layout.interpreter_state.next_func_version.is_some() {
        return None;
    }
    candidate.symbol("_Py_next_func_version", true)
}

/// Whether some interpreter has a thread: until then there is nothing to see.
fn is_running(memory: &impl RemoteMemory, python: &Runtime) -> bool {
    interpreters(memory, python).is_ok_and(|list| {
        list.iter()
            .any(|interpreter| !interpreter.threads_head.is_null())
    })
}
