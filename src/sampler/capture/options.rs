//! [`CaptureOptions`] and [`Snapshot`]: what a capture is to do, and its result.

use std::collections::HashMap;
use std::time::Duration;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// The time that one sample may wait for file systems to find the short names of new files.
pub const NAMING_LIMIT: Duration = Duration::from_millis(100);
/// How long a sample of one process may take.
pub const TIME_LIMIT: Duration = Duration::from_millis(250);
/// How long threads may be paused in it, all pauses together.
pub const PAUSE_LIMIT: Duration = Duration::from_millis(20);

/// Whether threads are paused while they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausing {
    /// Running threads are paused.
    Running,
    /// No thread is paused. A stack that changed while it was read is retried, then dropped and counted as
    /// torn.
    Never,
}

/// Which time of a thread its stacks are weighed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWeight {
    /// On a CPU (`--cpu`).
    Cpu,
    /// All of it, on a CPU or waiting (`--wall`).
    Wall,
}

impl TimeWeight {
    /// Behind an amount, as in `2.0 s on CPU`.
    pub fn suffix(self) -> &'static str {
        match self {
            TimeWeight::Cpu => "on CPU",
            TimeWeight::Wall => "of wall-clock time",
        }
    }

    /// Before an amount, as in `CPU: 2.0 s`.
    pub fn title(self) -> &'static str {
        match self {
            TimeWeight::Cpu => "CPU",
            TimeWeight::Wall => "Wall",
        }
    }
}

/// How to capture the stacks of a process.
#[derive(Clone, Copy, Debug)]
pub struct CaptureOptions {
    /// Whether threads are paused.
    pub pausing: Pausing,
    /// Whether to measure the time of each thread since its last stack, and which.
    pub time: Option<TimeWeight>,
    /// Whether to read resident memory in every sample, and page faults of the threads when it has
    /// changed.
    pub memory: bool,
    /// Whether a thread stays paused until its frames were inspected; else it is resumed as soon as its
    /// stack was copied, if the copy is enough.
    pub keep_paused: bool,
    /// Whether to read which thread holds the GIL, and which one collects garbage, together with each stack.
    /// Else that may be a millisecond old, as is the list of threads.
    pub fresh_gil_state: bool,
    /// Set when ticks were missed: accept the first consistent stack of a running thread instead of
    /// retrying for a matching leaf.
    pub skip_leaf_match: bool,
    /// How long the sample may take. What was not read by then is left out, with an error.
    pub time_limit: Duration,
    /// How long threads may be paused. Then all are resumed, and the rest is read as with
    /// [`Pausing::Never`].
    pub pause_limit: Duration,
}

impl CaptureOptions {
    /// Whether to read how long each thread has been on a CPU.
    pub fn reads_cpu_time(&self) -> bool {
        self.time == Some(TimeWeight::Cpu)
    }

    /// The same with so much time at most.
    pub fn within(self, time: Duration) -> CaptureOptions {
        CaptureOptions {
            time_limit: self.time_limit.min(time),
            ..self
        }
    }
}

impl Default for CaptureOptions {
    fn default() -> CaptureOptions {
        CaptureOptions {
            pausing: Pausing::Running,
            time: None,
            memory: false,
            keep_paused: false,
            fresh_gil_state: false,
            skip_leaf_match: false,
            time_limit: TIME_LIMIT,
            pause_limit: PAUSE_LIMIT,
        }
    }
}

/// The stacks of a process at one moment.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// The main thread's stack, then the others, oldest thread first.
    pub traces: Vec<StackTrace>,
    /// What [`Inspect`](super::inspect::Inspect) returned for each stack, in the same order; empty for a
    /// cached stack, whose thread has slept since the last sample.
    pub inspected: Vec<Vec<T>>,
    /// What could not be read. The other threads are not affected.
    pub errors: Vec<String>,
    /// Number of stacks that changed during every read and are left out.
    pub torn: u64,
    /// How long each thread that was paused had been paused, at most.
    pub pauses: Vec<Duration>,
    /// Whether a thread was read without the pause that it needed, as on a machine that is short of CPUs.
    pub pauses_fell_short: bool,
    /// Nanoseconds that each thread has been on a CPU since it started, if requested and counted by the
    /// kernel.
    pub on_cpu_ns: HashMap<Tid, u64>,
}
