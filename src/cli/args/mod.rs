//! The command line as typed: raw arguments, spelled as py-spy's. [`super::options`] checks and resolves
//! them.

pub mod core;
pub mod doctor;
pub mod usage;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::os::Pid;
use crate::output::format::Format;
use crate::output::min_width::MinWidth;
use crate::output::table_options::SortKey;
use crate::output::table_options::selector::FunctionName;
use core::CoreArgs;
use doctor::{DOCTOR_EXAMPLES, DoctorArgs};
use values::{Delay, DumpFormat, EngineChoice, RecordFor};
use values::{format_parser, parse_delay, parse_duration, parse_pid, parse_rate, sort_parser};

const DUMP_EXAMPLES: &str = "\
Examples:
  pyspy-rs dump --pid 8172             what every thread is doing
  pyspy-rs dump --pid 8172 --locals    with arguments and local variables
  pyspy-rs dump --pid 7 --in-container web1
  pyspy-rs dump --core core.8172       what they were doing at the crash
  pyspy-rs dump --pid 8172 --json | jq '.[].thread_name'
  pyspy-rs dump --pid 8172 --format json | jq '.processes[].memory.rss_bytes'";

const RECORD_EXAMPLES: &str = "\
Examples:
  pyspy-rs record -o profile.svg --pid 8172 -d 30
  pyspy-rs record -o profile.svg -- python3 app.py --its-option
  pyspy-rs record -o profile.speedscope.json -r 500 -s -- python3 app.py
  pyspy-rs record -o memory.timeline.svg --pid 8172
  pyspy-rs record -f lines --only Thing.load --pid 8172 -d 30";

const TOP_EXAMPLES: &str = "\
Examples:
  pyspy-rs top --pid 8172
  pyspy-rs top --pid 8172 --once | grep GIL:
  pyspy-rs top --delay 0.5 -- python3 app.py --its-option";

const MEMORY_EXAMPLES: &str = "\
Examples:
  pyspy-rs memory --pid 8172
  pyspy-rs memory -o memory.svg -- python3 app.py --its-option
  pyspy-rs memory --pid 8172 --delay 10 | tee memory.txt";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  pyspy-rs completions bash > /etc/bash_completion.d/pyspy-rs
  pyspy-rs completions zsh > ~/.zfunc/_pyspy-rs";

const MAN_EXAMPLES: &str = "\
Examples:
  pyspy-rs man record | man -l -
  pyspy-rs man > /usr/local/share/man/man1/pyspy-rs.1";

const ROOT_EXAMPLES: &str = "\
Examples:
  pyspy-rs dump --pid 8172
  pyspy-rs record -o profile.svg -- python3 app.py

Run `pyspy-rs COMMAND --help` for the options of a command.";

/// Sampling profiler and memory observer for running Python programs
#[derive(Debug, Parser)]
#[command(
    name = "pyspy-rs",
    version,
    // py-spy accepts abbreviated commands (`py-spy rec`), so scripts use them.
    infer_subcommands = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 80,
    after_help = ROOT_EXAMPLES
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Log to stderr (-vv for debug output)
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Other", display_order = 900)]
    pub verbose: u8,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Other", display_order = 901)]
    pub help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Other", display_order = 902)]
    pub version: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record where a program spends its time (flame graph or another format)
    #[command(
        after_help = RECORD_EXAMPLES,
        override_usage = "pyspy-rs record [OPTIONS] [-- PROGRAM ARGS...]"
    )]
    Record(RecordArgs),
    /// Show live which functions take the most time
    #[command(
        after_help = TOP_EXAMPLES,
        override_usage = "pyspy-rs top [OPTIONS] [-- PROGRAM ARGS...]"
    )]
    Top(TopArgs),
    /// Plot live a program's memory, whether it leaks, and which functions allocate it
    #[command(
        after_help = MEMORY_EXAMPLES,
        // It abbreviated it before `man` existed.
        alias = "m",
        override_usage = "pyspy-rs memory [OPTIONS] [-- PROGRAM ARGS...]"
    )]
    Memory(MemoryArgs),
    /// Print what every thread of a program is doing now
    // `d` abbreviated it before `doctor` existed.
    #[command(after_help = DUMP_EXAMPLES, alias = "d")]
    Dump(DumpArgs),
    /// Check whether a process can be profiled, and print a report to attach to a bug
    #[command(
        after_help = DOCTOR_EXAMPLES,
        override_usage = "pyspy-rs doctor [OPTIONS] [PID]"
    )]
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a manual page
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// PID of the running process, in decimal or 0x hex [default: the only running Python
    /// process]
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    pub pid: Option<Pid>,

    /// Interpret --pid inside this container: ID or ID prefix, hostname, pod UID, or PID (as seen
    /// here) of any process in it; without --pid, use its only Python process
    #[arg(long, value_name = "CONTAINER", help_heading = "Target")]
    pub in_container: Option<String>,

    #[command(flatten)]
    pub core: CoreArgs,

    /// Include child processes
    #[arg(short, long, help_heading = "Target")]
    pub subprocesses: bool,

    /// Do not pause the program: no delay, but a stack or variable may change while it is
    /// read
    #[arg(long, help_heading = "Target")]
    pub nonblocking: bool,

    /// Not available yet: stacks have Python frames only. Accepted for scripts that use py-spy
    #[arg(short, long, help_heading = "Output")]
    pub native: bool,

    /// Print the threads as JSON, in the format of py-spy
    #[arg(short, long, help_heading = "Output", conflicts_with = "format")]
    pub json: bool,

    /// What to print; json: all of the dump, with memory, interpreters and errors
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub format: DumpFormat,

    /// Show arguments and local variables of each frame (-ll: longer values)
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub locals: u8,

    /// Show secrets in command lines and variables instead of <redacted>
    #[arg(long, help_heading = "Output")]
    pub show_secrets: bool,

    /// Show full paths instead of paths below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,
}

/// The process of `record`, `top` and `memory`.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Python program to launch, with its arguments; put `--` before it
    #[arg(value_name = "PROGRAM", help_heading = "Target", num_args = 0..)]
    pub program: Vec<OsString>,

    /// PID of the running process, in decimal or 0x hex [default: the only running Python
    /// process]
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    pub pid: Option<Pid>,

    /// Interpret --pid inside this container: ID or ID prefix, hostname, pod UID, or PID (as seen
    /// here) of any process in it; without --pid, use its only Python process
    #[arg(long, value_name = "CONTAINER", help_heading = "Target")]
    pub in_container: Option<String>,

    /// Include child processes
    #[arg(short, long, help_heading = "Target")]
    pub subprocesses: bool,
}

/// How `record` and `top` sample.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// Samples per second [default: 100; 1000 with --memory where the program is paused]
    #[arg(short, long, value_name = "RATE", help_heading = "Sampling",
          allow_negative_numbers = true, value_parser = parse_rate)]
    pub rate: Option<u32>,

    /// Include only threads that hold the GIL
    #[arg(short, long, help_heading = "Sampling")]
    pub gil: bool,

    /// Include idle threads
    #[arg(short, long, help_heading = "Sampling")]
    pub idle: bool,

    /// Weight samples by on-CPU time: nanoseconds since the thread's previous sample
    #[arg(long, help_heading = "Sampling")]
    pub cpu: bool,

    /// Show garbage collections, as <GC> (Python 3.7+)
    #[arg(long, help_heading = "Sampling")]
    pub gc: bool,

    /// Do not pause the program: no delay; a stack that changes while it is read is retried,
    /// then dropped and counted as torn
    #[arg(long, help_heading = "Sampling")]
    pub nonblocking: bool,

    /// Who takes the samples; auto: the kernel where it can; kernel: a BPF program in timer interrupts,
    /// page faults and context switches, nothing is paused (needs root); pause: threads are paused while they are read; read: as
    /// --nonblocking
    #[arg(
        long,
        value_enum,
        value_name = "ENGINE",
        default_value_t,
        conflicts_with = "nonblocking",
        hide_possible_values = true,
        help_heading = "Sampling"
    )]
    pub engine: EngineChoice,

    /// Not available yet: stacks have Python frames only. Accepted for scripts that use py-spy
    #[arg(short, long, help_heading = "Sampling")]
    pub native: bool,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// Weight stacks by RSS growth (bytes) instead of samples
    #[arg(short, long, help_heading = "Sampling")]
    pub memory: bool,

    /// Weight stacks by wall-clock time: nanoseconds of all threads, also of those that wait
    #[arg(long, help_heading = "Sampling", conflicts_with_all = ["cpu", "gil", "memory"])]
    pub wall: bool,

    /// Seconds to record; a launched program is then terminated
    #[arg(short, long, value_name = "SECONDS", default_value = "unlimited",
          value_parser = parse_duration, allow_negative_numbers = true, help_heading = "Sampling")]
    pub duration: RecordFor,

    /// Output file; `-` is stdout [default: a name with the program and the time; stdout for
    /// tables]
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Output format [default: by the file extension, else flamegraph]
    #[arg(short, long, ignore_case = true, value_parser = format_parser(), help_heading = "Output")]
    pub format: Option<Format>,

    /// Also write the recording's counts, rates, errors and memory figures as JSON; `-` is stdout
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub summary: Option<PathBuf>,

    /// In a table, show only this function: `load`, `Thing.load` or `app.py:load`; `*` matches
    /// any text; repeatable
    #[arg(long, value_name = "FUNCTION", help_heading = "Output")]
    pub only: Vec<FunctionName>,

    /// Sort a table by this column [default: own; own-growth with --memory]
    #[arg(long, value_name = "COLUMN", ignore_case = true, value_parser = sort_parser(),
          help_heading = "Output")]
    pub sort: Option<SortKey>,

    /// Aggregate by function instead of by line (frames have the function's first line)
    #[arg(
        short = 'F',
        long,
        help_heading = "Output",
        conflicts_with = "nolineno"
    )]
    pub function: bool,

    /// Narrowest frame of a flame graph: pixels of 1200, or percent such as 0.5% [default: 0.1]
    #[arg(long, value_name = "WIDTH", help_heading = "Output")]
    pub min_width: Option<MinWidth>,

    /// Omit line numbers
    #[arg(long, help_heading = "Output")]
    pub nolineno: bool,

    /// Add a root frame per thread, with its ID and name
    #[arg(short, long, help_heading = "Output")]
    pub threads: bool,

    /// Show full paths instead of paths below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,

    /// Show secrets in command lines and source lines instead of <redacted>
    #[arg(long, help_heading = "Output")]
    pub show_secrets: bool,

    /// Hide the progress bar
    #[arg(long, help_heading = "Output")]
    pub hideprogress: bool,

    /// Capture the output of a launched program, and print its last lines if the program fails
    #[arg(long, help_heading = "Output")]
    pub capture: bool,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// Seconds between refreshes, or between frames if stdout is not a terminal
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = parse_delay, allow_negative_numbers = true,
          help_heading = "Output")]
    pub delay: Delay,

    /// Stop after so many refreshes; a launched program is then terminated
    #[arg(long, value_name = "N", help_heading = "Output",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub refreshes: Option<u64>,

    /// Stop after the first refresh
    #[arg(long, help_heading = "Output", conflicts_with = "refreshes")]
    pub once: bool,

    /// Show full paths instead of paths below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,

    /// Show secrets in command lines instead of <redacted>
    #[arg(long, help_heading = "Output")]
    pub show_secrets: bool,
}

/// Arguments of `memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Samples per second [default: 100; 1000 where the program is paused]
    #[arg(short, long, value_name = "RATE", help_heading = "Sampling",
          allow_negative_numbers = true, value_parser = parse_rate)]
    pub rate: Option<u32>,

    /// Do not pause the program: no delay; a stack that changes while it is read is retried,
    /// then dropped and counted as torn
    #[arg(long, help_heading = "Sampling")]
    pub nonblocking: bool,

    /// Who takes the samples; auto: the kernel where it can; kernel: a BPF program in timer interrupts,
    /// page faults and context switches, nothing is paused (needs root); pause: threads are paused while they are read; read: as
    /// --nonblocking
    #[arg(
        long,
        value_enum,
        value_name = "ENGINE",
        default_value_t,
        conflicts_with = "nonblocking",
        hide_possible_values = true,
        help_heading = "Sampling"
    )]
    pub engine: EngineChoice,

    /// Seconds to record; a launched program is then terminated
    #[arg(short, long, value_name = "SECONDS", default_value = "unlimited",
          value_parser = parse_duration, allow_negative_numbers = true, help_heading = "Sampling")]
    pub duration: RecordFor,

    /// File to write at the end: a timeline (.svg), or a format of `record` by its extension
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Seconds between refreshes, or between lines if stdout is not a terminal
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = parse_delay, allow_negative_numbers = true,
          help_heading = "Output")]
    pub delay: Delay,

    /// Show full paths instead of paths below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,

    /// Show secrets in command lines instead of <redacted>
    #[arg(long, help_heading = "Output")]
    pub show_secrets: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Command [default: pyspy-rs itself]
    pub command: Option<String>,
}

impl Command {
    /// Whether `--native` is given.
    pub fn asks_for_native(&self) -> bool {
        match self {
            Command::Record(args) => args.sampling.native,
            Command::Top(args) => args.sampling.native,
            Command::Dump(args) => args.native,
            Command::Memory(_) | Command::Doctor(_) => false,
            Command::Completions(_) | Command::Man(_) => false,
        }
    }

    /// The process that is chosen by --pid although there is also a program to launch, and that program.
    pub fn ignored_program(&self) -> Option<(Pid, &OsString)> {
        let target = match self {
            Command::Record(args) => &args.target,
            Command::Top(args) => &args.target,
            Command::Memory(args) => &args.target,
            Command::Dump(_) | Command::Doctor(_) => return None,
            Command::Completions(_) | Command::Man(_) => return None,
        };
        Some((target.pid?, target.program.first()?))
    }
}
