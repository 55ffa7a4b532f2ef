//! The data of a dump: filled from a process or a core file, printed as text or JSON.

use std::collections::HashMap;
use std::time::Duration;

use crate::cpython::code::frame_table::Frame;
use crate::cpython::stack::trace::ThreadInfo;
use crate::cpython::threads::gil::InterpreterGil;
use crate::cpython::values::locals::Local;
use crate::os::core_file::Writer;
use crate::os::core_file::signal::Signal;
use crate::os::process::TargetProcess;
use crate::os::process::usage::PageFaults;
use crate::os::procfs::cgroup::memory::MemoryLimit;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::os::{Pid, Tid};
use crate::sampler::capture::locals::LocalsState;

/// One process in a dump.
#[derive(Clone, Debug)]
pub struct ProcessDump {
    pub pid: Pid,
    /// Of a child found by `--subprocesses`: PID and command line of its parent.
    pub parent: Option<(Pid, Vec<String>)>,
    pub command: Vec<String>,
    /// CPython's version, as in `3.11.7`.
    pub version: String,
    /// Whether its stacks have shims between a frame and the C code that called it (3.12+).
    pub has_shims: bool,
    pub executable: String,
    /// `None` when the system does not report it.
    pub memory: Option<MemoryDump>,
    /// Of a core file. Whether threads were active is then unknown.
    pub core: Option<CoreDump>,
    /// All interpreters, oldest first, including those without threads; empty when not readable.
    pub interpreters: Vec<InterpreterGil>,
    pub threads: Vec<ThreadDump>,
    /// Threads and structures that could not be read.
    pub errors: Vec<String>,
}

/// Facts that only a core file has.
#[derive(Clone, Debug)]
pub struct CoreDump {
    /// Its path, as given.
    pub file: String,
    pub writer: Writer,
    pub size_bytes: u64,
    /// Its size before it was truncated.
    pub whole_size_bytes: u64,
    /// The signal that ended the process, and the thread that received it.
    pub signal: Option<(Signal, Tid)>,
    /// All threads, including those without Python, and the number of each one's system call.
    pub system_calls: HashMap<Tid, Option<u32>>,
}

impl CoreDump {
    /// The signal, if this thread received it.
    pub fn signal_of(&self, tid: Option<Tid>) -> Option<Signal> {
        let (signal, hit) = self.signal?;
        (Some(hit) == tid).then_some(signal)
    }

    /// The number of a thread's system call; the outer `None` for an unknown thread.
    pub fn system_call_of(&self, tid: Option<Tid>) -> Option<Option<u32>> {
        self.system_calls.get(&tid?).copied()
    }
}

impl ProcessDump {
    /// The thread that holds an interpreter's GIL. Interpreters that share a GIL have the same holder. A
    /// thread inside several interpreters holds the GIL of the most recently entered one.
    pub fn gil_holder(&self, of: InterpreterGil) -> Option<Pid> {
        let gil = of.gil?;
        let shares = |id: &i64| {
            let mut all = self.interpreters.iter();
            all.any(|other| other.id == *id && other.gil == Some(gil))
        };
        let mut holders = self.threads.iter().map(|thread| &thread.info);
        let holder =
            holders.find(|info| info.owns_gil && info.interpreter_ids.first().is_some_and(shares));
        holder?.os_thread_id
    }
}

/// A process's memory and other resources. `None`: not reported by the system.
#[derive(Clone, Debug, Default)]
pub struct MemoryDump {
    pub rss_bytes: u64,
    /// Highest RSS since the start.
    pub peak_rss_bytes: Option<u64>,
    /// All threads, including those without Python.
    pub threads: Option<u64>,
    /// PSS and USS.
    pub shares: Option<MemoryFootprint>,
    pub swap_bytes: Option<u64>,
    /// The tightest limit of its control groups.
    pub limit: Option<MemoryLimit>,
    /// Time since the start.
    pub age: Option<Duration>,
    /// Whether it began with the memory of its parent, so that its growth since is not known.
    pub was_forked: bool,
    /// Page faults since the start.
    pub faults: Option<PageFaults>,
    /// Number of open file descriptors.
    pub open_files: Option<u64>,
    /// Limit of open file descriptors.
    pub max_open_files: Option<u64>,
}

/// Growth per minute is not shown for a younger process: loading is not a trend.
const A_MINUTE: Duration = Duration::from_secs(60);

impl MemoryDump {
    /// Current usage; `None` when the process has ended. Only PSS and USS take more than microseconds to
    /// read, and none of it blocks the process.
    pub fn of(target: &TargetProcess) -> Option<MemoryDump> {
        let memory = target.memory_usage().ok()?;
        Some(MemoryDump {
            rss_bytes: memory.rss_bytes,
            peak_rss_bytes: Some(memory.peak_rss_bytes),
            threads: Some(memory.threads).filter(|threads| *threads > 0),
            shares: target.memory_footprint().ok(),
            swap_bytes: memory.swap_bytes,
            limit: target.memory_limit(),
            age: target.age().ok(),
            was_forked: target.was_forked(),
            faults: target.page_faults().ok(),
            open_files: target.open_files().ok(),
            max_open_files: target.max_open_files(),
        })
    }

    /// RSS in bytes per minute of the process's life; `None` in its first minute, and for a process that
    /// was forked.
    pub fn growth_per_minute(&self) -> Option<f64> {
        if self.was_forked {
            return None;
        }
        let minutes = self.age.filter(|age| *age >= A_MINUTE)?.as_secs_f64() / 60.0;
        #[allow(
            clippy::cast_precision_loss,
            reason = "53 bits of bytes are 8 PiB, and the time is less exact"
        )]
        Some(self.rss_bytes as f64 / minutes)
    }
}

/// One Python thread in a dump.
#[derive(Clone, Debug)]
pub struct ThreadDump {
    pub info: ThreadInfo,
    /// Its frames, leaf first.
    pub frames: Vec<FrameDump>,
}

/// One frame in a dump.
#[derive(Clone, Debug)]
pub struct FrameDump {
    pub frame: Frame,
    /// Whether C called it: see [`RawFrame`](crate::cpython::frame::RawFrame::called_by_c).
    pub called_by_c: bool,
    /// `None` when not requested.
    pub locals: Option<LocalsDump>,
}

/// The variables of a frame in a dump.
#[derive(Clone, Debug)]
pub struct LocalsDump {
    /// In the code object's order; empty if they were omitted.
    pub variables: Vec<Local>,
    pub state: LocalsState,
}
