//! [`PythonProcess`]: a live process with an interpreter in it, and the main path from its memory to
//! stacks.

use std::path::Path;
use std::sync::Arc;

use log::debug;
use python_offsets::PythonVersion;

use super::code::CodeCache;
use super::frame::{self, RawFrame};
use super::interpreter::{self, ThreadState};
use super::locate::{self, Found};
use super::thread_ids::ThreadIds;
use super::thread_names::ThreadNames;
use super::{AttachError, FrameId, FrameTable, Objects, Python, ReadError, SampleError, gil};
use crate::target::{LiveMemory, Pid, TargetProcess, Tid};

/// A running CPython that we are attached to.
pub struct PythonProcess {
    target: TargetProcess,
    found: Found,
    codes: CodeCache,
    ids: ThreadIds,
    names: ThreadNames,
}

/// A thread of the interpreter, as its lists have it.
#[derive(Clone, Debug)]
pub struct PythonThread {
    /// Its state.
    pub state: ThreadState,
    /// Which kernel thread it is; `None` when that could not be told.
    pub os_thread_id: Option<Tid>,
    /// Whether it holds its interpreter's GIL.
    pub owns_gil: bool,
    /// Whether it collects garbage.
    pub collecting: bool,
}

/// The threads of all interpreters, newest interpreter first, newest thread first, and what could
/// not be read of them.
#[derive(Debug, Default)]
pub struct ThreadList {
    /// The threads.
    pub threads: Vec<PythonThread>,
    /// Interpreters whose list broke off.
    pub errors: Vec<ReadError>,
}

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
        let mut process = PythonProcess {
            target,
            found,
            codes: CodeCache::default(),
            ids: ThreadIds::default(),
            names: ThreadNames::default(),
        };
        process.refresh_tasks();
        Ok(process)
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
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The interpreter's layout and roots.
    pub fn python(&self) -> &Python {
        &self.found.python
    }

    /// The interpreter's version.
    pub fn version(&self) -> PythonVersion {
        self.found.python.version
    }

    /// Readers for the interpreter's objects.
    pub fn objects(&self) -> Objects<'_, LiveMemory> {
        Objects {
            memory: self.target.memory(),
            python: &self.found.python,
        }
    }

    fn refresh_tasks(&mut self) {
        // A process that ends just now has no tasks; the next read says so.
        let tasks = self.target.thread_ids().unwrap_or_default();
        let target = &self.target;
        self.ids.set_tasks(
            tasks
                .into_iter()
                .filter_map(|tid| Some((target.namespace_tid(tid).ok()?, tid))),
        );
    }

    /// Lists the threads of all interpreters.
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads(&mut self) -> Result<ThreadList, SampleError> {
        let memory = self.target.memory();
        let python = &self.found.python;
        let mut list = ThreadList::default();
        for interpreter in interpreter::interpreters(memory, python)? {
            let (states, error) = interpreter::threads(memory, python, interpreter);
            list.errors.extend(error);
            let holder = gil::holder(memory, python, interpreter)?;
            let collecting = gil::collecting(memory, python, interpreter)?;
            list.threads.extend(states.into_iter().map(|state| {
                let owns_gil = holder == Some(state.addr);
                PythonThread {
                    state,
                    os_thread_id: None,
                    owns_gil,
                    // A collection runs on the thread that holds the GIL.
                    collecting: collecting && owns_gil,
                }
            }));
        }
        self.identify_threads(&mut list.threads);
        Ok(list)
    }

    /// Fills in the kernel's ids; looks at the process's tasks again when one is unknown.
    fn identify_threads(&mut self, threads: &mut [PythonThread]) {
        for attempt in 0..2 {
            let memory = self.target.memory();
            let states: Vec<ThreadState> = threads.iter().map(|thread| thread.state).collect();
            self.ids.learn(memory, &states);
            for thread in &mut *threads {
                thread.os_thread_id = self.ids.resolve(memory, &thread.state);
            }
            if attempt == 1 || threads.iter().all(|thread| thread.os_thread_id.is_some()) {
                return;
            }
            self.refresh_tasks();
        }
    }

    /// Starts a new sample: what was cached is looked at again before it is believed.
    pub fn begin_sample(&mut self) {
        self.codes.begin_sample();
    }

    /// Pass 1: the addresses of a thread's frames, leaf first.
    ///
    /// # Errors
    /// When the chain cannot be followed; `stack` then holds what was read before.
    pub fn walk(&self, thread: &PythonThread, stack: &mut Vec<RawFrame>) -> Result<(), ReadError> {
        frame::walk(
            self.target.memory(),
            &self.found.python,
            &thread.state,
            stack,
        )
    }

    /// A thread's name as `threading` has it; `None` for a thread that it does not know. Asked
    /// again and again, this reads only what changed.
    pub fn thread_name(&mut self, thread: &PythonThread) -> Option<Arc<str>> {
        let objects = Objects {
            memory: self.target.memory(),
            python: &self.found.python,
        };
        let interpreter = thread.state.interpreter.addr;
        let known = self.names.name(interpreter, thread.state.pthread_id);
        if known.is_none()
            && let Err(error) = self.names.refresh(&objects, interpreter)
        {
            debug!("names of threads: {error}");
        }
        known.or_else(|| self.names.name(interpreter, thread.state.pthread_id))
    }

    /// Whether a thread's innermost frame is still the one that it was when the thread was listed.
    pub fn is_at_same_frame(&self, thread: &PythonThread, leaf: Option<&RawFrame>) -> bool {
        let memory = self.target.memory();
        let python = &self.found.python;
        let now = interpreter::thread(memory, python, thread.state.interpreter, thread.state.addr)
            .and_then(|state| frame::innermost(memory, python, &state));
        match (now, leaf) {
            (Ok(addr), Some(leaf)) if addr == leaf.addr => true,
            // The innermost frame may be a shim above the leaf: then the chain decides.
            (Ok(_), _) => {
                let mut again = Vec::new();
                self.walk(thread, &mut again).is_ok() && again.first() == leaf
            }
            (Err(_), _) => false,
        }
    }

    /// Pass 2: names for the frames of a stack, `None` for one that runs no code object.
    ///
    /// # Errors
    /// When a code object cannot be read.
    pub fn resolve(
        &mut self,
        stack: &[RawFrame],
        frames: &mut FrameTable,
    ) -> Result<Vec<Option<FrameId>>, ReadError> {
        let target = &self.target;
        let objects = Objects {
            memory: target.memory(),
            python: &self.found.python,
        };
        let is_file = |path: &Path| target.root_path(path).is_file();
        let mut resolved = Vec::with_capacity(stack.len());
        for raw in stack {
            resolved.push(self.codes.resolve(objects, raw, frames, &is_file)?);
        }
        Ok(resolved)
    }
}
