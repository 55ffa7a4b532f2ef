//! The command line as it is typed: raw arguments, in py-spy's spellings.
//!
//! Nothing is decided here; [`super::options`] turns these into what the commands work with.

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
use crate::output::tables::options::SortKey;
use crate::output::tables::selector::FunctionName;
use core::CoreArgs;
use doctor::{DOCTOR_EXAMPLES, DoctorArgs};
use values::{Delay, RecordFor};
use values::{format_parser, parse_delay, parse_duration, parse_pid, sort_parser};

const DUMP_EXAMPLES: &str = "\
Examples:
  pyspy-rs dump --pid 8172             what every thread does now
  pyspy-rs dump --pid 8172 --locals    with arguments and local variables
  pyspy-rs dump --pid 7 --in-container web1
  pyspy-rs dump --core core.8172       what they did when it crashed
  pyspy-rs dump --pid 8172 --json | jq '.processes[].threads[].thread_name'";

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

const ROOT_EXAMPLES: &str = "\
Examples:
  pyspy-rs dump --pid 8172
  pyspy-rs record -o profile.svg -- python3 app.py

`pyspy-rs COMMAND --help` tells the options of a command.";

/// Look into a running Python program from outside: stacks, profiles, memory
#[derive(Debug, Parser)]
#[command(
    name = "pyspy-rs",
    version,
    // Abbreviated commands (`pyspy-rs rec`) work in py-spy, so scripts have them.
    infer_subcommands = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 100,
    after_help = ROOT_EXAMPLES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say on stderr what is found and done (-vv for more)
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Other", display_order = 900)]
    pub verbose: u8,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Other", display_order = 901)]
    pub help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Other", display_order = 902)]
    pub version: Option<bool>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record where a program spends its time, as a flame graph or another format
    #[command(
        after_help = RECORD_EXAMPLES,
        override_usage = "pyspy-rs record [OPTIONS] [-- PROGRAM ARGS...]"
    )]
    Record(RecordArgs),
    /// Show live which functions take the time
    #[command(
        after_help = TOP_EXAMPLES,
        override_usage = "pyspy-rs top [OPTIONS] [-- PROGRAM ARGS...]"
    )]
    Top(TopArgs),
    /// Plot live how much memory a program has, whether it leaks, and which functions take it
    #[command(
        after_help = MEMORY_EXAMPLES,
        override_usage = "pyspy-rs memory [OPTIONS] [-- PROGRAM ARGS...]"
    )]
    Memory(MemoryArgs),
    /// Print what every thread of a program is doing now
    // `d` was its abbreviation before there was another command with that letter.
    #[command(after_help = DUMP_EXAMPLES, alias = "d")]
    Dump(DumpArgs),
    /// Tell what can be done with a process, what cannot, and why: a page for a bug report
    #[command(
        after_help = DOCTOR_EXAMPLES,
        override_usage = "pyspy-rs doctor [OPTIONS] [PID]"
    )]
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The running process to look at, in decimal or 0x hex; may be left out when
    /// only one Python process runs
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    pub pid: Option<Pid>,

    /// Count --pid as this container does: its id or the beginning of it, its host name, or
    /// the pid (as seen here) of any process in it; without --pid, its only Python process
    #[arg(long, value_name = "CONTAINER", help_heading = "Target")]
    pub in_container: Option<String>,
    /// Or a core file.
    #[command(flatten)]
    pub core: CoreArgs,

    /// Look at the Python processes below it too
    #[arg(short, long, help_heading = "Target")]
    pub subprocesses: bool,

    /// Read without pausing the program: no delay for it, but a stack or a variable
    /// can be caught while it changes
    #[arg(long, help_heading = "Target")]
    pub nonblocking: bool,

    /// Print JSON, for programs to read
    #[arg(short, long, help_heading = "Output")]
    pub json: bool,

    /// Show arguments and local variables of each frame (-ll: longer values)
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub locals: u8,

    /// Show values whose names look like secrets, instead of <redacted>
    #[arg(long, help_heading = "Output")]
    pub show_secrets: bool,

    /// Show whole paths, not only the part below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,
}

/// Which process `record` and `top` look at.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// A Python program to run and look at, with its arguments; put `--` before it
    #[arg(value_name = "PROGRAM", help_heading = "Target", num_args = 0..)]
    pub program: Vec<OsString>,

    /// A running process to look at, in decimal or 0x hex; without it and without a
    /// program, the only Python process that runs
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    pub pid: Option<Pid>,

    /// Count --pid as this container does: its id or the beginning of it, its host name, or
    /// the pid (as seen here) of any process in it; without --pid, its only Python process
    #[arg(long, value_name = "CONTAINER", help_heading = "Target")]
    pub in_container: Option<String>,

    /// Look at the Python processes below it too
    #[arg(short, long, help_heading = "Target")]
    pub subprocesses: bool,
}

/// How `record` and `top` take samples.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// Samples per second [default: 100, and 1000 for memory]
    #[arg(short, long, value_name = "RATE", help_heading = "Sampling",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,

    /// Count only threads that hold the GIL
    #[arg(short, long, help_heading = "Sampling")]
    pub gil: bool,

    /// Count threads that wait or sleep too
    #[arg(short, long, help_heading = "Sampling")]
    pub idle: bool,

    /// Weigh each sample by the nanoseconds that its thread was on a CPU since the last
    /// one; what waits weighs nothing
    #[arg(long, help_heading = "Sampling")]
    pub cpu: bool,

    /// Show garbage collections, as <GC> (Python 3.7+)
    #[arg(long, help_heading = "Sampling")]
    pub gc: bool,

    /// Read without pausing the program: no delay for it; a stack that changes while it
    /// is read is tried again, then left out and counted as torn
    #[arg(long, help_heading = "Sampling")]
    pub nonblocking: bool,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Which process.
    #[command(flatten)]
    pub target: TargetArgs,

    /// How to sample.
    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// Weigh stacks by the resident memory that they added, in bytes, not by samples
    #[arg(short, long, help_heading = "Sampling")]
    pub memory: bool,

    /// Seconds to sample for; a program that was launched is ended then
    #[arg(short, long, value_name = "SECONDS", default_value = "unlimited",
          value_parser = parse_duration, help_heading = "Sampling")]
    pub duration: RecordFor,

    /// File to write; `-` is stdout [default: named after the program and the time, and
    /// stdout for tables]
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Format of the file [default: by the file's ending, else flamegraph]
    #[arg(short, long, ignore_case = true, value_parser = format_parser(), help_heading = "Output")]
    pub format: Option<Format>,

    /// In a table, show only this function: `load`, `Thing.load` or `app.py:load`, where
    /// `*` stands for any text; can be given more than once
    #[arg(long, value_name = "FUNCTION", help_heading = "Output")]
    pub only: Vec<FunctionName>,

    /// Order of a table [default: own, and own-growth for memory]
    #[arg(long, value_name = "COLUMN", ignore_case = true, value_parser = sort_parser(),
          help_heading = "Output")]
    pub sort: Option<SortKey>,

    /// Tell functions apart, not lines: frames carry the function's first line
    #[arg(
        short = 'F',
        long,
        help_heading = "Output",
        conflicts_with = "nolineno"
    )]
    pub function: bool,

    /// Leave line numbers out
    #[arg(long, help_heading = "Output")]
    pub nolineno: bool,

    /// Keep threads apart, under their ids and names
    #[arg(short, long, help_heading = "Output")]
    pub threads: bool,

    /// Show whole paths, not only the part below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,

    /// Show no progress
    #[arg(long, help_heading = "Output")]
    pub hideprogress: bool,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Which process.
    #[command(flatten)]
    pub target: TargetArgs,

    /// How to sample.
    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// Seconds between two refreshes
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = parse_delay,
          help_heading = "Output")]
    pub delay: Delay,

    /// Show whole paths, not only the part below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,
}

/// Arguments of `memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// Which process.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Samples per second
    #[arg(short, long, value_name = "RATE", default_value_t = 1000, help_heading = "Sampling",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,

    /// Read without pausing the program: no delay for it; a stack that changes while it
    /// is read is tried again, then left out and counted as torn
    #[arg(long, help_heading = "Sampling")]
    pub nonblocking: bool,

    /// Seconds to look for; a program that was launched is ended then
    #[arg(short, long, value_name = "SECONDS", default_value = "unlimited",
          value_parser = parse_duration, help_heading = "Sampling")]
    pub duration: RecordFor,

    /// File to write at the end: a timeline (.svg), or any format of `record` by its ending
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Seconds between two refreshes, or two lines where stdout is no terminal
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = parse_delay,
          help_heading = "Output")]
    pub delay: Delay,

    /// Show whole paths, not only the part below the import root
    #[arg(long, help_heading = "Output")]
    pub full_filenames: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}
