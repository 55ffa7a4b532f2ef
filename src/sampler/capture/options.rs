//! [`CaptureOptions`] and [`Snapshot`]: what is asked of a look at a process, and what it saw.

use std::collections::HashMap;
use std::time::Duration;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// Whether threads are paused while they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausing {
    /// Threads that run are paused: every stack is one that was.
    Running,
    /// Nothing is ever stopped. A stack that changed while it was read is tried again, then left
    /// out and counted.
    Never,
}

/// What [`capture`](super::capture) does.
#[derive(Clone, Copy, Debug)]
pub struct CaptureOptions {
    /// Whether threads are paused.
    pub pausing: Pausing,
    /// Whether the kernel is asked for how long each thread has been on a CPU.
    pub cpu_time: bool,
    /// Whether resident memory is read in every look, and page faults of the threads when it has
    /// changed.
    pub memory: bool,
    /// Whether a thread stays paused until its frames were inspected; else it is let go as soon as its
    /// stack was copied, if the copy is enough.
    pub keep_paused: bool,
    /// Whether it must be known who holds the GIL, and collects garbage, at this very moment. Else that
    /// may be a millisecond old, as the list of threads is.
    pub gil: bool,
    /// Whether looks were missed before this one. Then there is no time to wait for the stack of the very
    /// frame in which a thread was found that is not paused; another one that it had will do.
    pub skip_leaf_match: bool,
}

impl Default for CaptureOptions {
    fn default() -> CaptureOptions {
        CaptureOptions {
            pausing: Pausing::Running,
            cpu_time: false,
            memory: false,
            keep_paused: false,
            gil: false,
            skip_leaf_match: false,
        }
    }
}

/// What [`capture`](super::capture) saw.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// The stacks, the oldest thread first: the main thread, in the order of their start the others.
    pub traces: Vec<StackTrace>,
    /// What `inspect` made of each stack's frames, in the same order; nothing of a stack that was
    /// not read anew because its thread has slept since the last look.
    pub inspected: Vec<Vec<T>>,
    /// What could not be read. It cost neither the other threads nor the snapshot.
    pub errors: Vec<String>,
    /// Stacks that are left out because they changed whenever they were read.
    pub torn: u64,
    /// For how long each thread that was paused was held up, at most.
    pub pauses: Vec<Duration>,
    /// Nanoseconds that each thread has been on a CPU since it started, where that was asked for and
    /// the kernel counts.
    pub on_cpu_ns: HashMap<Tid, u64>,
}
