//! `top`: the live view of a process, or of a program that we launch.

use std::io;

use super::options::TopOptions;
use super::report::timing;
use super::select::{candidates, container};
use crate::cpython::code::frame_table::FrameTable;
use crate::os::Pid;
use crate::os::ptrace::pause::PauseGuard;
use crate::profile::options::ProcessLabel;
use crate::sampler::Sampler;
use crate::sampler::processes::root::Root;
use crate::session::attach::{self, Launching};
use crate::session::errors::{UserError, print_stderr};
use crate::session::launch::{GRACE, Launched, status_of_failure};
use crate::session::options::{Program, Target};
use crate::session::signals::StopSignals;
use crate::text::escape::{command_line, for_terminal};
use crate::tui::model::{Ending, SampleSource, Title};
use crate::tui::terminal::term;
use crate::tui::top::state::Filter;
use crate::tui::top::{self, TopOptions as ShownOptions};

impl SampleSource for Sampler {
    fn frames(&self) -> &FrameTable {
        Sampler::frames(self)
    }

    fn process(&self, pid: Pid) -> Option<ProcessLabel> {
        Sampler::process(self, pid).map(|process| ProcessLabel {
            pid,
            parent: process.parent,
            command: for_terminal(&process.command).into(),
        })
    }

    fn settle(&mut self) {
        // A thread that cannot be let go yet waits in the kernel, and then is not held up by us.
        PauseGuard::settle();
    }
}

/// Shows the live view, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When there is no terminal, or the process cannot be looked at.
pub fn run(options: &TopOptions) -> anyhow::Result<u8> {
    match &options.target {
        Target::Pid(pid) => watch_process(*pid, options),
        Target::OnlyOne => watch_process(candidates::only_one()?, options),
        Target::ContainerTarget(inside) => watch_process(container::find(inside)?, options),
        Target::Program(program) => watch_program(program, options),
    }
}

fn watch_process(pid: Pid, options: &TopOptions) -> anyhow::Result<u8> {
    let root = attach::attach_tree(pid, options.sampling.subprocesses)?;
    let signals = catch_signals()?;
    signals.catch_interrupt()?;
    watch(root, options, &signals)?;
    Ok(0)
}

fn watch_program(program: &Program, options: &TopOptions) -> anyhow::Result<u8> {
    let signals = catch_signals()?;
    let mut launched = Launched::start(program, &signals)?;
    let shown = match attach::attach_launched(
        &launched,
        options.sampling.subprocesses,
        &signals.stop_flag(),
    ) {
        Ok(Launching::TapeMetadata(root)) => watch(*root, options, &signals),
        Ok(Launching::EndedEarly) => {
            print_stderr("The program ended before it could be looked at");
            Ok(Ending::ProgramEnded)
        }
        Ok(Launching::NeverPython(what)) => Err(attach::never_python(&what).into()),
        Err(error) => Err(error.into()),
    };
    match shown {
        // The user has quit: as py-spy does, the program ends with us.
        Ok(Ending::Stopped) if signals.received().is_none() => {
            launched.end(GRACE);
            Ok(0)
        }
        Ok(_) => Ok(launched.wait()),
        Err(error) => status_of_failure(launched.wait(), error),
    }
}

fn catch_signals() -> anyhow::Result<StopSignals> {
    StopSignals::catch(term::leave)
}

fn watch(root: Root, options: &TopOptions, signals: &StopSignals) -> anyhow::Result<Ending> {
    let stop = signals.stop_flag();
    let shown = ShownOptions {
        title: Title {
            command: command_line(&root.target().command_line()),
            pid: root.pid(),
            version: root.version().to_string(),
        },
        delay: options.delay,
        rate: f64::from(options.sampling.rate_hz),
        filter: Filter {
            idle: options.sampling.include_idle,
            gil: options.sampling.gil_only,
            cpu: options.sampling.cpu_time,
            collections: options.sampling.show_collections,
        },
        full_filenames: options.full_filenames,
    };
    attach::warn_without_gc(&root, &options.sampling);
    attach::warn_without_gil(&root, &options.sampling);
    let mut sampler = Sampler::new(root, options.sampling.for_sampler(&stop));
    let ending = top::run(&mut sampler, shown, &stop).map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => UserError::failure(
            error.to_string(),
            "top draws on a terminal; without one use record or dump",
        )
        .into(),
        _ => error.into(),
    });
    log::info!("{}", timing::pauses(&sampler.stats().pauses));
    ending
}
