//! [`PythonProcess`]: a live process with an interpreter in it. What is read of it is the
//! [`StackReader`]'s work.

use std::collections::HashMap;
use std::sync::Arc;

use python_offsets::PythonVersion;

use super::attach::error::AttachError;
use super::attach::locate::{self, LocatedRuntime};
use super::code::frame_table::FrameTable;
use super::code::short_path::shorten;
use super::read::error::{ReadError, SampleError};
use super::reader::{Resolved, StackReader, Walk};
use super::runtime::Runtime;
use super::stack::walk::RawFrame;
use super::threads::gil::{self, InterpreterGil};
use super::threads::list::{PythonThread, ThreadList};
use super::values::ValueOptions;
use super::values::locals::Local;
use super::values::object::Objects;
use crate::os::memory::live::LiveMemory;
use crate::os::process::TargetProcess;
use crate::os::procfs::mm_layout::MmLayout;
use crate::os::{Pid, Tid};

/// A running CPython that we are attached to.
pub struct PythonProcess {
    target: TargetProcess,
    found: LocatedRuntime,
    reader: StackReader,
    short_filenames: HashMap<Arc<str>, Arc<str>>,
}

/// Above this many files the short filenames are looked for anew.
const MAX_FILES: usize = 50_000;

impl PythonProcess {
    /// Finds the interpreter in a running process.
    ///
    /// # Errors
    /// See [`AttachError`]; a process whose interpreter is still starting is
    /// [`AttachError::StillStarting`] and can be tried again.
    pub fn attach(pid: Pid) -> Result<PythonProcess, AttachError> {
        let target =
            TargetProcess::open(pid).map_err(|error| AttachError::from_open(pid, error))?;
        let found = locate::find(&target)?;
        Ok(PythonProcess {
            target,
            reader: StackReader::new(found.python.clone()),
            found,
            short_filenames: HashMap::new(),
        })
    }

    /// Attaches to a process that was forked from this one and has not executed another program since:
    /// everything is where it is here, and need not be looked for. `None` when that does not hold.
    pub fn attach_to_fork(&self, pid: Pid) -> Option<PythonProcess> {
        let is_fork = || {
            let space = MmLayout::of(pid);
            space.is_some() && space == MmLayout::of(self.pid())
        };
        if !is_fork() {
            return None;
        }
        let target = TargetProcess::open(pid).ok()?;
        let process = PythonProcess {
            target,
            found: self.found.clone(),
            reader: StackReader::new(self.found.python.clone()),
            short_filenames: HashMap::new(),
        };
        // It may have executed one while we opened it, and so may the one that it is compared with.
        let holds =
            is_fork() && !process.target.memory().is_closed() && !self.target.memory().is_closed();
        holds.then_some(process)
    }

    /// The process as the OS shows it.
    pub fn target(&self) -> &TargetProcess {
        &self.target
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

    /// Readers for the interpreter's objects.
    pub fn objects(&self) -> Objects<'_, LiveMemory> {
        self.reader.objects(self.target.memory())
    }

    /// The process's tasks, as pairs of the id in its own PID namespace and the id in ours.
    pub fn tasks(&self) -> Vec<(Tid, Tid)> {
        tasks(&self.target)
    }

    /// Lists the threads of all interpreters.
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads(&mut self) -> Result<ThreadList, SampleError> {
        let target = &self.target;
        self.reader.threads(target.memory(), || tasks(target))
    }

    /// Whether one of the interpreter's threads is one of the process's own tasks. After a vfork, and for a
    /// moment after a fork, the threads are still its parent's.
    pub fn owns_a_thread(&mut self) -> bool {
        self.threads().is_ok_and(|list| {
            let mut threads = list.threads.iter();
            threads.any(|thread| thread.os_thread_id.is_some())
        })
    }

    /// All interpreters, those without threads too, oldest first, and by whose GIL each runs.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn interpreter_gils(&self) -> Result<Vec<InterpreterGil>, ReadError> {
        gil::interpreter_gils(self.target.memory(), self.python())
    }

    /// Starts a new sample: see [`StackReader::begin_sample`].
    pub fn begin_sample(&mut self, new_names: bool) {
        self.reader.begin_sample(new_names);
    }

    /// Whether a thread holds the GIL: see [`StackReader::holds_gil`].
    pub fn holds_gil(&self, thread: &PythonThread) -> Option<bool> {
        self.reader.holds_gil(self.target.memory(), thread)
    }

    /// Whether this is a thread's whole stack: see [`StackReader::c_entry_is_on_stack`].
    pub fn c_entry_is_on_stack(&self, thread: &PythonThread, stack: &[RawFrame]) -> bool {
        self.reader
            .c_entry_is_on_stack(self.target.memory(), thread, stack)
    }

    /// Looks again who has the GIL and collects: see [`StackReader::refresh_gil_state`].
    pub fn refresh_gil_state(&self, thread: &mut PythonThread) {
        self.reader.refresh_gil_state(self.target.memory(), thread);
    }

    /// Copies a thread's state and stack: see [`StackReader::copy`].
    pub fn copy(&mut self, thread: &PythonThread) -> bool {
        self.reader.copy(self.target.memory(), thread)
    }

    /// Pass 1: see [`StackReader::walk`].
    ///
    /// # Errors
    /// When the chain cannot be followed; `stack` then holds what was read before.
    pub fn walk(
        &mut self,
        thread: &mut PythonThread,
        races: bool,
        stack: &mut Vec<RawFrame>,
    ) -> Result<Walk, ReadError> {
        self.reader.walk(self.target.memory(), thread, races, stack)
    }

    /// A thread's name: see [`StackReader::thread_name`].
    pub fn thread_name(&mut self, thread: &PythonThread) -> Option<Arc<str>> {
        self.reader.thread_name(self.target.memory(), thread)
    }

    /// Pass 2: see [`StackReader::resolve`].
    ///
    /// # Errors
    /// When a code object cannot be read.
    pub fn resolve(
        &mut self,
        thread: &PythonThread,
        stack: &[RawFrame],
        frames: &mut FrameTable,
    ) -> Result<Resolved, ReadError> {
        self.reader
            .resolve(self.target.memory(), thread, stack, frames)
    }

    /// Which frames of a stack are shown: see [`StackReader::shown`].
    pub fn shown(&self, thread: &PythonThread) -> impl Iterator<Item = bool> {
        self.reader.shown(thread)
    }

    /// Gives the frames that are new in the table their short filenames, by looking for packages in
    /// the process's own root. May wait for a file system: never while threads are paused.
    pub fn shorten_new(&mut self, frames: &mut FrameTable) {
        let (target, files) = (&self.target, &mut self.short_filenames);
        frames.shorten_new(|filename| {
            if let Some(short) = files.get(filename) {
                return Arc::clone(short);
            }
            if files.len() >= MAX_FILES {
                files.clear();
            }
            let short = shorten(filename, |path| target.root_path(path).is_file());
            let short: Arc<str> = short.into();
            files.insert(Arc::clone(filename), Arc::clone(&short));
            short
        });
    }

    /// The variables of a frame: see [`StackReader::frame_locals`].
    ///
    /// # Errors
    /// When they cannot be read, or too much was read in this sample already.
    pub fn frame_locals(
        &self,
        frame: &RawFrame,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        self.reader
            .frame_locals(self.target.memory(), frame, options)
    }
}

fn tasks(target: &TargetProcess) -> Vec<(Tid, Tid)> {
    // A process that ends just now has no tasks; the next read says so.
    let tids = target.thread_ids().unwrap_or_default();
    tids.into_iter()
        .filter_map(|tid| Some((target.namespace_tid(tid).ok()?, tid)))
        .collect()
}
