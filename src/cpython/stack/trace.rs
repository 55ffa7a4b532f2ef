//! [`StackTrace`]: one thread and its frames at one moment.

use std::sync::Arc;

use crate::cpython::code::frame_table::FrameId;
use crate::os::Tid;

/// A Python thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// The OS id of the thread in our PID namespace; `None` if it is not known which of the process's
    /// threads this is.
    pub os_thread_id: Option<Tid>,
    /// `thread_id` of the thread state: the `pthread_t`, and `threading.Thread.ident`.
    pub pthread_id: u64,
    /// `threading.Thread.name`.
    pub name: Option<Arc<str>>,
    /// Ids of the interpreters whose frames the stack holds, from the leaf on. Nearly always one; 0 is the
    /// main interpreter.
    pub interpreter_ids: Vec<i64>,
    /// Runnable when it was sampled: on a CPU or waiting for one, as reported by the kernel.
    pub active: bool,
    /// Active but waiting for a CPU; `false` where the kernel does not report it. A thread that has just
    /// woken up waits too, with the stack in which it slept.
    pub waits_for_cpu: bool,
    /// Holds the GIL (of its own interpreter).
    pub owns_gil: bool,
    /// Runs a garbage collection.
    pub collecting: bool,
    /// Its OS thread has ended, and only the interpreter's state of it is left.
    pub has_ended: bool,
    /// The process's first thread.
    pub is_main: bool,
    /// The time of the thread that its stack is weighed by, in nanoseconds: what it spent on a CPU since its last
    /// sample, or all that has passed since then; of a stack in which it has waited, how long it has. For a thread that is new since the
    /// last sample: its total, but at most the time since then. `None` in the first sample of a process, and
    /// where the kernel does not count.
    pub time_ns: Option<u64>,
    /// Page faults of the thread, minor and major, since they were last read. For a new thread: its total.
    /// `None` if they were not read, because the process's resident memory has not changed or the thread has
    /// not run, and where the kernel does not report them.
    pub faults: Option<u64>,
}

/// One thread's stack, leaf first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackTrace {
    /// The thread.
    pub thread: ThreadInfo,
    /// The frames, leaf first. Empty for a thread that runs no Python.
    pub frames: Arc<[FrameId]>,
}
