//! The recording loop of `record`, `memory` and `top`: [`Samples`] is the source of samples, the caller
//! is their observer, [`Recording`] is the result.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::attach::{warn_without_gc, warn_without_gil};
use super::options::{Program, Sampling};
use super::sources::Sources;
use crate::cpython::code::frame_table::FrameTable;
use crate::os::Pid;
use crate::os::Tid;
use crate::os::procfs::read::host_name;
use crate::os::ptrace::pause::{PauseGuard, SETTLE_LIMIT};
use crate::os::thread::busy::{BusyThread, CpuUse};
use crate::output::meta::Meta;
use crate::output::table_options::TableOptions;
use crate::profile::Profile;
use crate::profile::options::ProcessLabel;
use crate::sampler::kernel::KernelEngine;
use crate::sampler::processes::root::Root;
use crate::sampler::sample::Sample;
use crate::sampler::stats::{Engine, SamplerStats};
use crate::sampler::{Sampler, SamplerOptions};
use crate::text::escape::{command_line, for_terminal};
use crate::text::secrets::Secrets;
use crate::text::secrets::command::CommandLine;
use crate::tui::model::SampleSource;

/// Why the sampling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The requested duration is over.
    Duration,
    /// A signal, or the user, stopped it.
    Stopped,
    /// No process is left.
    ProgramEnded,
}

/// What to sample, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct SamplesOptions {
    pub sampling: Sampling,
    /// `None`: unlimited.
    pub duration: Option<Duration>,
    /// Whether source files will be read at the end.
    pub wants_sources: bool,
}

/// The share of a CPU from which on a thread without Python is worth a line. On a crowded machine one that never
/// sleeps has little.
const BUSY: f64 = 0.1;

/// The most threads that are remembered as running Python, since they were sampled once.
const MAX_PYTHON_THREADS: usize = 16_384;

/// The samples of a run. Ends when all processes have ended, when the duration is over, or when the stop
/// flag is set.
pub struct Samples {
    sampler: Sampler,
    sources: Sources,
    new_fs_roots: Vec<(Pid, u32)>,
    last_error: Option<String>,
    /// Threads that run Python: those of the last sample, or of all samples of the kernel.
    python_threads: HashSet<Tid>,
    is_exhausted: bool,
}

impl Samples {
    /// Adds a sample, which [`next`](Iterator::next) has just returned, to a profile.
    pub fn add_to(&self, profile: &mut Profile, sample: &Sample) {
        for (pid, root) in &self.new_fs_roots {
            profile.set_fs_root(*pid, *root);
        }
        profile.add(sample, self.frames(), &|pid| self.process(pid));
    }
}

impl Iterator for Samples {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let Some(sample) = self.sampler.next() else {
            self.is_exhausted = true;
            return None;
        };
        let Samples {
            sources,
            new_fs_roots,
            ..
        } = self;
        new_fs_roots.clear();
        let pids = sample.processes.iter().map(|process| process.pid);
        new_fs_roots.extend(pids.filter_map(|pid| Some((pid, sources.add_process(pid)?))));
        if let Some(error) = sample.errors.last() {
            self.last_error = Some(error.clone());
        }
        // The kernel samples only those that are on a CPU.
        if self.sampler.stats().engine() != Engine::Kernel
            || self.python_threads.len() > MAX_PYTHON_THREADS
        {
            self.python_threads.clear();
        }
        let processes = sample.processes.iter();
        let threads = processes.flat_map(|process| &process.traces);
        let ids = threads.filter_map(|trace| trace.thread.os_thread_id);
        self.python_threads.extend(ids);
        Some(sample)
    }
}

impl SampleSource for Samples {
    fn frames(&self) -> &FrameTable {
        self.sampler.frames()
    }

    fn process(&self, pid: Pid) -> Option<ProcessLabel> {
        self.sampler.process(pid).map(|process| ProcessLabel {
            pid,
            parent: process.parent,
            command: for_terminal(&process.command).into(),
        })
    }

    fn new_fs_roots(&self) -> &[(Pid, u32)] {
        &self.new_fs_roots
    }

    fn settle(&mut self) -> bool {
        PauseGuard::settle()
    }
}

/// A run after its last sample.
pub struct Run {
    pub stats: SamplerStats,
    pub ending: Ending,
    /// The last process or thread that could not be read.
    pub last_error: Option<String>,
    native_threads: Vec<BusyThread>,
    command: String,
    words: Vec<String>,
    pid: Option<Pid>,
    python_version: Option<String>,
    start: Option<SystemTime>,
    /// The requested duration.
    duration: Option<Duration>,
    sources: Sources,
}

impl Run {
    /// Samples a process (and its children), by the kernel if there is an `engine`, for an observer, which consumes the samples until they end
    /// or until it returns. The observer's result is returned beside the run: what was recorded is
    /// valid even if it could not be shown.
    pub fn observe<T>(
        root: Root,
        engine: Option<KernelEngine>,
        options: &SamplesOptions,
        stop: &Arc<AtomicBool>,
        observer: impl FnOnce(&mut Samples) -> T,
    ) -> (Run, T) {
        warn_without_gc(&root, &options.sampling);
        warn_without_gil(&root, &options.sampling);
        let secrets = options.sampling.secrets;
        let words = root.target().command_line().words(secrets).into_owned();
        let command = command_line(&words);
        let python_version = root.version().to_string();
        let pid = root.pid();
        let start = SystemTime::now();
        let mut sources = Sources::new(options.wants_sources, secrets);
        // The first root directory has the number 0, which is every process's default.
        sources.add_process(pid);
        let sampling = SamplerOptions {
            duration: options.duration,
            ..options.sampling.for_sampler(stop)
        };
        let mut samples = Samples {
            sampler: match engine {
                Some(engine) => Sampler::of_kernel(root, sampling, engine),
                None => Sampler::new(root, sampling),
            },
            sources,
            new_fs_roots: Vec::new(),
            last_error: None,
            python_threads: HashSet::new(),
            is_exhausted: false,
        };
        let cpu = CpuUse::start(pid);
        let observed = observer(&mut samples);
        // Writing the file takes time: a thread that stops late must not stay paused meanwhile.
        PauseGuard::settle_within(SETTLE_LIMIT);
        let Samples {
            sampler,
            sources,
            last_error,
            python_threads,
            is_exhausted,
            ..
        } = samples;
        let mut native_threads = cpu.busy(BUSY);
        native_threads.retain(|thread| !python_threads.contains(&thread.tid));
        let ending = if stop.load(Ordering::SeqCst) {
            Ending::Stopped
        } else if sampler.is_time_over() {
            Ending::Duration
        } else if is_exhausted {
            Ending::ProgramEnded
        } else {
            Ending::Stopped
        };
        let run = Run {
            stats: sampler.stats().clone(),
            ending,
            last_error,
            native_threads,
            command,
            words,
            pid: Some(pid),
            python_version: Some(python_version),
            start: Some(start),
            duration: options.duration,
            sources,
        };
        (run, observed)
    }

    /// A program that ended before its interpreter was initialized: nothing wrong, but no samples.
    pub fn ended_early(program: &Program, secrets: Secrets) -> Run {
        let words = std::iter::once(&program.file).chain(&program.args);
        let words = words.map(|word| word.to_string_lossy().into_owned());
        let command = CommandLine::new(words.collect());
        Run {
            stats: SamplerStats::default(),
            ending: Ending::ProgramEnded,
            last_error: None,
            native_threads: Vec::new(),
            command: command_line(&command.words(secrets)),
            words: command.words(secrets).into_owned(),
            pid: None,
            python_version: None,
            start: None,
            duration: None,
            sources: Sources::new(false, secrets),
        }
    }

    /// The run with the profile of its samples, and what its tables show.
    pub fn into_recording(self, mut profile: Profile, tables: TableOptions) -> Recording {
        profile.finish();
        profile.add_missed(self.stats.missed_at_end);
        if self.ending == Ending::ProgramEnded {
            profile.end();
        }
        let duration = match (self.ending, self.duration) {
            (Ending::Duration, Some(time)) => time,
            _ => profile.last_elapsed(),
        };
        Recording {
            profile,
            stats: self.stats,
            meta: Meta {
                command: self.command,
                words: self.words,
                pid: self.pid,
                host: host_name(),
                python_version: self.python_version,
                start: self.start,
                duration,
                tables,
                ..Meta::default()
            },
            sources: self.sources,
            ending: self.ending,
            last_error: self.last_error,
            native_threads: self.native_threads,
        }
    }
}

/// A profile with everything that the files and the closing lines need.
pub struct Recording {
    pub profile: Profile,
    pub stats: SamplerStats,
    pub meta: Meta,
    pub sources: Sources,
    pub ending: Ending,
    pub last_error: Option<String>,
    /// Threads of the process that used a CPU and run no Python, the busiest first.
    pub native_threads: Vec<BusyThread>,
}
