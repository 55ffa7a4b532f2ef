//! [`Sample`]: what one tick saw.

use std::time::Duration;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Pid;

use super::resources::memory_poll::MemoryReading;

/// What one tick saw, in all processes that are looked at.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Time from the start of the recording to this look.
    pub elapsed: Duration,
    /// How late the look was against its plan.
    pub lateness: Duration,
    /// Ticks before this one that had to be left out because an earlier one took too long.
    pub missed_ticks: u64,
    /// The processes, parents before their children.
    pub processes: Vec<ProcessSample>,
    /// Processes or threads that could not be read this time. They cost neither the other threads
    /// nor the recording.
    pub errors: Vec<String>,
    /// What the user should know: the process that was asked for runs another program now. One line each.
    pub notices: Vec<String>,
    /// Stacks that were left out because they changed while they were read; not among the errors.
    pub torn: u64,
    /// What the processes have been found to hold besides their RSS, once a second at most; empty in
    /// all other samples, and without [`CaptureOptions::memory`](super::capture::options::CaptureOptions::memory).
    pub memory: Vec<MemoryReading>,
}

/// What one tick saw in one process.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    /// Which process.
    pub pid: Pid,
    /// Its threads, in a stable order.
    pub traces: Vec<StackTrace>,
    /// Resident set size at this tick, where it could be read.
    pub rss_bytes: Option<u64>,
    /// How much of that is new or gone since the last look, with [`CaptureOptions::memory`](super::capture::options::CaptureOptions::memory).
    /// `None` in the first look, and in one that missed a thread: its change is told with the next.
    pub rss_change: Option<RssChange>,
}

/// A change of a process's resident memory between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RssChange {
    /// New bytes or, negative, released ones. What was both in between does not show.
    pub bytes: i64,
    /// Those of them that came or went while this look was taken.
    pub during_sample: i64,
    /// For how long that was, in nanoseconds, but for the time that threads were paused.
    pub sample_ns: u64,
    /// Time since the end of the last look whose change was told, in nanoseconds.
    pub gap_ns: u64,
    /// The smallest change that was ever seen, in bytes: the kernel may add up late.
    pub granularity: u64,
    /// Page faults of threads that no stack is known of, in the same time and in the measure of
    /// [`ThreadInfo::faults`](crate::cpython::stack::trace::ThreadInfo::faults).
    pub other_faults: u64,
}
