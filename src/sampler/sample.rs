//! [`Sample`]: the result of one tick.

use std::time::Duration;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Pid;
use crate::os::procfs::smaps::MemoryFootprint;

/// The result of one tick, for all sampled processes.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Time from the start of the recording to this sample.
    pub elapsed: Duration,
    /// Delay of the sample against its deadline.
    pub lateness: Duration,
    /// Ticks before this one that were skipped because an earlier sample took too long.
    pub missed_ticks: u64,
    /// The processes, parents before their children.
    pub processes: Vec<ProcessSample>,
    /// Processes or threads that could not be read at this tick. Other threads are not affected.
    pub errors: Vec<String>,
    /// Messages for the user, such as that the root process runs another program now. One line each.
    pub notices: Vec<String>,
    /// Stacks that are missing because they changed while they were read; not among the errors.
    pub torn: u64,
    /// Threads that were idle at this tick, beside those in `processes`: the kernel engine takes stacks of threads
    /// on a CPU only.
    pub idle: u64,
    /// Those of them that hold a GIL.
    pub idle_gils: u64,
    /// It is no tick, but what was left when the recording ended, such as growth since the last one.
    pub is_remainder: bool,
    /// Memory readings of the processes beside their RSS, at most once a second; every few seconds without
    /// [`CaptureOptions::memory`](super::capture::options::CaptureOptions::memory). Empty in all other samples.
    pub memory: Vec<MemoryReading>,
}

/// The result of one tick for one process.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    /// The process ID.
    pub pid: Pid,
    /// Its threads, in a stable order.
    pub traces: Vec<StackTrace>,
    /// RSS at this tick, if it could be read.
    pub rss_bytes: Option<u64>,
    /// The change of the RSS since the previous sample, with
    /// [`CaptureOptions::memory`](super::capture::options::CaptureOptions::memory). `None` in the first
    /// sample, and in one that lacks a thread: its change is included in the next.
    pub rss_change: Option<RssChange>,
    /// What it added since the last sample, one for each reading of its memory, where the kernel reports page faults with
    /// their stacks. Then `rss_change` has only what was released.
    pub fault_growth: Vec<FaultGrowth>,
}

/// The change of a process's resident memory between two readings, and the page faults in that time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultGrowth {
    /// Added or, if negative, released anonymous memory, in bytes.
    pub anonymous_change: i64,
    /// The same of mapped files and shared memory.
    pub file_change: i64,
    /// By how many bytes the kernel's counters may be behind.
    pub lag_bytes: u64,
    /// In order. What was released again by the time of the reading is not included.
    pub faults: Vec<FaultTrace>,
}

/// A page fault, or several of which one was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultTrace {
    pub source: FaultSource,
    /// How much memory was touched, in bytes.
    pub bytes: u64,
    /// Whether it is of a mapped file or of shared memory.
    pub is_file: bool,
}

/// What caused a page fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultSource {
    Python(StackTrace),
    /// A thread that runs no Python.
    NotPython,
    /// A thread whose stack could not be read.
    Unknown,
}

/// A change of a process's RSS between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RssChange {
    /// Bytes added or, if negative, released. Memory that was both added and released in between is not
    /// included.
    pub bytes: i64,
    /// The part of them that was added or released while the sample was taken.
    pub during_sample: i64,
    /// How long taking the sample took, without the time that threads were paused, in nanoseconds.
    pub sample_ns: u64,
    /// Time since the end of the last sample whose change was reported, in nanoseconds.
    pub gap_ns: u64,
    /// The smallest change observed so far, in bytes: the kernel updates the RSS in batches.
    pub granularity: u64,
    /// Page faults of threads without a stack, in the same time and the same unit as
    /// [`ThreadInfo::faults`](crate::cpython::stack::trace::ThreadInfo::faults).
    pub other_faults: u64,
}

/// Memory of a process beside its RSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReading {
    /// The process ID.
    pub pid: Pid,
    /// Its private, shared and swapped memory; `None` if the kernel does not report it.
    pub shares: Option<MemoryFootprint>,
    /// Its RSS at that time, in bytes.
    pub rss_bytes: u64,
    /// The part of it that is pages of mapped files, without shared memory, in bytes.
    pub file_bytes: u64,
    /// The part of it that is pages of shared memory, in bytes.
    pub shmem_bytes: u64,
    /// Its highest RSS ever (`VmHWM`), in bytes.
    pub peak_rss_bytes: u64,
}
