//! `top`: the live view of a running process or of a launched program.

use std::io;

use super::options::TopOptions;
use super::report::timing;
use super::select::resolve;
use crate::profile::options::ProfileOptions;
use crate::sampler::processes::root::Root;
use crate::session::errors::UserError;
use crate::session::recording::{Run, SamplesOptions};
use crate::session::run::{Outcome, Started, run as run_command};
use crate::session::signals::StopSignals;
use crate::text::escape::command_line;
use crate::tui::model::Title;
use crate::tui::terminal::term;
use crate::tui::top;

/// Shows the live view, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When there is no terminal, or the process cannot be sampled.
pub fn run(options: &TopOptions) -> anyhow::Result<u8> {
    let process = resolve::process(&options.target, options.sampling.secrets)?;
    let signals = StopSignals::catch(term::leave)?;
    let subprocesses = options.sampling.subprocesses;
    run_command(&process, subprocesses, &signals, |started| match started {
        Started::Attached(root) => watch(root, options, &signals),
        Started::EndedEarly(program) => Outcome::ended_early(program),
    })
}

fn watch(root: Root, options: &TopOptions, signals: &StopSignals) -> Outcome {
    let sampling = options.sampling;
    let view = top::TopOptions {
        title: Title {
            command: command_line(&root.target().command_line().words(sampling.secrets)),
            pid: root.pid(),
            version: root.version().to_string(),
        },
        delay: options.delay,
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
    let (run, shown) = Run::observe(root, &samples, &stop, |samples| {
        top::run(samples, view, &stop)
    });
    log::info!("{}", timing::pauses(&run.stats.pauses));
    match shown {
        Ok(_) => Outcome {
            ending: run.ending,
            result: Ok(()),
        },
        Err(error) => Outcome::failure(match error.kind() {
            io::ErrorKind::Unsupported => UserError::failure(
                error.to_string(),
                "top needs a terminal; use record or dump without one",
            )
            .into(),
            _ => error.into(),
        }),
    }
}
