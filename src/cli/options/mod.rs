//! What the commands work with: the arguments of [`super::args`], checked and resolved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::core::CoreArgs;
use super::args::doctor::DoctorArgs;
use super::args::values::RecordFor;
use super::args::{Command, DumpArgs, MemoryArgs, RecordArgs, SamplingArgs, TargetArgs, TopArgs};
use crate::output::format::Format;
use crate::output::tables::options::TableOptions;

use super::args::usage::usage_error;
use super::select::target::{running, target};
use crate::session::options::{Sampling, Target};

/// One run of pyspy-rs.
#[derive(Debug)]
pub enum Action {
    /// `record`
    Record(RecordOptions),
    /// `top`
    Top(TopOptions),
    /// `memory`
    Memory(MemoryOptions),
    /// `dump`
    Dump(DumpOptions),
    /// `doctor`
    Doctor(DoctorOptions),
    /// `completions`
    Completions(clap_complete::Shell),
}

/// Which line a frame of a recording carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The one that runs.
    Current,
    /// The function's first.
    First,
    /// None.
    Hidden,
}

/// Options of `dump`.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// Which process; a dump never launches one.
    pub target: Target,
    /// A core file to look at instead.
    pub core: CoreArgs,
    /// Print JSON rather than text.
    pub json: bool,
    /// 0: no locals; 1: short values; 2 and more: longer ones.
    pub locals: u8,
    /// Show values that look like secrets.
    pub show_secrets: bool,
    /// Dump child processes too.
    pub subprocesses: bool,
    /// Whole paths.
    pub full_filenames: bool,
    /// Do not pause the target.
    pub nonblocking: bool,
}

/// Options of `record`.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Which process.
    pub target: Target,
    /// How to sample.
    pub sampling: Sampling,
    /// When to stop by ourselves; `None`: never.
    pub duration: Option<Duration>,
    /// The file to write; `None`: one named after the target.
    pub output: Option<PathBuf>,
    /// In which format.
    pub format: Format,
    /// What a table shows; without its sources.
    pub tables: TableOptions,
    /// Which line a frame carries.
    pub lines: Lines,
    /// Keep threads apart.
    pub show_threads: bool,
    /// Whole paths.
    pub full_filenames: bool,
    /// No progress line.
    pub hide_progress: bool,
}

/// Options of `top`.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// Which process.
    pub target: Target,
    /// How to sample.
    pub sampling: Sampling,
    /// Time between refreshes.
    pub delay: Duration,
    /// Whole paths.
    pub full_filenames: bool,
}

/// Options of `memory`: it is a recording that is looked at meanwhile.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// How to record, and what to write; nothing without [`RecordOptions::output`].
    pub record: RecordOptions,
    /// Time between refreshes.
    pub delay: Duration,
}

impl Action {
    /// Checks what clap cannot check and fills in what was left out.
    ///
    /// # Errors
    /// A usage error for arguments that contradict each other.
    pub fn resolve(command: Command) -> Result<Action, clap::Error> {
        Ok(match command {
            Command::Record(args) => Action::Record(record(args)?),
            Command::Top(args) => Action::Top(top(args)?),
            Command::Memory(args) => Action::Memory(memory(args)?),
            Command::Dump(args) => Action::Dump(dump(args)),
            Command::Doctor(args) => Action::Doctor(DoctorOptions::from(args)),
            Command::Completions(args) => Action::Completions(args.shell),
        })
    }
}

fn dump(args: DumpArgs) -> DumpOptions {
    DumpOptions {
        target: running(args.pid, args.in_container),
        core: args.core,
        json: args.json,
        locals: args.locals,
        show_secrets: args.show_secrets,
        subprocesses: args.subprocesses,
        full_filenames: args.full_filenames,
        nonblocking: args.nonblocking,
    }
}

fn record(args: RecordArgs) -> Result<RecordOptions, clap::Error> {
    let format = args
        .format
        .or_else(|| args.output.as_deref().and_then(Format::from_path))
        .unwrap_or_default();
    let memory = args.memory || format.needs_memory();
    let sampling = sampling(&args.sampling, &args.target, memory);
    let tables = tables(&args, format)?;
    let target = target(args.target, "record")?;
    // A table is there to be read at once.
    let to_stdout = || format.is_table().then(|| PathBuf::from("-"));
    Ok(RecordOptions {
        target,
        sampling,
        duration: match args.duration {
            RecordFor::Unlimited => None,
            RecordFor::Time(time) => Some(time),
        },
        output: args.output.or_else(to_stdout),
        format,
        tables,
        lines: match (args.nolineno, args.function) {
            // A table's rows are functions or lines, whatever the labels of stacks are.
            _ if format.is_table() => Lines::Current,
            (true, _) => Lines::Hidden,
            (false, true) => Lines::First,
            (false, false) => Lines::Current,
        },
        show_threads: args.threads,
        full_filenames: args.full_filenames,
        hide_progress: args.hideprogress,
    })
}

fn tables(args: &RecordArgs, format: Format) -> Result<TableOptions, clap::Error> {
    let error = |message: &str| Err(usage_error("record", message));
    if !format.is_table() && (!args.only.is_empty() || args.sort.is_some()) {
        return error("--only and --sort are for tables: add -f functions or -f lines");
    }
    if let Some(key) = args.sort.filter(|key| key.needs_memory())
        && !args.memory
    {
        let key = key.name();
        return error(&format!("--sort {key} orders by memory: add --memory"));
    }
    if format.is_table()
        && args.function
        && let (Some(_), [name]) = (args.target.pid, args.target.program.as_slice())
    {
        let name = name.to_string_lossy();
        let name = name.escape_debug();
        return error(&format!(
            "--function takes no name: say --only {name} to choose functions"
        ));
    }
    Ok(TableOptions {
        csv: args.output.as_deref().is_some_and(is_csv),
        only: args.only.clone(),
        sort: args.sort,
        ..TableOptions::default()
    })
}

/// Whether a file's name asks for comma-separated values.
fn is_csv(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

fn top(args: TopArgs) -> Result<TopOptions, clap::Error> {
    Ok(TopOptions {
        // Memory is a column among others here, and not worth a thousand looks a second.
        sampling: Sampling {
            memory: true,
            ..sampling(&args.sampling, &args.target, false)
        },
        target: target(args.target, "top")?,
        delay: args.delay.0,
        full_filenames: args.full_filenames,
    })
}

fn memory(args: MemoryArgs) -> Result<MemoryOptions, clap::Error> {
    let subprocesses = args.target.subprocesses;
    let by_ending = args.output.as_deref().and_then(Format::from_path);
    Ok(MemoryOptions {
        record: RecordOptions {
            target: target(args.target, "memory")?,
            sampling: Sampling {
                rate_hz: args.rate,
                gil_only: false,
                include_idle: false,
                cpu_time: false,
                memory: true,
                show_collections: false,
                nonblocking: args.nonblocking,
                subprocesses,
            },
            duration: match args.duration {
                RecordFor::Unlimited => None,
                RecordFor::Time(time) => Some(time),
            },
            tables: TableOptions {
                csv: args.output.as_deref().is_some_and(is_csv),
                ..TableOptions::default()
            },
            output: args.output,
            // What this command is about is no flame graph.
            format: by_ending
                .filter(|format| *format != Format::Flamegraph)
                .unwrap_or(Format::Timeline),
            lines: Lines::Current,
            show_threads: false,
            full_filenames: args.full_filenames,
            hide_progress: true,
        },
        delay: args.delay.0,
    })
}

/// Samples per second when nothing else is asked for, as in py-spy.
const RATE_HZ: u32 = 100;
/// The same for memory: bursts of allocations are short.
const MEMORY_RATE_HZ: u32 = 1_000;

fn sampling(sampling: &SamplingArgs, target: &TargetArgs, memory: bool) -> Sampling {
    Sampling {
        rate_hz: sampling
            .rate
            .unwrap_or(if memory { MEMORY_RATE_HZ } else { RATE_HZ }),
        memory,
        gil_only: sampling.gil,
        include_idle: sampling.idle,
        cpu_time: sampling.cpu,
        show_collections: sampling.gc,
        nonblocking: sampling.nonblocking,
        subprocesses: target.subprocesses,
    }
}

/// Options of `doctor`.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// Which process; one that runs.
    pub target: Target,
    /// Print JSON rather than text.
    pub json: bool,
    /// Do not pause the target.
    pub nonblocking: bool,
}

impl From<DoctorArgs> for DoctorOptions {
    fn from(args: DoctorArgs) -> DoctorOptions {
        DoctorOptions {
            target: running(args.pid.or(args.pid_option), args.in_container),
            json: args.json,
            nonblocking: args.nonblocking,
        }
    }
}

#[cfg(test)]
mod tests;
