//! [`PythonCore`]: the interpreter in a core file.

use log::debug;
use python_offsets::semantics::FrameRoot;

use super::attach::error::AttachError;
use super::attach::locate;
use super::code::frame_table::FrameTable;
use super::frame::RawFrame;
use super::process::Interpreter;
use super::read::error::ReadError;
use super::reader::Resolved;
use super::stack::evidence::Mode;
use super::threads::list::PythonThread;
use crate::os::core_file::CoreFile;
use crate::os::process::image::ProcessImage;
use crate::os::work_budget::WorkBudget;

/// A CPython in a core file.
pub type PythonCore = Interpreter<CoreFile>;

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
    pub resolved: Resolved,
    pub end: StackEnd,
}

/// How the outer frames of a stack were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// By the links between frames, as in a live process.
    Linked,
    /// In the data stack, since the core lacks a link: frames of generators may be missing.
    Found,
    /// The core lacks a link, and the remaining frames were not found.
    Missing,
}

impl PythonCore {
    /// Finds the interpreter in a core file.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn find(core: CoreFile) -> Result<PythonCore, NoInterpreter> {
        let found = locate::find(&core, &WorkBudget::without_deadline())
            .map_err(|error| NoInterpreter::new(&core, error))?;
        Ok(Interpreter::new(core, found))
    }

    /// Reads a thread's frames, leaf first, and their names: both passes at once, since memory does
    /// not change. Where the chain of frames is cut, the remaining frames are searched for.
    ///
    /// # Errors
    /// When the stack cannot be followed.
    pub fn stack(
        &mut self,
        thread: &mut PythonThread,
        stack: &mut Vec<RawFrame>,
        frames: &mut FrameTable,
    ) -> Result<CoreStack, ReadError> {
        let (reader, memory) = self.reader_and_memory();
        reader.refresh_gil_state(memory, thread);
        reader.copy(memory, thread);
        let walked = reader.walk(memory, thread, Mode::AtRest, stack);
        let is_cut = match &walked {
            Ok(_) if stack.is_empty() => self.lacks_c_frame(thread),
            Ok(_) => stack.last().is_some_and(|frame| frame.is_unlinked),
            Err(ReadError::Memory(_)) => !stack.is_empty(),
            Err(_) => false,
        };
        let mut end = StackEnd::Linked;
        let (reader, memory) = self.reader_and_memory();
        if is_cut {
            end = match reader.find_outer(memory, thread, stack) {
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
        let resolved = reader.resolve(memory, thread, stack, frames)?;
        Ok(CoreStack { resolved, end })
    }

    /// Whether a thread without frames should have some: up to 3.12 a structure on its C stack leads to
    /// them, which is not the one in its state while it runs Python.
    fn lacks_c_frame(&self, thread: &PythonThread) -> bool {
        let python = self.python();
        let place = thread.state.frame_root.distance_from(thread.state.addr);
        let size = u64::from(python.layout.thread_state.size);
        python.semantics.frame_root == FrameRoot::CFrame && place.is_none_or(|place| place >= size)
    }
}

impl NoInterpreter {
    /// Describes a failed search for the interpreter in terms of the core file.
    fn new(core: &CoreFile, error: AttachError) -> NoInterpreter {
        let exe = core.exe_path();
        let is_named = !exe.as_os_str().is_empty();
        let name = match is_named {
            true => exe.display().to_string(),
            false => "an unnamed program".into(),
        };
        let problem = match &error {
            AttachError::UnsupportedPython { version, .. } => {
                format!("the core file is of CPython {version}, which this release does not know")
            }
            AttachError::BadOffsets { version, cause, .. } => {
                format!("the core file is of CPython {version}, with implausible offsets: {cause}")
            }
            AttachError::StillStarting(_) => {
                format!("no running Python in the core file of {name}")
            }
            AttachError::NotFound { .. } => {
                format!("no CPython found in the core file of {name}")
            }
            _ if !is_named => "the core file does not name its program".into(),
            _ => format!("this is the core file of {name}, not of a Python program"),
        };
        let (size, whole) = core.sizes();
        let hint = if let AttachError::UnsupportedPython { .. } = &error {
            error.hint()
        } else if core.is_cut_off() {
            format!(
                "the core file is truncated ({size} of {whole} bytes): use `ulimit -c unlimited` and free \
                 disk space"
            )
        } else if !is_named {
            "Python is located by the list of mapped files (NT_FILE, Linux 3.10 and later), which the core \
             lacks: `readelf -n FILE` shows its notes"
                .into()
        } else if let AttachError::NotPython { .. } = &error
            && core.has_file(&exe)
        {
            "`gdb -c FILE` shows what it did".into()
        } else if !core.has_file(&exe) {
            format!(
                "{name} is not here in the build that ran: pass it with --exe, or its root directory with \
                 --sysroot"
            )
        } else if let AttachError::BadOffsets { .. } = &error {
            error.hint()
        } else {
            "it may have been starting or exiting, or not be CPython: run again with -vv to see what was \
             tried"
                .into()
        };
        NoInterpreter { problem, hint }
    }
}
