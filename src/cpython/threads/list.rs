//! [`ThreadList`]: the Python threads of a process with their kernel ids.

use std::collections::HashMap;
use std::hash::Hash;

use super::gc::{self, Collection};
use super::gil;
use super::interpreter::{self, ThreadState};
use super::tid_map::ThreadIds;
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::runtime::Runtime;
use crate::os::Tid;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum number of thread states of one OS thread that are read. A thread has one in each interpreter that
/// it is inside of; an embedder, or a fork that CPython has not noticed, may leave some more.
const MAX_STATES: usize = interpreter::MAX_READ;

/// A thread in the interpreter's list.
#[derive(Clone, Debug)]
pub struct PythonThread {
    /// Its state.
    pub state: ThreadState,
    /// Its kernel thread; `None` if unknown.
    pub os_thread_id: Option<Tid>,
    /// Whether it holds its interpreter's GIL.
    pub owns_gil: bool,
    /// The GIL, where each interpreter can have its own: see [`gil::lock_of`].
    pub(crate) lock: Option<RemoteAddr>,
    /// The garbage collection that its interpreter runs, on this or another thread.
    pub(crate) collection: Option<Collection>,
}

impl PythonThread {
    /// Its name in messages.
    pub fn label(&self) -> String {
        self.os_thread_id.map_or_else(
            || format!("thread {:#x}", self.state.pthread_id),
            |tid| format!("thread {tid}"),
        )
    }

    /// Whether this thread, with this stack, runs the interpreter's garbage collection: its stack
    /// contains the frame in which that started or, in versions without that field, it holds the GIL.
    pub fn collects(&self, stack: &[RawFrame]) -> bool {
        match self.collection {
            Some(Collection { frame: Some(frame) }) => stack.iter().any(|own| own.addr == frame),
            Some(Collection { frame: None }) => self.owns_gil,
            None => false,
        }
    }
}

/// The threads of all interpreters, newest interpreter first, newest thread first.
#[derive(Debug, Default)]
pub struct ThreadList {
    /// The threads.
    pub threads: Vec<PythonThread>,
    /// One error for each interpreter whose list could not be read to its end.
    pub errors: Vec<ReadError>,
    /// What was left out because there is too much of it, one message each.
    pub left_out: Vec<String>,
    /// See [`Ends`].
    pub(crate) ends: Ends,
}

/// Where the list of each interpreter's threads ended: the address of the interpreter, and that of the oldest
/// state, of a main thread as a rule. A state that is freed while it is read may have no `next`, and then the
/// list ends there without an error. The true end is the same in the list before, or when read again.
pub(crate) type Ends = Vec<(RemoteAddr, Option<RemoteAddr>)>;

impl ThreadList {
    /// Leaves out the states beyond [`MAX_STATES`] of each OS thread, which `thread` names as far as it is
    /// known: a list of 100,000 states of one thread would be that thread's stack 100,000 times.
    pub(crate) fn cap_states<K: Hash + Eq>(&mut self, thread: impl Fn(&PythonThread) -> Option<K>) {
        let all = self.threads.len();
        if all <= MAX_STATES {
            return;
        }
        let mut counts: HashMap<K, usize> = HashMap::new();
        self.threads.retain(|one| {
            let Some(key) = thread(one) else {
                return true;
            };
            let count = counts.entry(key).or_default();
            *count += 1;
            *count <= MAX_STATES
        });
        if self.threads.len() < all {
            let left_out = all - self.threads.len();
            self.left_out.push(format!(
                "{left_out} of {all} thread states are not read: one OS thread has more than {MAX_STATES}"
            ));
        }
    }
}

/// The threads of all interpreters, without kernel ids.
pub(crate) fn list_threads(
    memory: &impl RemoteMemory,
    python: &Runtime,
) -> Result<ThreadList, SampleError> {
    let mut list = ThreadList::default();
    let mut interpreters = interpreter::interpreters(memory, python)?;
    let all = interpreters.len();
    if all > interpreter::MAX_READ {
        // The last one is the main interpreter.
        interpreters.drain(interpreter::MAX_READ - 1..all - 1);
        list.left_out.push(format!(
            "only {} of {all} interpreters are read",
            interpreters.len()
        ));
    }
    for interpreter in interpreters {
        let known = list.threads.len();
        let (states, error) = interpreter::threads(memory, python, interpreter, known);
        list.errors.extend(error);
        let oldest = states.last().map(|state| state.addr);
        list.ends.push((interpreter.addr, oldest));
        let lock = gil::lock_of(memory, python, interpreter)?;
        let holder = gil::holder(memory, python, lock)?;
        let collection = gc::collection(memory, python, interpreter)?;
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

/// Fills in the kernel ids; reads the list of tasks again if one is unknown.
pub(crate) fn identify_threads<T: IntoIterator<Item = (Tid, Tid)>>(
    memory: &impl RemoteMemory,
    ids: &mut ThreadIds,
    mut tasks: impl FnMut() -> T,
    threads: &mut [PythonThread],
) {
    for attempt in 0..2 {
        if !ids.has_offset() {
            let states: Vec<ThreadState> = threads.iter().map(|thread| thread.state).collect();
            ids.find_offset(memory, &states);
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
