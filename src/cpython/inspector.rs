//! [`Inspector`]: the main path from an interpreter's memory to stacks. The memory may be a live
//! process, a tape or a core file: all of them are read by this code.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use log::debug;

use super::budget::Budget;
use super::code::CodeCache;
use super::frame::{self, RawFrame};
use super::gil::{self, Collection};
use super::interpreter::{self, ThreadState};
use super::thread_ids::ThreadIds;
use super::thread_names::ThreadNames;
use super::{FrameId, FrameTable, Local, Objects, Python, ReadError, SampleError, ValueOptions};
use crate::target::{RemoteAddr, RemoteMemory, Tid};

/// The most reads of one sample, for all threads together. A frame takes one or two, a code object
/// that is new some 15, the variables of a frame some 30. A target made to be endless must not hold
/// us.
pub const MAX_SAMPLE_READS: usize = 4_000_000;
/// The most bytes that one sample reads.
const MAX_SAMPLE_BYTES: usize = 2 << 30;
/// The most bytes of text that the variables of all frames of one sample may have.
const MAX_SAMPLE_TEXT: usize = 32 << 20;

/// Reads one interpreter, and remembers what does not change from sample to sample.
pub struct Inspector {
    python: Python,
    codes: CodeCache,
    ids: ThreadIds,
    names: ThreadNames,
    /// Interpreters whose thread names were read in this sample.
    named: HashSet<RemoteAddr>,
    left: Left,
}

/// What may still be read in a sample.
struct Left {
    reads_and_bytes: Cell<(usize, usize)>,
    text: Cell<usize>,
}

impl Default for Left {
    fn default() -> Left {
        Left {
            reads_and_bytes: Cell::new((MAX_SAMPLE_READS, MAX_SAMPLE_BYTES)),
            text: Cell::new(MAX_SAMPLE_TEXT),
        }
    }
}

impl Left {
    /// Does some reading within what is left.
    fn within<M, T>(&self, memory: &M, read: impl FnOnce(&Budget<'_, M>) -> T) -> T {
        let (reads, bytes) = self.reads_and_bytes.get();
        let budget = Budget::new(memory, reads, bytes);
        let result = read(&budget);
        self.reads_and_bytes.set(budget.left());
        result
    }
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
    /// The garbage collection that its interpreter runs, on this thread or on another.
    collection: Option<Collection>,
}

impl PythonThread {
    /// Whether this thread, with this stack, runs its interpreter's garbage collection: it has the
    /// frame in which that started or, where the version does not keep it, holds the GIL.
    pub fn collects(&self, stack: &[RawFrame]) -> bool {
        match self.collection {
            Some(Collection { frame: Some(frame) }) => stack.iter().any(|own| own.addr == frame),
            Some(Collection { frame: None }) => self.owns_gil,
            None => false,
        }
    }
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

impl Inspector {
    /// An inspector that knows nothing yet of the interpreter but where it is.
    pub fn new(python: Python) -> Inspector {
        Inspector {
            python,
            codes: CodeCache::default(),
            ids: ThreadIds::default(),
            names: ThreadNames::default(),
            named: HashSet::new(),
            left: Left::default(),
        }
    }

    /// The interpreter's layout and roots.
    pub fn python(&self) -> &Python {
        &self.python
    }

    /// Readers for the interpreter's objects.
    pub fn objects<'a, M>(&'a self, memory: &'a M) -> Objects<'a, M> {
        Objects {
            memory,
            python: &self.python,
        }
    }

    /// Starts a new sample: what was cached is looked at again before it is believed, and what may
    /// be read is counted anew.
    pub fn begin_sample(&mut self) {
        self.codes.begin_sample();
        self.named.clear();
        self.left = Left::default();
    }

    /// Lists the threads of all interpreters. `tasks` gives the process's tasks as pairs of the id
    /// in its own PID namespace and the id in ours; it is asked when a thread is none that was
    /// known.
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads<T: IntoIterator<Item = (Tid, Tid)>>(
        &mut self,
        memory: &impl RemoteMemory,
        tasks: impl FnMut() -> T,
    ) -> Result<ThreadList, SampleError> {
        let (python, ids) = (&self.python, &mut self.ids);
        self.left.within(memory, |memory| {
            let mut list = list_threads(memory, python)?;
            identify_threads(memory, ids, tasks, &mut list.threads);
            Ok(list)
        })
    }

    /// Pass 1: the addresses of a thread's frames, leaf first.
    ///
    /// # Errors
    /// When the chain cannot be followed, or too much was read in this sample already; `stack` then
    /// holds what was read before.
    pub fn walk(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        stack: &mut Vec<RawFrame>,
    ) -> Result<(), ReadError> {
        self.left.within(memory, |memory| {
            frame::walk(memory, &self.python, &thread.state, stack)
        })
    }

    /// A thread's name as `threading` has it; `None` for a thread that it does not know. Asked
    /// again and again, this reads only what changed; an unknown thread is looked for once a sample.
    pub fn thread_name(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
    ) -> Option<Arc<str>> {
        let interpreter = thread.state.interpreter.addr;
        let known = self.names.name(interpreter, thread.state.pthread_id);
        if known.is_some() || !self.named.insert(interpreter) {
            return known;
        }
        let (python, names) = (&self.python, &mut self.names);
        let refreshed = self.left.within(memory, |memory| {
            names.refresh(&Objects { memory, python }, interpreter)
        });
        if let Err(error) = refreshed {
            debug!("names of threads: {error}");
        }
        self.names.name(interpreter, thread.state.pthread_id)
    }

    /// Copies a thread's state once more, after the thread may have moved.
    ///
    /// # Errors
    /// When it cannot be read, or is gone.
    pub fn look_again(
        &self,
        memory: &impl RemoteMemory,
        thread: &mut PythonThread,
    ) -> Result<(), ReadError> {
        let PythonThread { state, .. } = thread;
        *state = interpreter::thread(memory, &self.python, state.interpreter, state.addr)?;
        Ok(())
    }

    /// Whether a thread's innermost frame is still the one that it was when the thread was listed.
    pub fn is_at_same_frame(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        leaf: Option<&RawFrame>,
    ) -> bool {
        let python = &self.python;
        let now = self.left.within(memory, |memory| {
            let ThreadState {
                interpreter, addr, ..
            } = thread.state;
            interpreter::thread(memory, python, interpreter, addr)
                .and_then(|state| frame::innermost(memory, python, &state))
        });
        match (now, leaf) {
            (Ok(addr), Some(leaf)) if addr == leaf.addr => true,
            // The innermost frame may be a shim above the leaf: then the chain decides.
            (Ok(_), _) => {
                let mut again = Vec::new();
                self.walk(memory, thread, &mut again).is_ok() && again.first() == leaf
            }
            (Err(_), _) => false,
        }
    }

    /// Pass 2: names for the frames of a stack, `None` for one that runs no code object. Short
    /// filenames come later: see [`FrameTable::shorten_new`].
    ///
    /// # Errors
    /// When a code object cannot be read.
    pub fn resolve(
        &mut self,
        memory: &impl RemoteMemory,
        stack: &[RawFrame],
        frames: &mut FrameTable,
    ) -> Result<Vec<Option<FrameId>>, ReadError> {
        let (python, codes) = (&self.python, &mut self.codes);
        self.left.within(memory, |memory| {
            let objects = Objects { memory, python };
            let mut resolved = Vec::with_capacity(stack.len());
            for raw in stack {
                resolved.push(codes.resolve(objects, raw, frames)?);
            }
            Ok(resolved)
        })
    }

    /// The variables of a frame, as [`Objects::frame_locals`] reads them, within what all frames of
    /// a sample may take.
    ///
    /// # Errors
    /// When they cannot be read, or too much was read in this sample already.
    pub fn frame_locals(
        &self,
        memory: &impl RemoteMemory,
        frame: &RawFrame,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        let text = &self.left.text;
        if text.get() == 0 {
            return Err(ReadError::too_much("the variables of all frames"));
        }
        let locals = self.left.within(memory, |memory| {
            self.objects(memory)
                .frame_locals(frame.addr, frame.executable, options)
        })?;
        let length = |local: &Local| local.name.len() + local.value.len();
        let length: usize = locals.iter().map(length).sum();
        text.set(text.get().saturating_sub(length));
        Ok(locals)
    }
}

/// The threads of all interpreters, without the kernel's ids.
fn list_threads(memory: &impl RemoteMemory, python: &Python) -> Result<ThreadList, SampleError> {
    let mut list = ThreadList::default();
    for interpreter in interpreter::interpreters(memory, python)? {
        let known = list.threads.len();
        let (states, error) = interpreter::threads(memory, python, interpreter, known);
        list.errors.extend(error);
        let holder = gil::holder(memory, python, interpreter)?;
        let collection = gil::collection(memory, python, interpreter)?;
        list.threads.extend(states.into_iter().map(|state| {
            let owns_gil = holder == Some(state.addr);
            PythonThread {
                state,
                os_thread_id: None,
                owns_gil,
                collection,
            }
        }));
    }
    Ok(list)
}

/// Fills in the kernel's ids; looks at the process's tasks again when one is unknown.
fn identify_threads<T: IntoIterator<Item = (Tid, Tid)>>(
    memory: &impl RemoteMemory,
    ids: &mut ThreadIds,
    mut tasks: impl FnMut() -> T,
    threads: &mut [PythonThread],
) {
    for attempt in 0..2 {
        let states: Vec<ThreadState> = threads.iter().map(|thread| thread.state).collect();
        ids.learn(memory, &states);
        for thread in &mut *threads {
            thread.os_thread_id = ids.resolve(memory, &thread.state);
        }
        if attempt == 1 || threads.iter().all(|thread| thread.os_thread_id.is_some()) {
            return;
        }
        ids.set_tasks(tasks());
    }
}
