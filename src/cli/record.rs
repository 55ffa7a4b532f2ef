//! `record`: samples into a profile, the profile into a file.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::options::{Lines, RecordOptions};
use super::report::progress::{Progress, Status};
use super::report::{summary, summary_json, timing};
use super::select::{candidates, container};
use crate::os::Pid;
use crate::output;
use crate::output::file::OutputFile;
use crate::output::format::{self, Format};
use crate::output::meta::Meta;
use crate::output::tables::{lines, view};
use crate::profile::Profile;
use crate::profile::options::{ProcessLabel, ProfileOptions};
use crate::sampler::processes::root::Root;
use crate::sampler::stats::SamplerStats;
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::attach::{self, Launching};
use crate::session::errors::{UserError, print_stderr};
use crate::session::launch::{GRACE, Launched, status_of_failure};
use crate::session::options::{Program, Target};
use crate::session::signals::StopSignals;
use crate::session::sources::Sources;
use crate::text::escape::{command_line, for_terminal};

/// Why the sampling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `--duration` is over.
    Duration,
    /// A signal told us to stop.
    Signal,
    /// No process is left.
    ProgramEnded,
}

impl Ending {
    /// The word for it in a summary.
    fn word(self) -> &'static str {
        match self {
            Ending::Duration => "duration",
            Ending::Signal => "signal",
            Ending::ProgramEnded => "program",
        }
    }
}

/// Records, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When the file cannot be written or the process cannot be looked at.
pub fn run(options: &RecordOptions) -> anyhow::Result<u8> {
    match &options.target {
        Target::Pid(pid) => record_process(*pid, options),
        Target::OnlyOne => record_process(candidates::only_one()?, options),
        Target::ContainerTarget(inside) => record_process(container::find(inside)?, options),
        Target::Program(program) => record_program(program, options),
    }
}

fn record_process(pid: Pid, options: &RecordOptions) -> anyhow::Result<u8> {
    let place = PendingOutput::take(options, &pid.to_string())?;
    let signals = place.guard_against_signals()?;
    signals.catch_interrupt()?;
    let root = attach::attach_tree(pid, options.sampling.subprocesses)?;
    let length = match options.duration {
        Some(time) => format!(" for {} seconds", time.as_secs_f64()),
        None => String::new(),
    };
    print_stderr(&format!(
        "Sampling process {pid} {} times a second{length}. Press Control-C to exit.",
        options.sampling.rate_hz
    ));
    let recording = Recording::sample(root, options, &signals, options.hide_progress);
    if recording.ending == Ending::ProgramEnded {
        print_stderr(&format!("Stopped sampling because process {pid} has ended"));
    }
    recording.write(place, options)?;
    Ok(0)
}

fn record_program(program: &Program, options: &RecordOptions) -> anyhow::Result<u8> {
    let place = PendingOutput::take(options, &program.file.to_string_lossy())?;
    let signals = place.guard_against_signals()?;
    let mut launched = Launched::start(program, &signals)?;
    let stop = signals.stop_flag();
    let outcome = match attach::attach_launched(&launched, options.sampling.subprocesses, &stop) {
        // The progress line stays away: the terminal is the program's.
        Ok(Launching::TapeMetadata(root)) => Recording::sample(*root, options, &signals, true),
        // Nothing to see, but nothing wrong: a file without samples.
        Ok(Launching::EndedEarly) => Recording::empty(options, program),
        Ok(Launching::NeverPython(what)) => {
            let error = attach::never_python(&what);
            return status_of_failure(launched.wait(), error.into());
        }
        // We cannot watch it, but it was to run.
        Err(error) => return status_of_failure(launched.wait(), error.into()),
    };
    let ending = outcome.ending;
    let written = outcome.write(place, options);
    // As py-spy does, a program that was launched for a time ends with it.
    let status = if ending == Ending::Duration {
        launched.end(GRACE);
        0
    } else {
        launched.wait()
    };
    match written {
        Ok(()) => Ok(status),
        Err(error) => status_of_failure(status, error),
    }
}

/// The files to write, created before anything starts. Shared with the thread that ends us at a
/// second signal, so that nothing is left behind then.
pub(crate) struct PendingOutput(Arc<Mutex<Option<Files>>>);

/// A recording's files.
struct Files {
    recording: OutputFile,
    summary: Option<OutputFile>,
}

impl PendingOutput {
    pub(crate) fn take(options: &RecordOptions, target: &str) -> anyhow::Result<PendingOutput> {
        let path = options.output.clone().unwrap_or_else(|| {
            format::default_file_name(target, SystemTime::now(), options.format).into()
        });
        let create = |path: &Path, option: &str| {
            OutputFile::create(path).map_err(|error| {
                let hint = format!(
                    "give a file in a folder that is there and may be written: {option} FILE"
                );
                UserError::failure(error.to_string(), hint)
            })
        };
        let summary = options.summary.as_deref();
        let files = Files {
            recording: create(&path, "-o")?,
            summary: summary.map(|path| create(path, "--summary")).transpose()?,
        };
        Ok(PendingOutput(Arc::new(Mutex::new(Some(files)))))
    }

    fn guard_against_signals(&self) -> anyhow::Result<StopSignals> {
        StopSignals::catch(self.give_up())
    }

    /// Takes back the place, from any thread, when we have to end at once.
    pub(crate) fn give_up(&self) -> impl FnOnce() + Send + 'static {
        let place = Arc::clone(&self.0);
        move || {
            // While it is being written it is locked; then the temporary file stays.
            if let Ok(mut files) = place.try_lock() {
                drop(files.take());
            }
        }
    }
}

impl Drop for PendingOutput {
    /// Leaves nothing behind where nothing was written; the signals' thread holds on to its half.
    fn drop(&mut self) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(files.take());
    }
}

/// What was sampled.
pub(crate) struct Recording {
    pub(crate) profile: Profile,
    pub(crate) stats: SamplerStats,
    pub(crate) meta: Meta,
    pub(crate) sources: Sources,
    pub(crate) ending: Ending,
    pub(crate) last_error: Option<String>,
}

impl Recording {
    fn empty(options: &RecordOptions, program: &Program) -> Recording {
        let words: Vec<_> = std::iter::once(&program.file)
            .chain(&program.args)
            .map(|word| word.to_string_lossy())
            .collect();
        Recording {
            profile: Profile::new(profile_options(options)),
            stats: SamplerStats::default(),
            meta: Meta {
                command: command_line(&words),
                python_version: None,
                start: None,
                duration: Duration::ZERO,
                tables: options.tables.clone(),
            },
            sources: Sources::new(false),
            ending: Ending::ProgramEnded,
            last_error: None,
        }
    }

    /// Samples until the time is over, a signal comes or the process ends.
    fn sample(
        root: Root,
        options: &RecordOptions,
        signals: &StopSignals,
        hide_progress: bool,
    ) -> Recording {
        let stop = signals.stop_flag();
        attach::warn_without_gc(&root, &options.sampling);
        attach::warn_without_gil(&root, &options.sampling);
        let mut meta = Meta {
            command: command_line(&root.target().command_line()),
            python_version: Some(root.version().to_string()),
            start: Some(SystemTime::now()),
            duration: Duration::ZERO,
            tables: options.tables.clone(),
        };
        let mut sources = Sources::new(options.format == Format::Lines);
        sources.see(root.pid());
        let mut profile = Profile::new(profile_options(options));
        let sampling = SamplerOptions {
            duration: options.duration,
            ..options.sampling.for_sampler(&stop)
        };
        let mut sampler = Sampler::new(root, sampling);
        let progress = Progress::start(options.duration, hide_progress);
        let mut last_error = None;
        while let Some(sample) = sampler.next() {
            for error in &sample.errors {
                log::info!("{error}");
            }
            for notice in &sample.notices {
                progress.print_stderr(notice);
            }
            for process in &sample.processes {
                if let Some(root) = sources.see(process.pid) {
                    profile.set_fs_root(process.pid, root);
                }
            }
            profile.add(&sample, sampler.frames(), &|pid| {
                sampler.process(pid).map(|process| ProcessLabel {
                    pid,
                    parent: process.parent,
                    command: for_terminal(&process.command).into(),
                })
            });
            let counts = profile.counts();
            progress.update(&Status {
                elapsed: sample.elapsed,
                looks: counts.ticks,
                samples: counts.samples,
                errors: counts.errors + counts.torn,
                rss_bytes: profile.rss().last(),
            });
            last_error = sample.errors.into_iter().next_back().or(last_error);
        }
        profile.finish();
        let is_time_over = sampler.is_time_over();
        progress.finish();
        log::info!("{}", timing::pauses(&sampler.stats().pauses));
        let ending = if stop.load(Ordering::SeqCst) {
            Ending::Signal
        } else if is_time_over {
            Ending::Duration
        } else {
            Ending::ProgramEnded
        };
        if ending == Ending::ProgramEnded {
            profile.end();
        }
        meta.duration = match (ending, options.duration) {
            (Ending::Duration, Some(time)) => time,
            _ => profile.last_elapsed(),
        };
        Recording {
            profile,
            stats: sampler.stats().clone(),
            meta,
            sources,
            ending,
            last_error,
        }
    }

    /// Writes the files and says so.
    pub(crate) fn write(
        &self,
        place: PendingOutput,
        options: &RecordOptions,
    ) -> anyhow::Result<()> {
        let mut meta = self.meta.clone();
        if options.format == Format::Lines {
            let files = lines::source_files(&self.profile, &meta.tables);
            meta.tables.sources = self.sources.read(files);
        }
        let mut slot = place.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Files {
            recording: mut file,
            summary,
        }) = slot.take()
        else {
            // A second signal took them and is about to end us.
            return Ok(());
        };
        let path = file.path().to_owned();
        let closing = summary::Closing {
            profile: &self.profile,
            stats: &self.stats,
            nonblocking: options.sampling.nonblocking || self.stats.could_not_pause,
            format: options.format,
            path: &path,
            last_error: self.last_error.as_deref(),
        };
        let to_pipe = file.is_stdout();
        let written = output::write(options.format, &self.profile, &meta, &mut file)
            .and_then(|()| file.flush())
            .and_then(|()| file.commit());
        let is_cut_off = match written {
            Ok(()) => false,
            Err(error) => {
                expect_broken_pipe(to_pipe, &error, "-o")?;
                true
            }
        };
        if let Some(mut file) = summary {
            let to_pipe = file.is_stdout();
            summary_json::write(closing, &meta, self.ending.word(), &mut file)
                .and_then(|()| file.flush())
                .and_then(|()| file.commit())
                .or_else(|error| expect_broken_pipe(to_pipe, &error, "--summary"))?;
        }
        drop(slot);
        if is_cut_off {
            return Ok(());
        }
        for line in summary::lines(closing) {
            print_stderr(&line);
        }
        for line in view::unmatched(&self.profile, &meta.tables) {
            print_stderr(&line);
        }
        Ok(())
    }
}

/// A pipe whose reader has ended is no failure; all else is. `option` names the file.
fn expect_broken_pipe(to_pipe: bool, error: &io::Error, option: &str) -> anyhow::Result<()> {
    if to_pipe && error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    let hint = match option {
        "-o" => "the recording is lost; free some space, or write elsewhere with -o FILE",
        _ => "the recording is written; free some space, or write elsewhere with --summary FILE",
    };
    Err(UserError::failure(error.to_string(), hint).into())
}

/// What a profile is to keep for these options.
pub(crate) fn profile_options(options: &RecordOptions) -> ProfileOptions {
    ProfileOptions {
        show_line_numbers: options.lines != Lines::Hidden,
        function_only: options.lines == Lines::First,
        show_threads: options.show_threads,
        full_filenames: options.full_filenames,
        gil_only: options.sampling.gil_only,
        include_idle: options.sampling.include_idle,
        cpu_time: options.sampling.cpu_time,
        memory: options.sampling.memory,
        show_collections: options.sampling.show_collections,
        subprocesses: options.sampling.subprocesses,
        timeline: options.format.needs_timeline(),
        keep_first_lines: options.format.is_table(),
        rate_hz: options.sampling.rate_hz,
    }
}
