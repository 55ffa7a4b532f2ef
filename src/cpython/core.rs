//! [`PythonCore`]: the interpreter in a core file. What is read of it is the [`StackReader`]'s work, as
//! of a process that runs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use log::debug;
use python_offsets::PythonVersion;
use python_offsets::semantics::FrameRoot;

use super::attach::error::AttachError;
use super::attach::locate::{self, LocatedRuntime};
use super::code::frame_table::FrameTable;
use super::code::short_path::shorten;
use super::read::error::{ReadError, SampleError};
use super::reader::{Resolved, StackReader};
use super::stack::walk::RawFrame;
use super::threads::gil::{self, InterpreterGil};
use super::threads::list::{PythonThread, ThreadList};
use super::values::ValueOptions;
use super::values::locals::Local;
use crate::os::Tid;
use crate::os::core_file::CoreFile;
use crate::os::process::image::ProcessImage;

/// A CPython in a core file.
pub struct PythonCore {
    core: CoreFile,
    found: LocatedRuntime,
    reader: StackReader,
}

/// Why no interpreter was found in a core file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct NoInterpreter {
    /// What is wrong, in one line.
    pub problem: String,
    /// What to do, in one line.
    pub hint: String,
}

/// A thread's stack in a core file.
pub struct CoreStack {
    /// Its frames.
    pub resolved: Resolved,
    /// How its outer ones were found.
    pub end: StackEnd,
}

/// How the outer frames of a stack were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// By the links between frames, as in a process that runs.
    Linked,
    /// In the data stack, since the core lacks a link: frames of generators among them may be missing.
    Found,
    /// Not at all: the core lacks a link, and the rest is not to be found.
    Missing,
}

impl PythonCore {
    /// Finds the interpreter in a core file.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn find(core: CoreFile) -> Result<PythonCore, NoInterpreter> {
        let found = locate::find(&core).map_err(|error| NoInterpreter::of(&core, error))?;
        Ok(PythonCore {
            core,
            reader: StackReader::new(found.python.clone()),
            found,
        })
    }

    /// The core file.
    pub fn core(&self) -> &CoreFile {
        &self.core
    }

    /// The interpreter, and how it was found.
    pub fn found(&self) -> &LocatedRuntime {
        &self.found
    }

    /// The interpreter's version.
    pub fn version(&self) -> PythonVersion {
        self.reader.python().version
    }

    /// All interpreters, as [`PythonProcess::interpreter_gils`](super::process::PythonProcess::interpreter_gils).
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn interpreter_gils(&self) -> Result<Vec<InterpreterGil>, ReadError> {
        gil::interpreter_gils(self.core.memory(), self.reader.python())
    }

    /// Lists the threads of all interpreters.
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads(&mut self) -> Result<ThreadList, SampleError> {
        self.reader.begin_sample(true);
        let core = &self.core;
        let tasks = || -> Vec<(Tid, Tid)> {
            let tids = core.threads().iter().map(|thread| thread.tid);
            tids.map(|tid| (tid, tid)).collect()
        };
        let mut list = self.reader.threads(core.memory(), tasks)?;
        // The registers name the kernel's thread without fail, even where gcore has seen it from
        // outside of its container.
        let by_registers: HashMap<u64, Tid> = core
            .threads()
            .iter()
            .filter(|thread| thread.fs_base != 0)
            .map(|thread| (thread.fs_base, thread.tid))
            .collect();
        for thread in &mut list.threads {
            let known = by_registers.get(&thread.state.pthread_id);
            thread.os_thread_id = known.copied().or(thread.os_thread_id);
        }
        Ok(list)
    }

    /// A thread's frames, leaf first, and what they are called: both passes at once, since nothing
    /// moves. Where the chain of frames breaks off, the rest is looked for.
    ///
    /// # Errors
    /// When the stack cannot be followed.
    pub fn stack(
        &mut self,
        thread: &mut PythonThread,
        stack: &mut Vec<RawFrame>,
        frames: &mut FrameTable,
    ) -> Result<CoreStack, ReadError> {
        let memory = self.core.memory();
        self.reader.refresh_gil_state(memory, thread);
        self.reader.copy(memory, thread);
        let walked = self.reader.walk(memory, thread, false, stack);
        let breaks_off = match &walked {
            Ok(_) if stack.is_empty() => self.lacks_c_frame(thread),
            Ok(_) => stack.last().is_some_and(|frame| frame.is_unlinked),
            Err(ReadError::Memory(_)) => !stack.is_empty(),
            Err(_) => false,
        };
        let mut end = StackEnd::Linked;
        if breaks_off {
            end = match self.reader.find_outer(memory, thread, stack) {
                Ok(true) => StackEnd::Found,
                Ok(false) => StackEnd::Missing,
                Err(error) => {
                    debug!("{}: {error}", thread.label());
                    StackEnd::Missing
                }
            };
        } else {
            walked?;
        }
        let resolved = self.reader.resolve(memory, thread, stack, frames)?;
        Ok(CoreStack { resolved, end })
    }

    /// Whether a thread without frames should have some: up to 3.12 a structure on its C stack leads to
    /// them, which is not the one in its state as long as it runs Python.
    fn lacks_c_frame(&self, thread: &PythonThread) -> bool {
        let python = self.reader.python();
        let place = thread.state.frame_root.distance_from(thread.state.addr);
        let size = u64::from(python.layout.thread_state.size);
        python.semantics.frame_root == FrameRoot::CFrame && place.is_none_or(|place| place >= size)
    }

    /// Which frames of a stack are shown: see [`StackReader::shown`].
    pub fn shown(&self, thread: &PythonThread) -> impl Iterator<Item = bool> {
        self.reader.shown(thread)
    }

    /// A thread's name: see [`StackReader::thread_name`].
    pub fn thread_name(&mut self, thread: &PythonThread) -> Option<Arc<str>> {
        self.reader.thread_name(self.core.memory(), thread)
    }

    /// The variables of a frame: see [`StackReader::frame_locals`].
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn frame_locals(
        &self,
        frame: &RawFrame,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        self.reader.frame_locals(self.core.memory(), frame, options)
    }

    /// Gives the frames that are new in the table their short filenames, by looking for packages where
    /// the process had them: on another machine there may be none.
    pub fn shorten_new(&self, frames: &mut FrameTable) {
        frames.shorten_new(|filename| {
            let is_file = |path: &Path| self.core.root_path(path).is_file();
            shorten(filename, is_file).into()
        });
    }
}

impl NoInterpreter {
    /// What finding the interpreter of a process failed with, in words on a core file.
    fn of(core: &CoreFile, error: AttachError) -> NoInterpreter {
        let exe = core.exe_path();
        let is_named = !exe.as_os_str().is_empty();
        let name = match is_named {
            true => exe.display().to_string(),
            false => "a program that it does not name".into(),
        };
        let problem = match &error {
            AttachError::UnsupportedPython { version, .. } => {
                format!("the core file is of CPython {version}, which this release does not know")
            }
            AttachError::BadOffsets { version, cause, .. } => {
                format!("the core file is of CPython {version}, described wrongly: {cause}")
            }
            AttachError::StillStarting(_) => {
                format!("no running Python is to be seen in the core file of {name}")
            }
            AttachError::NotFound { .. } => {
                format!("no CPython can be found in the core file of {name}")
            }
            _ if !is_named => "the core file does not tell which program it is of".into(),
            _ => format!("this is the core file of {name}, not of a Python program"),
        };
        let (size, whole) = core.sizes();
        let hint = if let AttachError::UnsupportedPython { .. } = &error {
            error.hint()
        } else if core.is_cut_off() {
            format!(
                "the core file is cut off, {size} of {whole} bytes are there: let it be written whole \
                 (ulimit -c unlimited, room on the disk)"
            )
        } else if !is_named {
            "Python is looked for in the files that were mapped, and the core has no list of them \
             (NT_FILE, of Linux 3.10 and later): readelf -n FILE shows what it has"
                .into()
        } else if let AttachError::NotPython { .. } = &error
            && core.has_file(&exe)
        {
            "gdb -c FILE shows what it did".into()
        } else if !core.has_file(&exe) {
            format!(
                "the very build of {name} that ran is not here: give it with --exe, or the folder \
                 that was its root with --sysroot"
            )
        } else if let AttachError::BadOffsets { .. } = &error {
            error.hint()
        } else {
            "it may have been starting or ending, or be no CPython; run again with -vv to see what was \
             tried"
                .into()
        };
        NoInterpreter { problem, hint }
    }
}
