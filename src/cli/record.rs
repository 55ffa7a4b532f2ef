//! `record`: samples into a profile, the profile into a file.

use std::time::SystemTime;

use super::engine;
use super::options::RecordOptions;
use super::report::announce::Announcer;
use super::report::progress::{Progress, Status};
use super::report::{timing, write};
use super::select::resolve;
use crate::os::process::sudo::sudo_user;
use crate::output::format::default_file_name;
use crate::profile::Profile;
use crate::sampler::kernel::KernelEngine;
use crate::sampler::processes::root::Root;
use crate::session::errors::print_stderr;
use crate::session::files::PendingFiles;
use crate::session::launch::OwnOutput;
use crate::session::options::Process;
use crate::session::recording::{Run, Samples};
use crate::session::run::{Outcome, Started, run as run_command};
use crate::session::signals::StopSignals;

/// Records, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When the process cannot be sampled, or the file cannot be written.
pub fn run(options: &RecordOptions) -> anyhow::Result<u8> {
    let process = resolve::process(&options.target, options.sampling.secrets)?;
    let files = create_files(options, &process)?;
    let signals = StopSignals::catch(files.discard())?;
    if options.format_is_by_ending
        && let Some(path) = &options.output
    {
        print_stderr(&format!(
            "'{}' will be in format {}, by its ending; py-spy would write a flame graph, as -f flamegraph does",
            path.display(),
            options.format.name()
        ));
    }
    let is_launched = matches!(process, Process::Launch(_));
    // Before a program is launched, which is to be seen from its first moment on.
    let (engine, sampling) = engine::load(&process, options.engine, options.sampling)?;
    let options = &RecordOptions {
        sampling,
        ..options.clone()
    };
    let subprocesses = options.sampling.subprocesses;
    let mut announcer = Announcer::of_record(files.use_stdout());
    let beside = match options.capture {
        true => OwnOutput::Captured,
        false => OwnOutput::None,
    };
    run_command(&process, subprocesses, beside, &signals, |started| {
        let profile = Profile::new(options.profile_options());
        let (run, profile) = match started {
            Started::Attached(root) => {
                announcer.started(options.sampling.rate_hz, options.duration);
                let sampled = sample(
                    root,
                    engine,
                    options,
                    &signals,
                    profile,
                    is_launched,
                    &mut announcer,
                );
                announcer.stopped(sampled.0.ending);
                sampled
            }
            Started::EndedEarly(program) => {
                (Run::ended_early(program, options.sampling.secrets), profile)
            }
        };
        let ending = run.ending;
        let recording = run.into_recording(profile, options.tables.clone());
        Outcome {
            ending,
            result: write::write(recording, &files, options, &announcer),
        }
    })
}

/// Creates the recording's files: of the given names, or one named after the target.
///
/// # Errors
/// When a file cannot be created.
pub fn create_files(options: &RecordOptions, process: &Process) -> anyhow::Result<PendingFiles> {
    if matches!(process, Process::Running(_))
        && let Err(bad) = sudo_user()
    {
        print_stderr(&format!("warning: {bad}: new files belong to root"));
    }
    let path = options.output.clone().unwrap_or_else(|| {
        default_file_name(&process.name(), SystemTime::now(), options.format).into()
    });
    Ok(PendingFiles::create(&path, options.summary.as_deref())?)
}

/// Samples with progress on stderr; `is_launched`: without, since the terminal is the program's.
fn sample(
    root: Root,
    engine: Option<KernelEngine>,
    options: &RecordOptions,
    signals: &StopSignals,
    mut profile: Profile,
    is_launched: bool,
    announcer: &mut Announcer,
) -> (Run, Profile) {
    let stop = signals.stop_flag();
    let (run, ()) = Run::observe(root, engine, &options.samples(), &stop, |samples| {
        let hide_progress = is_launched && !options.capture || options.hide_progress;
        let progress = Progress::start(options.duration, hide_progress);
        add_all(samples, &mut profile, &progress, announcer);
        progress.finish();
    });
    log::info!("{}", timing::pauses(&run.stats.pauses));
    (run, profile)
}

fn add_all(
    samples: &mut Samples,
    profile: &mut Profile,
    progress: &Progress,
    announcer: &mut Announcer,
) {
    while let Some(sample) = samples.next() {
        for error in &sample.errors {
            log::info!("{error}");
        }
        for notice in &sample.notices {
            progress.print_stderr(notice);
        }
        announcer.missed(sample.missed_ticks, profile.options().rate_hz);
        samples.add_to(profile, &sample);
        let counts = profile.counts();
        progress.update(&Status {
            elapsed: sample.elapsed,
            ticks: counts.ticks,
            samples: counts.samples,
            errors: counts.errors + counts.torn,
            rss_bytes: profile.rss().last(),
        });
    }
}
