//! `top`: the live view of a running process or of a launched program, or frames of text.

use super::engine;
use super::options::TopOptions;
use super::report::timing;
use super::select::resolve;
use crate::profile::options::ProfileOptions;
use crate::sampler::kernel::KernelEngine;
use crate::sampler::processes::root::Root;
use crate::session::errors::{UserError, without_number};
use crate::session::launch::OwnOutput;
use crate::session::recording::{Run, SamplesOptions};
use crate::session::run::{Outcome, Started, run as run_command};
use crate::session::signals::StopSignals;
use crate::text::escape::command_line;
use crate::tui::model::Title;
use crate::tui::terminal::term::{self, can_draw};
use crate::tui::top;
use crate::tui::top::plain::{DEFAULT_LINES, FrameSize};

/// More lines than any reader wants.
const MAX_LINES: usize = 10_000;

/// Shows the table on a terminal, else prints it, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When the process cannot be sampled, or the table cannot be written.
pub fn run(options: &TopOptions) -> anyhow::Result<u8> {
    let process = resolve::process(&options.target, options.sampling.secrets)?;
    let signals = StopSignals::catch(term::leave)?;
    // Before a program is launched, which is to be seen from its first moment on.
    let (engine, sampling) = engine::load(&process, options.engine, options.sampling)?;
    let options = &TopOptions {
        sampling,
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
            Started::Attached(root) => watch(root, engine, options, &signals),
            Started::EndedEarly(program) => Outcome::ended_early(program),
        },
    )
}

fn watch(
    root: Root,
    engine: Option<KernelEngine>,
    options: &TopOptions,
    signals: &StopSignals,
) -> Outcome {
    let sampling = options.sampling;
    let view = top::TopOptions {
        title: Title {
            command: command_line(&root.target().command_line().words(sampling.secrets)),
            pid: root.pid(),
            version: root.version().to_string(),
            subprocesses: sampling.subprocesses,
        },
        refreshes: options.refreshes,
        rate: f64::from(sampling.rate_hz),
        profile: ProfileOptions {
            selection: sampling.selection,
            weights: sampling.weights,
            full_filenames: options.full_filenames,
            ..ProfileOptions::default()
        },
    };
    let samples = SamplesOptions {
        sampling,
        duration: None,
        wants_sources: false,
    };
    let stop = signals.stop_flag();
    let (run, shown) = Run::observe(root, engine, &samples, &stop, |samples| {
        if can_draw() {
            top::run(samples, view, &stop)
        } else {
            top::print(samples, view, frame_size(), &stop)
        }
    });
    log::info!("{}", timing::pauses(&run.stats.pauses));
    match shown {
        Ok(_) => Outcome {
            ending: run.ending,
            result: Ok(()),
        },
        Err(error) => {
            let message = format!(
                "cannot show the table: {}",
                without_number(&error.to_string())
            );
            let hint = "redirect the output to another place";
            Outcome::failure(UserError::failure(message, hint).into())
        }
    }
}

/// The size of a frame: 24 whole lines, unless LINES and COLUMNS say otherwise.
fn frame_size() -> FrameSize {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        text.parse::<usize>().ok().filter(|number| *number > 0)
    };
    FrameSize {
        lines: number("LINES").unwrap_or(DEFAULT_LINES).min(MAX_LINES),
        columns: number("COLUMNS"),
    }
}
