//! `memory`: a recording of memory that is shown while it runs, as a plot or as lines.

use std::io::{self, Write};
use std::time::Duration;

use super::engine;
use super::options::{MemoryOptions, RecordOptions};
use super::record::create_files;
use super::report::announce::Announcer;
use super::report::{memory_lines, timing, write};
use super::select::resolve;
use crate::sampler::kernel::KernelEngine;
use crate::sampler::processes::root::Root;
use crate::session::errors::{UserError, is_closed_pipe, print_stderr};
use crate::session::files::PendingFiles;
use crate::session::launch::OwnOutput;
use crate::session::recording::{Run, Samples};
use crate::session::run::{Outcome, Started, run as run_command};
use crate::session::signals::StopSignals;
use crate::text::escape::command_line;
use crate::tui::app;
use crate::tui::memory::state::MemoryState;
use crate::tui::memory::view::MemoryView;
use crate::tui::model::{Model, Refreshes, Title};
use crate::tui::terminal::term::{self, can_draw};

/// Shows the plot or prints lines, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When the process cannot be sampled, or the file cannot be written.
pub fn run(options: &MemoryOptions) -> anyhow::Result<u8> {
    let process = resolve::process(&options.record.target, options.record.sampling.secrets)?;
    let files = match options.record.output {
        Some(_) => Some(create_files(&options.record, &process)?),
        None => None,
    };
    let discard = files.as_ref().map(PendingFiles::discard);
    let signals = StopSignals::catch(move || {
        term::leave();
        if let Some(discard) = discard {
            discard();
        }
    })?;
    let record = &options.record;
    // Before a program is launched, which is to be seen from its first moment on.
    let (engine, sampling) = engine::load(&process, record.engine, record.sampling)?;
    let options = &MemoryOptions {
        record: RecordOptions {
            sampling,
            ..record.clone()
        },
        ..options.clone()
    };
    let subprocesses = sampling.subprocesses;
    let beside = OwnOutput::of_view();
    run_command(
        &process,
        subprocesses,
        beside,
        &signals,
        |started| match started {
            Started::Attached(root) => watch(root, engine, options, files.as_ref(), &signals),
            Started::EndedEarly(program) => Outcome::ended_early(program),
        },
    )
}

fn watch(
    root: Root,
    engine: Option<KernelEngine>,
    options: &MemoryOptions,
    files: Option<&PendingFiles>,
    signals: &StopSignals,
) -> Outcome {
    let record = &options.record;
    let stop = signals.stop_flag();
    let view = MemoryView {
        title: Title {
            command: command_line(&root.target().command_line().words(record.sampling.secrets)),
            pid: root.pid(),
            version: root.version().to_string(),
            subprocesses: record.sampling.subprocesses,
        },
        by_line: false,
        file: (record.output.as_ref()).map(|path| path.to_string_lossy().into_owned()),
    };
    let refreshes = Refreshes {
        delay: options.delay,
        limit: None,
    };
    let mut state = MemoryState::new(record.profile_options());
    let (run, shown) = Run::observe(root, engine, &record.samples(), &stop, |samples| {
        if can_draw() {
            app::run(samples, &mut state, view, refreshes, &stop).map(|_| ())
        } else {
            print_lines(samples, &mut state, options.delay)
        }
    });
    log::info!("{}", timing::pauses(&run.stats.pauses));
    let ending = run.ending;
    let recording = run.into_recording(state.into_profile(), record.tables.clone());
    // What was recorded is written even if it could not be shown.
    let written = files.map_or(Ok(()), |files| {
        write::write(recording, files, record, &Announcer::on_stderr())
    });
    match shown {
        Ok(()) => Outcome {
            ending,
            result: written,
        },
        Err(error) => Outcome::failure(written.err().unwrap_or_else(|| {
            let hint = "the plot needs a terminal; `pyspy-rs memory … | cat` prints lines";
            UserError::failure(error.to_string(), hint).into()
        })),
    }
}

/// Prints a line after each delay, and the verdict at the end.
fn print_lines(samples: &mut Samples, state: &mut MemoryState, delay: Duration) -> io::Result<()> {
    match print_to(&mut io::stdout().lock(), samples, state, delay) {
        // The reader has closed the pipe, which ends the run.
        Err(error) if is_closed_pipe(&error) => Ok(()),
        result => result,
    }
}

fn print_to(
    out: &mut impl Write,
    samples: &mut Samples,
    state: &mut MemoryState,
    delay: Duration,
) -> io::Result<()> {
    writeln!(out, "{}", memory_lines::HEADING)?;
    let mut last = state.snapshot();
    let mut next = Duration::ZERO;
    while let Some(sample) = samples.next() {
        for notice in &sample.notices {
            print_stderr(notice);
        }
        state.add(&sample, samples);
        if sample.elapsed >= next {
            let now = state.tick();
            writeln!(out, "{}", memory_lines::line(&now, &last))?;
            out.flush()?;
            last = now;
            next = sample.elapsed.saturating_add(delay);
        }
    }
    let now = state.tick();
    writeln!(out, "{}", memory_lines::line(&now, &last))?;
    for line in memory_lines::closing(&now) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}
