//! Finds the interpreter in a process: its image, its version and the address of its state. Runs
//! once per attach.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use log::{debug, info};
use python_offsets::semantics::{GilHolder, StrFormat};
use python_offsets::{Description, Layout, OffsetsError, PythonVersion};

use super::candidate::{Candidate, RootsSource, SymbolTables, is_marked};
use super::error::AttachError;
use super::scan;
use super::version::{self, VersionSource};
use crate::cpython::runtime::{Runtime, RuntimeAddresses, describe_build};
use crate::cpython::threads::interpreter::interpreters;
use crate::os::Pid;
use crate::os::elf::ElfFile;
use crate::os::elf::error::ElfError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::process::TargetProcess;
use crate::os::process::image::ProcessImage;
use crate::os::procfs::maps::{Image, Mapping, images};
use crate::os::work_budget::{GaveUp, WorkBudget};

/// An interpreter, and how it was found.
#[derive(Clone, Debug)]
pub struct LocatedRuntime {
    pub python: Runtime,
    pub version_source: VersionSource,
    pub roots_source: RootsSource,
    /// Path of the file that contains it, in the target's view.
    pub image: String,
}

/// Finds the interpreter of a live process or of a core file.
///
/// # Errors
/// See [`AttachError`]; [`AttachError::GaveUp`] when the budget's time is over.
pub fn find(
    target: &impl ProcessImage,
    budget: &WorkBudget,
) -> Result<LocatedRuntime, AttachError> {
    let pid = target.pid();
    budget.begin("while its mappings were read");
    let found = target
        .maps(budget.deadline())
        .map_err(|cause| AttachError::Io { pid, cause })
        .and_then(|mappings| find_in(target, &mappings, budget));
    match (found, budget.gave_up()) {
        // Whatever is missing may be so because time is over.
        (Err(_), Some(gave_up)) => Err(AttachError::GaveUp { pid, gave_up }),
        (found, _) => found,
    }
}

fn find_in(
    target: &impl ProcessImage,
    mappings: &[Mapping],
    budget: &WorkBudget,
) -> Result<LocatedRuntime, AttachError> {
    let pid = target.pid();
    let mut images = images(mappings);
    let exe = target.exe_path();
    // libpython first, then the executable, then all other images: an embedder may have any name,
    // and may link the interpreter into a plugin.
    images.sort_by_cached_key(|image| {
        let name = image.file_name();
        (
            !name.starts_with("libpython"),
            *image.path != *exe,
            !name.contains("python"),
        )
    });
    let memory = target.memory();
    let mut failure = None;
    let mut unmarked = Vec::new();
    let mut others = OtherFiles::default();
    for image in &images {
        if budget.is_over() {
            break;
        }
        if others.contain(image) {
            continue;
        }
        budget.begin(format!("while {} was examined", image.path.display()));
        match Candidate::open(target, image, budget.deadline()) {
            Ok(Some(candidate)) if candidate.is_marked => {
                match identify(memory, pid, candidate, mappings, budget) {
                    // An extension can be linked with a libpython that is mapped but never started,
                    // while the interpreter that runs is in the executable.
                    Err(error @ AttachError::StillStarting(_)) => {
                        debug!("{}: {error}", image.path.display());
                        failure.get_or_insert(error);
                    }
                    result => return result,
                }
            }
            Ok(Some(candidate)) => {
                others.add(image);
                if *image.path == *exe {
                    unmarked.push(candidate);
                }
            }
            Ok(None) => others.add_failure(image),
            Err(error) => {
                others.add_failure(image);
                debug!("{}: {error}", image.path.display());
                if image.file_name().contains("python") {
                    let what = format!("{}: {error}", image.path.display());
                    failure.get_or_insert(AttachError::NotFound { pid, what });
                }
            }
        }
    }
    // A fully stripped program still has an interpreter's data.
    for candidate in unmarked {
        match identify(memory, pid, candidate, mappings, budget) {
            Err(AttachError::StillStarting(_)) => {}
            result => return result,
        }
    }
    Err(failure.unwrap_or_else(|| nothing_found(target, &exe)))
}

/// Files without an interpreter. One file can be mapped at 60,000 places, each of which is an image.
#[derive(Default)]
struct OtherFiles {
    /// How often each could not be examined.
    failures: HashMap<FileKey, u32>,
}

impl OtherFiles {
    /// How many images of a file are tried that cannot be examined: a mapping of it may be no load of it.
    const MAX_FAILURES: u32 = 4;

    fn add(&mut self, image: &Image) {
        self.failures.insert(key(image), OtherFiles::MAX_FAILURES);
    }

    fn add_failure(&mut self, image: &Image) {
        *self.failures.entry(key(image)).or_default() += 1;
    }

    fn contain(&self, image: &Image) -> bool {
        let failures = self.failures.get(&key(image));
        failures.is_some_and(|failures| *failures >= OtherFiles::MAX_FAILURES)
    }
}

/// A file by device, inode and path: two subvolumes of a btrfs have one device in the list of mappings, and
/// may have equal inodes.
type FileKey = ((u64, u64), u64, Arc<Path>);

fn key(image: &Image) -> FileKey {
    let base = image.base();
    let (dev, inode) = base.map_or(((0, 0), 0), |base| (base.dev, base.inode));
    (dev, inode, Arc::clone(&image.path))
}

/// Whether the executable of a process has the symbols or section of an interpreter. Much faster
/// than a search of all mapped images.
///
/// # Errors
/// When the budget's time is over.
pub fn program_holds_interpreter(
    target: &TargetProcess,
    budget: &WorkBudget,
) -> Result<bool, GaveUp> {
    budget.begin("while its program was examined");
    let program = target.open_exe().map_err(ElfError::from);
    let found = program
        .and_then(|program| ElfFile::open(program, budget.deadline()))
        .and_then(|elf| is_marked(&elf));
    match (found, budget.gave_up()) {
        (Err(_), Some(gave_up)) => Err(gave_up),
        (found, _) => Ok(found.unwrap_or(false)),
    }
}

/// The error for a process without an interpreter.
fn nothing_found(target: &impl ProcessImage, exe: &Path) -> AttachError {
    let pid = target.pid();
    if exe.as_os_str().is_empty() {
        return AttachError::NoSuchProcess(pid);
    }
    let what = exe.display().to_string();
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("python") {
        // Another program of that name, or the loader has not mapped libpython yet.
        AttachError::NotFound { pid, what }
    } else {
        AttachError::NotPython { pid, what }
    }
}

/// Version, layout and roots of the interpreter in an image.
fn identify(
    memory: &impl RemoteMemory,
    pid: Pid,
    mut candidate: Candidate<'_>,
    mappings: &[Mapping],
    budget: &WorkBudget,
) -> Result<LocatedRuntime, AttachError> {
    let image = candidate.image.path.display().to_string();
    debug!(
        "searching {image} for an interpreter, load bias {:#x}",
        candidate.bias
    );
    budget.begin(format!("while the data of {image} was searched"));
    candidate.search_runtime(memory, budget);
    let candidate = &candidate;
    // The version text does not exist until `sys` is created.
    let (version, version_source) =
        version::find(memory, candidate, budget).ok_or(AttachError::StillStarting(pid))?;
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
        finalizing: match description.semantics.gil_holder {
            GilHolder::Symbol => candidate.symbol("_Py_Finalizing", SymbolTables::Exported),
            GilHolder::Runtime | GilHolder::Interpreter => None,
        },
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
    let (roots, roots_source) = find_roots(memory, &python, candidate, mappings, budget)
        .ok_or_else(|| {
            // A scan finds nothing until the first interpreter exists.
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

/// Whether every object of the build starts with two extra pointers. `type` is its own type, so the
/// place of its `ob_type` shows it.
fn has_trace_refs(
    memory: &impl RemoteMemory,
    candidate: &Candidate<'_>,
    description: &Description,
) -> bool {
    let Some(ob_type) = description.trace_refs_ob_type() else {
        return false;
    };
    let Some(type_type) = candidate.symbol("PyType_Type", SymbolTables::All) else {
        return false;
    };
    let mut word = [0; 8];
    memory
        .read(type_type.offset(ob_type.into()), &mut word)
        .is_ok()
        && RemoteAddr(u64::from_le_bytes(word)) == type_type
}

/// The head of the list of interpreters.
fn find_roots(
    memory: &impl RemoteMemory,
    python: &Runtime,
    candidate: &Candidate<'_>,
    mappings: &[Mapping],
    budget: &WorkBudget,
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
        && let Some(head) = candidate.symbol("interp_head", SymbolTables::All)
    {
        return Some((
            RuntimeAddresses {
                interpreters_head: head,
                ..known
            },
            RootsSource::Symbol("interp_head"),
        ));
    }
    let ranges = candidate.writable_memory();
    let head = scan::interpreters_head(memory, python, ranges, mappings, budget)?;
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
    let finalizing = python.layout.runtime_state.finalizing;
    RuntimeAddresses {
        interpreters_head,
        runtime: Some(runtime),
        tstate_current,
        finalizing: finalizing.map(|at| runtime.offset(at.into())),
        ..python.roots
    }
}

/// A narrow build of Python 2 exports its `unicode` functions with `UCS2` in their names.
fn python2_unicode_unit(candidate: &Candidate<'_>) -> u8 {
    match candidate.symbol("PyUnicodeUCS2_AsUTF8String", SymbolTables::Exported) {
        Some(_) => 2,
        None => 4,
    }
}

/// The counter of code objects where it is a C variable. It is not exported, so only an unstripped
/// file names it.
fn next_func_version(candidate: &Candidate<'_>, layout: &Layout) -> Option<RemoteAddr> {
    layout.code_object.co_version?;
    if layout.interpreter_state.next_func_version.is_some() {
        return None;
    }
    candidate.symbol("_Py_next_func_version", SymbolTables::All)
}

/// Whether some interpreter has a thread. Before that there is no stack to read.
fn is_running(memory: &impl RemoteMemory, python: &Runtime) -> bool {
    interpreters(memory, python).is_ok_and(|list| {
        list.iter()
            .any(|interpreter| !interpreter.threads_head.is_null())
    })
}
