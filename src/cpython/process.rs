//! [`Interpreter`]: a CPython in a process, live or in a core file. The reading itself is done by
//! [`StackReader`].

use std::collections::HashMap;
use std::sync::Arc;

use python_offsets::PythonVersion;

use super::attach::error::AttachError;
use super::attach::locate::{self, LocatedRuntime};
use super::code::frame_table::FrameTable;
use super::code::short_path::shorten;
use super::frame::RawFrame;
use super::read::error::{ReadError, SampleError};
use super::reader::StackReader;
use super::runtime::Runtime;
use super::threads::gil::{self, InterpreterGil};
use super::threads::list::ThreadList;
use super::values::ValueOptions;
use super::values::locals::Local;
use super::values::object::Objects;
use crate::os::deadline::Deadline;
use crate::os::elf::ElfFile;
use crate::os::process::TargetProcess;
use crate::os::process::image::ProcessImage;
use crate::os::procfs::maps::{Image, images};
use crate::os::procfs::mm_layout::MmLayout;
use crate::os::work_budget::{ATTACH, EXAMINE, WorkBudget};
use crate::os::{Pid, Tid};

/// A CPython in a process.
pub struct Interpreter<T> {
    target: T,
    found: LocatedRuntime,
    reader: StackReader,
    short_filenames: HashMap<Arc<str>, Arc<str>>,
}

/// A CPython in a running process.
pub type PythonProcess = Interpreter<TargetProcess>;

/// The most short filenames that are cached; above it the cache is cleared.
const MAX_FILES: usize = 50_000;

impl PythonProcess {
    /// Finds the interpreter in a running process, within 5 seconds.
    ///
    /// # Errors
    /// See [`AttachError`]; a process whose interpreter is still starting is
    /// [`AttachError::StillStarting`] and can be tried again.
    pub fn attach(pid: Pid) -> Result<PythonProcess, AttachError> {
        PythonProcess::attach_within(pid, &WorkBudget::within(ATTACH))
    }

    /// As [`attach`](PythonProcess::attach), for a process that may be any program: within half a second.
    ///
    /// # Errors
    /// As [`attach`](PythonProcess::attach).
    pub fn examine(pid: Pid) -> Result<PythonProcess, AttachError> {
        PythonProcess::attach_within(pid, &WorkBudget::within(EXAMINE))
    }

    /// As [`attach`](PythonProcess::attach), as far as the budget allows.
    ///
    /// # Errors
    /// As [`attach`](PythonProcess::attach).
    pub(crate) fn attach_within(
        pid: Pid,
        budget: &WorkBudget,
    ) -> Result<PythonProcess, AttachError> {
        let target =
            TargetProcess::open(pid).map_err(|error| AttachError::from_open(pid, error))?;
        if let Some(parent) = target.memory_lender() {
            return Err(AttachError::InVfork { pid, parent });
        }
        let found = find(&target, budget)?;
        Ok(Interpreter::new(target, found))
    }

    /// Attaches to a process that was forked from this one and has not called exec since: all addresses
    /// are the same and need not be located. `None` when that does not hold, or in a vfork.
    pub fn attach_to_fork(&self, pid: Pid) -> Option<PythonProcess> {
        let is_fork = || {
            let space = MmLayout::of(pid);
            space.is_some() && space == MmLayout::of(self.pid())
        };
        if !is_fork() {
            return None;
        }
        let target = TargetProcess::open(pid).ok()?;
        if target.memory_lender().is_some() {
            return None;
        }
        let suspects = self.target.memory().suspects();
        target.memory().suspects().inherit(suspects);
        let process = Interpreter::new(target, self.found.clone());
        // Either process may have called exec meanwhile.
        let holds =
            is_fork() && !process.target.memory().is_closed() && !self.target.memory().is_closed();
        holds.then_some(process)
    }
}

/// As [`locate::find`]. Of a process that ends or calls exec meanwhile, the memory is gone in the middle of
/// the search, and what the search then misses is no fact about a program.
fn find(target: &TargetProcess, budget: &WorkBudget) -> Result<LocatedRuntime, AttachError> {
    locate::find(target, budget).map_err(|error| {
        if target.memory().is_closed() {
            AttachError::StillStarting(target.pid())
        } else {
            error
        }
    })
}

impl<T: ProcessImage> Interpreter<T> {
    pub fn new(target: T, found: LocatedRuntime) -> Interpreter<T> {
        Interpreter {
            target,
            reader: StackReader::new(found.python.clone()),
            found,
            short_filenames: HashMap::new(),
        }
    }

    /// The process as the OS shows it, or the core file.
    pub fn target(&self) -> &T {
        &self.target
    }

    #[cfg(test)]
    pub fn target_mut(&mut self) -> &mut T {
        &mut self.target
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        self.target.pid()
    }

    /// The interpreter, and how it was found.
    pub fn found(&self) -> &LocatedRuntime {
        &self.found
    }

    /// The interpreter's layout and roots.
    pub fn python(&self) -> &Runtime {
        self.reader.python()
    }

    /// The interpreter's version.
    pub fn version(&self) -> PythonVersion {
        self.python().version
    }

    /// What reads stacks.
    pub fn reader(&self) -> &StackReader {
        &self.reader
    }

    /// What reads stacks, and the memory to read from.
    pub fn reader_and_memory(&mut self) -> (&mut StackReader, &T::Memory) {
        (&mut self.reader, self.target.memory())
    }

    /// Readers for the interpreter's objects.
    pub fn objects(&self) -> Objects<'_, T::Memory> {
        self.reader.objects(self.target.memory())
    }

    /// The process's tasks, as pairs of the id in its own PID namespace and the id in ours.
    pub fn tasks(&self) -> Vec<(Tid, Tid)> {
        self.target.tasks()
    }

    /// Lists the threads of all interpreters.
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads(&mut self) -> Result<ThreadList, SampleError> {
        let target = &self.target;
        self.reader.threads(target.memory(), || target.tasks())
    }

    /// Whether one of the interpreter's threads is one of the process's own tasks. For a moment after a fork
    /// they are still those of the parent.
    pub fn owns_a_thread(&mut self) -> bool {
        self.threads().is_ok_and(|list| {
            let mut threads = list.threads.iter();
            threads.any(|thread| thread.os_thread_id.is_some())
        })
    }

    /// All interpreters, oldest first, including those without threads, each with the GIL that it uses.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn interpreter_gils(&self) -> Result<Vec<InterpreterGil>, ReadError> {
        gil::interpreter_gils(self.target.memory(), self.python())
    }

    /// Fills in the short filenames of new frames in the table, by searching for packages in the process's
    /// own root. May wait for a file system until the deadline: not to be called while threads are paused. A
    /// name whose file system does not answer stays as it is.
    pub fn shorten_new(&mut self, frames: &mut FrameTable, deadline: Deadline) {
        let (target, files) = (&self.target, &mut self.short_filenames);
        frames.shorten_new(|filename| {
            if let Some(short) = files.get(filename) {
                return Arc::clone(short);
            }
            if files.len() >= MAX_FILES {
                files.clear();
            }
            let mut answers = true;
            let short = shorten(filename, |path| {
                let is_file = target.is_file(path, deadline);
                answers &= is_file.is_some();
                is_file == Some(true)
            });
            if !answers {
                return Arc::clone(filename);
            }
            let short: Arc<str> = short.into();
            files.insert(Arc::clone(filename), Arc::clone(&short));
            short
        });
    }

    /// The variables of a frame: see [`StackReader::frame_locals`].
    ///
    /// # Errors
    /// When they cannot be read, or the sample's budget is spent.
    pub fn frame_locals(
        &self,
        frame: &RawFrame,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        self.reader
            .frame_locals(self.target.memory(), frame, options)
    }

    /// Whether this is a debug build (`Py_DEBUG`, or `Py_REF_DEBUG` alone): these have a function that
    /// reports negative reference counts (Include/object.h, from 3.14 on Include/refcount.h).
    /// `None` where the file exports no names, or cannot be read.
    pub fn is_debug_build(&self) -> Option<bool> {
        let deadline = WorkBudget::within(EXAMINE).deadline();
        let image = self.image(deadline)?;
        let file = self.target.open_mapped(image.base()?).ok()?;
        let names = ["_Py_NegativeRefcount", "Py_GetVersion"];
        let symbols = ElfFile::open(file, deadline).ok()?.symbols(&names);
        match symbols.ok()?.as_slice() {
            [Some(_), _] => Some(true),
            [None, Some(_)] => Some(false),
            // Stripped of all names: both kinds are the same.
            _ => None,
        }
    }

    /// The file that holds the interpreter, as it is mapped; `None` when it is gone.
    fn image(&self, deadline: Deadline) -> Option<Image> {
        let mappings = self.target.maps(deadline).ok()?;
        let mut images = images(&mappings).into_iter();
        images.find(|image| image.path.display().to_string() == self.found.image)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    /// A program that ended while it was searched was reported as a CPython 3.13 without debug offsets.
    #[test]
    fn a_process_that_ends_during_the_search_is_not_described() {
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = cat.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"x").unwrap();
        // It has answered: its program is mapped.
        cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let target = TargetProcess::open(cat.id().cast_signed()).unwrap();
        let error = find(&target, &WorkBudget::within(ATTACH)).unwrap_err();
        assert!(matches!(error, AttachError::NotPython { .. }), "{error}");
        drop(stdin);
        cat.wait().unwrap();
        let error = find(&target, &WorkBudget::within(ATTACH)).unwrap_err();
        assert!(matches!(error, AttachError::StillStarting(_)), "{error}");
    }
}
