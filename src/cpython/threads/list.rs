//! [`ThreadList`]: the Python threads of a process with their kernel ids.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::gc::{self, Collection};
use super::gil;
use super::interpreter::{self, ThreadState};
use super::tid_map::{OsThread, ThreadIds};
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::read::record::read_ptr;
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
    /// Whether the OS thread that `pthread_id` stands for has ended, and only the state is left. Up to 3.11 a
    /// program can run such a state on another thread (`PyThreadState_Swap`).
    pub has_ended: bool,
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
                has_ended: false,
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
    let mut missing = identify(memory, ids, threads);
    if threads
        .iter()
        .any(|thread| thread.os_thread_id.is_none() && !thread.has_ended)
    {
        ids.set_tasks(tasks());
        missing = identify(memory, ids, threads);
    }
    // A task can be left out of a list during which another one ends; then the next list differs.
    let known = threads.iter().filter_map(|thread| thread.os_thread_id);
    if !missing.is_empty() && ids.tells_missing(known) && ids.set_tasks(tasks()) {
        for (number, thread) in threads.iter_mut().enumerate() {
            thread.has_ended |= missing.contains(&number);
        }
    }
}

/// Fills in the kernel ids as far as they are known. Returns the indices of the threads that have one which
/// is not that of a task.
fn identify(
    memory: &impl RemoteMemory,
    ids: &mut ThreadIds,
    threads: &mut [PythonThread],
) -> HashSet<usize> {
    if !ids.has_offset() {
        let states: Vec<ThreadState> = threads.iter().map(|thread| thread.state).collect();
        ids.find_offset(memory, &states);
    }
    let mut missing = HashSet::new();
    for (number, thread) in threads.iter_mut().enumerate() {
        let found = ids.resolve(memory, &thread.state);
        thread.has_ended = found == OsThread::Ended;
        thread.os_thread_id = match found {
            OsThread::Task(tid) => Some(tid),
            OsThread::Missing => {
                missing.insert(number);
                None
            }
            OsThread::Ended | OsThread::Unknown => None,
        };
    }
    missing
}

/// Leaves out the threads that have ended while the interpreter is being finalized. Up to 3.8 a daemon thread
/// that asks for the GIL then ends, and its state stays in the list (`PyEval_RestoreThread` in Python/ceval.c
/// of v3.8.18). No thread can go on with such a state; without finalization one might.
pub(crate) fn leave_out_ended(
    memory: &impl RemoteMemory,
    python: &Runtime,
    threads: &mut Vec<PythonThread>,
) {
    let is_left = |thread: &PythonThread| thread.has_ended && !thread.owns_gil;
    let Some(variable) = python.roots.finalizing else {
        return;
    };
    if threads.iter().any(is_left)
        && let Ok(finalizing) = read_ptr(memory, variable)
        && !finalizing.is_null()
    {
        threads.retain(|thread| !is_left(thread) || thread.state.addr == finalizing);
    }
}
