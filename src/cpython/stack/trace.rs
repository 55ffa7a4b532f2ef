//! [`StackTrace`]: one thread and its frames, at one moment.

use std::sync::Arc;

use crate::cpython::code::frame_table::FrameId;
use crate::os::Tid;

/// What is known of a Python thread besides its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// The kernel's id of the thread, in our PID namespace; `None` when it could not be told which
    /// of the process's threads this is.
    pub os_thread_id: Option<Tid>,
    /// `thread_id` of the thread state: the `pthread_t`, and `threading.Thread.ident`.
    pub pthread_id: u64,
    /// `threading.Thread.name`.
    pub name: Option<Arc<str>>,
    /// Ids of the interpreters whose frames the stack holds, the innermost one's first. Nearly
    /// always one; 0 is the main interpreter.
    pub interpreter_ids: Vec<i64>,
    /// On a CPU or waiting for one when we looked, by the kernel's word.
    pub active: bool,
    /// Waits for a CPU, of the active ones; `false` where the kernel does not tell. A thread that has
    /// just woken up waits too, with the stack that it slept in.
    pub waits_for_cpu: bool,
    /// Holds the GIL (of its own interpreter).
    pub owns_gil: bool,
    /// Runs a garbage collection.
    pub collecting: bool,
    /// The process's first thread.
    pub is_main: bool,
    /// Nanoseconds that the thread spent on a CPU since it was last looked at. Of a thread that is
    /// new since the last look: all that it has used, but no more than the time since then. `None`
    /// in the first look at a process, and where the kernel does not count.
    pub cpu_ns: Option<u64>,
    /// Page faults of the thread, minor and major, since it was last asked for them. Of a thread that
    /// is new: all that it ever had. `None` when it was not asked, because the process's resident
    /// memory stood still or the thread has not run, and where the kernel does not tell.
    pub faults: Option<u64>,
}

/// One thread's stack, leaf first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackTrace {
    /// Whose stack this is.
    pub thread: ThreadInfo,
    /// The frames, leaf first. Empty for a thread that runs no Python.
    pub frames: Arc<[FrameId]>,
}
