//! [`ThreadList`]: the Python threads of a process, with what its interpreters and the kernel call them.

use super::gil::{self, Collection};
use super::interpreter::{self, ThreadState};
use super::tid_map::ThreadIds;
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::runtime::Runtime;
use crate::os::Tid;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// A thread of the interpreter, as its lists have it.
#[derive(Clone, Debug)]
pub struct PythonThread {
    /// Its state.
    pub state: ThreadState,
    /// Which kernel thread it is; `None` when that could not be told.
    pub os_thread_id: Option<Tid>,
    /// Whether it holds its interpreter's GIL.
    pub owns_gil: bool,
    /// That GIL, where each interpreter may have one: see [`gil::lock_of`].
    pub(crate) lock: Option<RemoteAddr>,
    /// The garbage collection that its interpreter runs, on this thread or on another.
    pub(crate) collection: Option<Collection>,
}

impl PythonThread {
    /// What it is called in messages.
    pub fn label(&self) -> String {
        self.os_thread_id.map_or_else(
            || format!("thread {:#x}", self.state.pthread_id),
            |tid| format!("thread {tid}"),
        )
    }

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

/// The threads of all interpreters, without the kernel's ids.
pub(crate) fn list_threads(
    memory: &impl RemoteMemory,
    python: &Runtime,
) -> Result<ThreadList, SampleError> {
    let mut list = ThreadList::default();
    for interpreter in interpreter::interpreters(memory, python)? {
        let known = list.threads.len();
        let (states, error) = interpreter::threads(memory, python, interpreter, known);
        list.errors.extend(error);
        let lock = gil::lock_of(memory, python, interpreter)?;
        let holder = gil::holder(memory, python, lock)?;
        let collection = gil::collection(memory, python, interpreter)?;
        list.threads.extend(states.into_iter().map(|state| {
            let owns_gil = holder == Some(state.addr);
            PythonThread {
                state,
                os_thread_id: None,
                owns_gil,
                lock,
                collection,
            }
        }));
    }
    Ok(list)
}

/// Fills in the kernel's ids; looks at the process's tasks again when one is unknown.
pub(crate) fn identify_threads<T: IntoIterator<Item = (Tid, Tid)>>(
    memory: &impl RemoteMemory,
    ids: &mut ThreadIds,
    mut tasks: impl FnMut() -> T,
    threads: &mut [PythonThread],
) {
    for attempt in 0..2 {
        if !ids.has_learnt() {
            let states: Vec<ThreadState> = threads.iter().map(|thread| thread.state).collect();
            ids.learn(memory, &states);
        }
        for thread in &mut *threads {
            thread.os_thread_id = ids.resolve(memory, &thread.state);
        }
        if attempt == 1 || threads.iter().all(|thread| thread.os_thread_id.is_some()) {
            return;
        }
        ids.set_tasks(tasks());
    }
}
