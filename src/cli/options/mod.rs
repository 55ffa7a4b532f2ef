//! Options of the commands: the arguments of [`super::args`], checked and resolved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::core::CoreArgs;
use super::args::doctor::DoctorArgs;
use super::args::usage::usage_error;
use super::args::values::{DumpFormat, EngineChoice, RecordFor};
use super::args::{Command, DumpArgs, MemoryArgs, RecordArgs, SamplingArgs, TargetArgs, TopArgs};
use super::man::Page;
use super::select::target::{running, target};
use crate::output::format::Format;
use crate::output::min_width::MinWidth;
use crate::output::table_options::TableOptions;
use crate::profile::options::{ProfileOptions, Selection, TimeWeight, Weights};
use crate::session::options::{Sampling, Target};
use crate::session::recording::SamplesOptions;
use crate::text::secrets::Secrets;
use crate::tui::model::Refreshes;

/// A subcommand with its options.
#[derive(Debug)]
pub enum Action {
    Record(RecordOptions),
    Top(TopOptions),
    Memory(MemoryOptions),
    Dump(DumpOptions),
    Doctor(DoctorOptions),
    Completions(clap_complete::Shell),
    Man(Page),
}

/// The line number of a recorded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The line that executes.
    Current,
    /// The function's first line.
    First,
    Hidden,
}

/// What `dump` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpOutput {
    Text,
    /// The list of threads in py-spy's JSON.
    ThreadList,
    /// Everything as JSON.
    Document,
}

/// Options of `dump`.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// Never a program to launch.
    pub target: Target,
    pub core: CoreArgs,
    pub output: DumpOutput,
    /// 0: no locals; 1: short values; 2 and above: longer values.
    pub locals: u8,
    pub secrets: Secrets,
    pub subprocesses: bool,
    pub full_filenames: bool,
    pub nonblocking: bool,
}

/// Options of `record`.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    pub target: Target,
    pub sampling: Sampling,
    /// `None`: unlimited.
    pub duration: Option<Duration>,
    /// `None`: a file named after the target.
    pub output: Option<PathBuf>,
    pub format: Format,
    /// Whether the format is not py-spy's default because of the ending of the file's name.
    pub format_is_by_ending: bool,
    pub summary: Option<PathBuf>,
    /// Without sources, which are read at the end.
    pub tables: TableOptions,
    pub lines: Lines,
    pub show_threads: bool,
    pub full_filenames: bool,
    pub hide_progress: bool,
    /// Narrowest frame of a flame graph.
    pub min_width: MinWidth,
    /// Whether the output of a launched program is captured.
    pub capture: bool,
    /// Who takes the samples.
    pub engine: EngineChoice,
}

impl RecordOptions {
    pub fn samples(&self) -> SamplesOptions {
        SamplesOptions {
            sampling: self.sampling,
            duration: self.duration,
            wants_sources: self.format == Format::Lines,
        }
    }

    /// The options that shape the recording, as they are typed; neither target nor files.
    pub fn spelled(&self) -> String {
        let Sampling {
            rate_hz,
            selection,
            weights,
            nonblocking,
            subprocesses,
            ..
        } = self.sampling;
        let flags = [
            (self.lines == Lines::First, "--function"),
            (self.lines == Lines::Hidden, "--nolineno"),
            (self.show_threads, "--threads"),
            (subprocesses, "--subprocesses"),
            (selection.gil_only, "--gil"),
            (
                selection.idle && weights.time != Some(TimeWeight::Wall),
                "--idle",
            ),
            (selection.collections, "--gc"),
            (weights.time == Some(TimeWeight::Cpu), "--cpu"),
            (weights.time == Some(TimeWeight::Wall), "--wall"),
            (weights.rss, "--memory"),
            (nonblocking, "--nonblocking"),
            (self.full_filenames, "--full-filenames"),
        ];
        let mut words = vec![format!("--rate {rate_hz}")];
        if let Some(time) = self.duration {
            words.push(format!("--duration {}", time.as_secs_f64()));
        }
        let given = flags.into_iter().filter(|(is_given, _)| *is_given);
        words.extend(given.map(|(_, flag)| flag.to_owned()));
        if self.min_width != MinWidth::default() {
            words.push(format!("--min-width {}", self.min_width));
        }
        words.join(" ")
    }

    pub fn profile_options(&self) -> ProfileOptions {
        ProfileOptions {
            show_line_numbers: self.lines != Lines::Hidden,
            function_only: self.lines == Lines::First,
            show_threads: self.show_threads,
            full_filenames: self.full_filenames,
            selection: self.sampling.selection,
            weights: self.sampling.weights,
            subprocesses: self.sampling.subprocesses,
            timeline: self.format.needs_timeline(),
            keep_first_lines: self.format.is_table(),
            rate_hz: self.sampling.rate_hz,
        }
    }
}

/// Options of `top`.
#[derive(Clone, Debug)]
pub struct TopOptions {
    pub target: Target,
    /// Who takes the samples.
    pub engine: EngineChoice,
    pub sampling: Sampling,
    pub refreshes: Refreshes,
    pub full_filenames: bool,
}

/// Options of `memory`: a recording that is shown while it runs.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Writes no file without [`RecordOptions::output`].
    pub record: RecordOptions,
    pub delay: Duration,
}

impl Action {
    /// Checks what clap cannot check, and fills in defaults.
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
            Command::Man(args) => Action::Man(Page::of(args.command.as_deref())?),
        })
    }
}

fn dump(args: DumpArgs) -> DumpOptions {
    DumpOptions {
        target: running(args.pid, args.in_container),
        core: args.core,
        output: match (args.json, args.format) {
            (true, _) => DumpOutput::ThreadList,
            (false, DumpFormat::Text) => DumpOutput::Text,
            (false, DumpFormat::Json) => DumpOutput::Document,
        },
        locals: args.locals,
        secrets: Secrets::shown_if(args.show_secrets),
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
    let format_is_by_ending = args.format.is_none() && format != Format::default();
    let memory = args.memory || format.needs_memory();
    let secrets = Secrets::shown_if(args.show_secrets);
    let mut sampling = sampling(&args.sampling, &args.target, memory, secrets);
    sampling.nonblocking |= args.sampling.engine == EngineChoice::Read;
    // Every engine knows how long threads wait.
    sampling.selection.idle &= !args.wall;
    let engine = engine(args.sampling.engine, &sampling, "record")?;
    if args.wall {
        if format == Format::Chrometrace {
            let message = "--wall weighs stacks, and chrometrace has no weights: use --idle";
            return Err(usage_error("record", message));
        }
        if memory {
            let message =
                "--wall weighs stacks by time: choose another format for it, or leave it out";
            return Err(usage_error("record", message));
        }
        sampling.weights.time = Some(TimeWeight::Wall);
        sampling.selection.idle = true;
    }
    let tables = tables(&args, format)?;
    let target = target(args.target, "record")?;
    // A table is for reading at once.
    let to_stdout = || format.is_table().then(|| PathBuf::from("-"));
    let output = args.output.or_else(to_stdout);
    if args.summary.is_some() && args.summary == output {
        let message = "--summary and the recording need different files: set another with -o FILE";
        return Err(usage_error("record", message));
    }
    Ok(RecordOptions {
        target,
        sampling,
        duration: match args.duration {
            RecordFor::Unlimited => None,
            RecordFor::Time(time) => Some(time),
        },
        output,
        format,
        format_is_by_ending,
        summary: args.summary,
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
        min_width: args.min_width.unwrap_or_default(),
        capture: args.capture,
        engine,
    })
}

/// Who takes the samples, if these options allow that.
fn engine(
    choice: EngineChoice,
    sampling: &Sampling,
    command: &str,
) -> Result<EngineChoice, clap::Error> {
    match choice {
        EngineChoice::Kernel if sampling.selection.idle => {
            let message = "--engine kernel samples threads on a CPU: --idle needs --engine pause";
            Err(usage_error(command, message))
        }
        EngineChoice::Auto if sampling.nonblocking => Ok(EngineChoice::Read),
        EngineChoice::Auto if sampling.selection.idle => Ok(EngineChoice::Pause),
        choice => Ok(choice),
    }
}

fn tables(args: &RecordArgs, format: Format) -> Result<TableOptions, clap::Error> {
    let error = |message: &str| Err(usage_error("record", message));
    if !format.is_table() && (!args.only.is_empty() || args.sort.is_some()) {
        return error("--only and --sort need a table: add -f functions or -f lines");
    }
    if args.min_width.is_some() && format != Format::Flamegraph {
        return error("--min-width is of flame graphs: add -f flamegraph");
    }
    if let Some(key) = args.sort.filter(|key| key.needs_memory())
        && !args.memory
    {
        let key = key.name();
        return error(&format!("--sort {key} needs --memory"));
    }
    if format.is_table()
        && args.function
        && let (Some(_), [name]) = (args.target.pid, args.target.program.as_slice())
    {
        let name = name.to_string_lossy();
        let name = name.escape_debug();
        return error(&format!(
            "--function takes no name: use --only {name} to select functions"
        ));
    }
    Ok(TableOptions {
        csv: args.output.as_deref().is_some_and(is_csv),
        only: args.only.clone(),
        sort: args.sort,
        ..TableOptions::default()
    })
}

/// Whether a file has the extension of comma-separated values.
fn is_csv(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

fn top(args: TopArgs) -> Result<TopOptions, clap::Error> {
    // Memory is one column of several here, not worth 1000 samples per second.
    let secrets = Secrets::shown_if(args.show_secrets);
    let mut sampling = sampling(&args.sampling, &args.target, false, secrets);
    sampling.weights.rss = true;
    sampling.nonblocking |= args.sampling.engine == EngineChoice::Read;
    Ok(TopOptions {
        engine: engine(args.sampling.engine, &sampling, "top")?,
        sampling,
        target: target(args.target, "top")?,
        refreshes: Refreshes {
            delay: args.delay.0,
            limit: if args.once { Some(1) } else { args.refreshes },
        },
        full_filenames: args.full_filenames,
    })
}

fn memory(args: MemoryArgs) -> Result<MemoryOptions, clap::Error> {
    let subprocesses = args.target.subprocesses;
    let by_ending = args.output.as_deref().and_then(Format::from_path);
    let sampling = Sampling {
        rate_hz: args.rate.unwrap_or(MEMORY_RATE_HZ),
        rate_is_given: args.rate.is_some(),
        selection: Selection::default(),
        weights: Weights::RSS,
        nonblocking: args.nonblocking || args.engine == EngineChoice::Read,
        subprocesses,
        secrets: Secrets::shown_if(args.show_secrets),
    };
    Ok(MemoryOptions {
        record: RecordOptions {
            target: target(args.target, "memory")?,
            engine: engine(args.engine, &sampling, "memory")?,
            sampling,
            duration: match args.duration {
                RecordFor::Unlimited => None,
                RecordFor::Time(time) => Some(time),
            },
            tables: TableOptions {
                csv: args.output.as_deref().is_some_and(is_csv),
                ..TableOptions::default()
            },
            output: args.output,
            // `.svg` means a timeline here, not a flame graph.
            format: by_ending
                .filter(|format| *format != Format::Flamegraph)
                .unwrap_or(Format::Timeline),
            // It has no counterpart in py-spy.
            format_is_by_ending: false,
            summary: None,
            lines: Lines::Current,
            show_threads: false,
            full_filenames: args.full_filenames,
            hide_progress: true,
            min_width: MinWidth::default(),
            capture: false,
        },
        delay: args.delay.0,
    })
}

/// Default samples per second, as in py-spy.
pub const RATE_HZ: u32 = 100;
/// Default samples per second for memory where page faults are not recorded: bursts of allocations are short.
const MEMORY_RATE_HZ: u32 = 1_000;

fn sampling(
    sampling: &SamplingArgs,
    target: &TargetArgs,
    memory: bool,
    secrets: Secrets,
) -> Sampling {
    Sampling {
        rate_hz: sampling
            .rate
            .unwrap_or(if memory { MEMORY_RATE_HZ } else { RATE_HZ }),
        rate_is_given: sampling.rate.is_some(),
        selection: Selection {
            idle: sampling.idle,
            gil_only: sampling.gil,
            collections: sampling.gc,
        },
        weights: Weights {
            time: sampling.cpu.then_some(TimeWeight::Cpu),
            rss: memory,
        },
        nonblocking: sampling.nonblocking,
        subprocesses: target.subprocesses,
        secrets,
    }
}

/// Options of `doctor`.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// Never a program to launch.
    pub target: Target,
    pub json: bool,
    pub secrets: Secrets,
    pub nonblocking: bool,
}

impl From<DoctorArgs> for DoctorOptions {
    fn from(args: DoctorArgs) -> DoctorOptions {
        DoctorOptions {
            target: running(args.pid.or(args.pid_option), args.in_container),
            json: args.json,
            secrets: Secrets::shown_if(args.show_secrets),
            nonblocking: args.nonblocking,
        }
    }
}

#[cfg(test)]
mod tests;
