//! [`ProfileOptions`], [`Counts`], [`ProcessLabel`]: what a profile is asked for and answers.

use std::sync::Arc;

use crate::os::Pid;

/// What a profile keeps of the samples, and how it calls it. The default is that of `record`
/// without options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileOptions {
    /// Lines are part of what is shown, so that one function at two lines is two entries. Off
    /// under `--nolineno`.
    pub show_line_numbers: bool,
    /// A function's first line stands for whichever line ran (`--function`).
    pub function_only: bool,
    /// A frame per thread, below those of the processes (`--threads`).
    pub show_threads: bool,
    /// Whole paths in the labels, not only the part below the import root (`--full-filenames`).
    pub full_filenames: bool,
    /// Count only the threads that hold the GIL (`--gil`).
    pub gil_only: bool,
    /// Count threads that wait, too (`--idle`).
    pub include_idle: bool,
    /// Weigh samples by nanoseconds on a CPU (`--cpu`). How this and the two above go together is
    /// told in `profile/add.rs`.
    pub cpu_time: bool,
    /// Lay the growth of resident memory on stacks, and weigh these by it (`--memory`).
    pub memory: bool,
    /// A `<GC>` leaf while a garbage collection runs (`--gc`).
    pub show_collections: bool,
    /// A frame per process (`--subprocesses`).
    pub subprocesses: bool,
    /// Keep the order of the samples, which some formats need.
    pub timeline: bool,
    /// Tell functions of one name in one file apart by the line on which they start, as tables of
    /// functions and of their lines need it.
    pub keep_first_lines: bool,
    /// Planned samples per second; a sample stands for one over this many seconds.
    pub rate_hz: u32,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        ProfileOptions {
            show_line_numbers: true,
            function_only: false,
            show_threads: false,
            full_filenames: false,
            gil_only: false,
            include_idle: false,
            cpu_time: false,
            memory: false,
            show_collections: false,
            subprocesses: false,
            timeline: false,
            keep_first_lines: false,
            rate_hz: 100,
        }
    }
}

/// How much was counted. Each thread at each tick is in exactly one of `samples`, `idle`,
/// `without_gil` and `without_python`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ticks, whatever they showed.
    pub ticks: u64,
    /// Ticks that had to be left out because an earlier one took too long.
    pub missed_ticks: u64,
    /// Threads' stacks that are in the profile.
    pub samples: u64,
    /// Nanoseconds on a CPU that these stacks weigh, under `--cpu`.
    pub cpu_ns: u64,
    /// Those of `samples` that the kernel told no time for, under `--cpu`: in the first look it has
    /// nothing to be counted from.
    pub without_time: u64,
    /// Left out because the thread waited; `--idle` shows them.
    pub idle: u64,
    /// Left out because the thread did not hold the GIL, under `--gil`.
    pub without_gil: u64,
    /// Left out because the thread ran no Python.
    pub without_python: u64,
    /// Processes or threads that could not be read at a tick.
    pub errors: u64,
    /// Stacks that were left out because they changed while they were read; not among the errors.
    pub torn: u64,
}

/// How a process is called in the frames of `--subprocesses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessLabel {
    /// Which process.
    pub pid: Pid,
    /// Its parent, where that is looked at too; its frame then is above.
    pub parent: Option<Pid>,
    /// The command line, words joined with spaces.
    pub command: Arc<str>,
}
