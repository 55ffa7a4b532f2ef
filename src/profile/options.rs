//! [`ProfileOptions`] with its [`Selection`] and [`Weights`], [`Counts`] and [`ProcessLabel`].

use std::sync::Arc;

use crate::os::Pid;

pub use crate::sampler::capture::options::TimeWeight;

/// Which threads are counted, and what of them. The default is active threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Count idle threads too (`--idle`).
    pub idle: bool,
    /// Count only threads that hold the GIL (`--gil`).
    pub gil_only: bool,
    /// A `<GC>` leaf during garbage collections (`--gc`).
    pub collections: bool,
}

/// What stacks are weighed by. The default is their samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Nanoseconds. `profile/ingest.rs` has a table of the combinations with [`Selection`].
    pub time: Option<TimeWeight>,
    /// RSS growth, which is attributed to stacks (`--memory`).
    pub rss: bool,
}

impl Weights {
    /// On-CPU time alone.
    pub const CPU_TIME: Weights = Weights {
        time: Some(TimeWeight::Cpu),
        rss: false,
    };
    /// RSS growth alone.
    pub const RSS: Weights = Weights {
        time: None,
        rss: true,
    };
}

/// What a profile records of the samples, and how it labels them. The default is that of `record` without
/// options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileOptions {
    /// Labels include the line, so that one function at two lines is two entries. Off with
    /// `--nolineno`.
    pub show_line_numbers: bool,
    /// Labels have the first line of the function instead of the current one (`--function`).
    pub function_only: bool,
    /// A root frame per thread, below those of the processes (`--threads`).
    pub show_threads: bool,
    /// Full paths in the labels, not relative to the import root (`--full-filenames`).
    pub full_filenames: bool,
    /// Which threads are counted.
    pub selection: Selection,
    /// What stacks are weighed by.
    pub weights: Weights,
    /// A root frame per process (`--subprocesses`).
    pub subprocesses: bool,
    /// Record the order of the samples, which some formats need.
    pub timeline: bool,
    /// Distinguish functions of one name in one file by the line on which they start, as tables of
    /// functions and lines need it.
    pub keep_first_lines: bool,
    /// Planned samples per second.
    pub rate_hz: u32,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        ProfileOptions {
            show_line_numbers: true,
            function_only: false,
            show_threads: false,
            full_filenames: false,
            selection: Selection::default(),
            weights: Weights::default(),
            subprocesses: false,
            timeline: false,
            keep_first_lines: false,
            rate_hz: 100,
        }
    }
}

/// Numbers of samples. Each thread at each tick is in exactly one of `samples`, `idle`,
/// `without_gil` and `without_python`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All ticks.
    pub ticks: u64,
    /// Ticks that were skipped because an earlier one took too long.
    pub missed_ticks: u64,
    /// Stack traces that were counted.
    pub samples: u64,
    /// Nanoseconds of these, with [`Weights::time`].
    pub time_ns: u64,
    /// Those of `samples` without a time, with [`Weights::time`]: the first sample has no earlier reading to
    /// subtract.
    pub without_time: u64,
    /// Left out because the thread was idle; `--idle` counts them.
    pub idle: u64,
    /// Left out because the thread did not hold the GIL, with `--gil`.
    pub without_gil: u64,
    /// Left out because the thread ran no Python.
    pub without_python: u64,
    /// Processes or threads that could not be read at a tick.
    pub errors: u64,
    /// Torn stacks, which changed while they were read and were left out; not among the errors.
    pub torn: u64,
}

/// The label of a process in the frames of `--subprocesses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessLabel {
    /// The process ID that the frame shows.
    pub pid: Pid,
    /// Its parent if that is sampled too; the parent's frame is then above.
    pub parent: Option<Pid>,
    /// The command line, words joined with spaces.
    pub command: Arc<str>,
}
