//! `memory`: a recording of memory that is looked at while it goes on.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::options::MemoryOptions;
use super::record::{self, PendingOutput, Recording, profile_options};
use super::report::timing;
use super::select::{candidates, container};
use crate::os::Pid;
use crate::output::format::Format;
use crate::output::meta::Meta;
use crate::rss::attribution::Growth;
use crate::sampler::processes::root::Root;
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::attach::{self, Launching};
use crate::session::errors::{UserError, print_stderr};
use crate::session::launch::{GRACE, Launched, status_of_failure};
use crate::session::options::{Program, Target};
use crate::session::signals::StopSignals;
use crate::session::sources::Sources;
use crate::text::escape::{command_line, for_terminal};
use crate::text::units::{mib_number, size_change};
use crate::tui::Ending;
use crate::tui::app::{self, Model};
use crate::tui::memory::state::{MemorySeen, MemoryState};
use crate::tui::memory::view::MemoryView;
use crate::tui::rows::row::Row;
use crate::tui::terminal::term;
use crate::tui::top::view::Title;

/// Functions that are named below the verdict where stdout is no terminal.
const NAMED_FUNCTIONS: usize = 5;

/// Shows the plot, or prints lines, and returns the exit status: 0, or a launched program's own.
///
/// # Errors
/// When the process cannot be looked at, or the file not written.
pub fn run(options: &MemoryOptions) -> anyhow::Result<u8> {
    match &options.record.target {
        Target::Pid(pid) => watch_process(*pid, options),
        Target::OnlyOne => watch_process(candidates::only_one()?, options),
        Target::ContainerTarget(inside) => watch_process(container::find(inside)?, options),
        Target::Program(program) => watch_program(program, options),
    }
}

fn watch_process(pid: Pid, options: &MemoryOptions) -> anyhow::Result<u8> {
    let place = take_place(options, &pid.to_string())?;
    let signals = catch_signals(place.as_ref())?;
    signals.catch_interrupt()?;
    let root = attach::attach_tree(pid, options.record.sampling.subprocesses)?;
    watch(root, options, place, &signals)?;
    Ok(0)
}

fn watch_program(program: &Program, options: &MemoryOptions) -> anyhow::Result<u8> {
    let place = take_place(options, &program.file.to_string_lossy())?;
    let signals = catch_signals(place.as_ref())?;
    let mut launched = Launched::start(program, &signals)?;
    let shown = match attach::attach_launched(
        &launched,
        options.record.sampling.subprocesses,
        &signals.stop_flag(),
    ) {
        Ok(Launching::TapeMetadata(root)) => watch(*root, options, place, &signals),
        Ok(Launching::EndedEarly) => {
            print_stderr("The program ended before it could be looked at");
            Ok(record::Ending::ProgramEnded)
        }
        Ok(Launching::NeverPython(what)) => Err(attach::never_python(&what).into()),
        Err(error) => Err(error.into()),
    };
    match shown {
        // The time is over, or the user has quit: as in `record` and `top`, the program ends with us.
        Ok(record::Ending::Duration) => {
            launched.end(GRACE);
            Ok(0)
        }
        Ok(record::Ending::Signal) if signals.received().is_none() => {
            launched.end(GRACE);
            Ok(0)
        }
        Ok(_) => Ok(launched.wait()),
        Err(error) => status_of_failure(launched.wait(), error),
    }
}

/// The place of the file, before anything starts; `None` when none is to be written.
fn take_place(options: &MemoryOptions, target: &str) -> anyhow::Result<Option<PendingOutput>> {
    let wanted = options.record.output.is_some();
    wanted
        .then(|| PendingOutput::take(&options.record, target))
        .transpose()
}

fn catch_signals(place: Option<&PendingOutput>) -> anyhow::Result<StopSignals> {
    let give_up = place.map(PendingOutput::give_up);
    StopSignals::catch(move || {
        term::leave();
        if let Some(give_up) = give_up {
            give_up();
        }
    })
}

fn watch(
    root: Root,
    options: &MemoryOptions,
    place: Option<PendingOutput>,
    signals: &StopSignals,
) -> anyhow::Result<record::Ending> {
    let record = &options.record;
    let stop = signals.stop_flag();
    let title = Title {
        command: command_line(&root.target().command_line()),
        pid: root.pid(),
        version: root.version().to_string(),
    };
    let mut meta = Meta {
        command: title.command.clone(),
        python_version: Some(title.version.clone()),
        start: Some(SystemTime::now()),
        duration: Duration::ZERO,
        tables: record.tables.clone(),
    };
    let mut sources = Sources::new(record.format == Format::Lines);
    sources.see(root.pid());
    let file = record.output.as_ref();
    let view = MemoryView {
        title,
        by_line: false,
        file: file.map(|path| path.to_string_lossy().into_owned()),
    };
    let sampling = SamplerOptions {
        duration: record.duration,
        ..record.sampling.for_sampler(&stop)
    };
    let mut sampler = Sampler::new(root, sampling);
    let mut state = MemoryState::new(profile_options(record));
    let shown = if can_draw() {
        app::run(&mut sampler, &mut state, view, options.delay, &stop)
    } else {
        print_lines(&mut sampler, &mut state, options.delay, &stop)
    };
    log::info!("{}", timing::pauses(&sampler.stats().pauses));
    let ending = match &shown {
        Ok(Ending::ProgramEnded) if sampler.is_time_over() => record::Ending::Duration,
        Ok(Ending::ProgramEnded) => record::Ending::ProgramEnded,
        Ok(Ending::Stopped) | Err(_) => record::Ending::Signal,
    };
    let profile = state.finish();
    meta.duration = match (ending, record.duration) {
        (record::Ending::Duration, Some(time)) => time,
        _ => profile.last_elapsed(),
    };
    let recording = Recording {
        profile,
        stats: sampler.stats().clone(),
        meta,
        sources,
        ending,
        last_error: None,
    };
    // What was recorded is written even if it could not be shown to the end.
    if let Some(place) = place {
        recording.write(place, record)?;
    }
    shown.map_err(|error| {
        let hint = "the plot needs a terminal; `pyspy-rs memory … | cat` prints lines";
        UserError::failure(error.to_string(), hint)
    })?;
    Ok(ending)
}

fn can_draw() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints a line after each delay, and at the end what the memory did.
fn print_lines(
    sampler: &mut Sampler,
    state: &mut MemoryState,
    delay: Duration,
    stop: &Arc<AtomicBool>,
) -> io::Result<Ending> {
    let mut out = io::stdout().lock();
    let mut printed = || -> io::Result<()> {
        writeln!(
            out,
            "Seconds    RSS MiB   Peak MiB    Growth  Most of it since the last line"
        )?;
        let mut last = state.seen();
        let mut next = Duration::ZERO;
        while let Some(sample) = sampler.next() {
            sample
                .notices
                .iter()
                .for_each(|notice| print_stderr(notice));
            state.add(&sample, sampler);
            if sample.elapsed >= next {
                let seen = state.tick();
                writeln!(out, "{}", line(&seen, &last))?;
                out.flush()?;
                last = seen;
                next = sample.elapsed.saturating_add(delay);
            }
        }
        let seen = state.tick();
        writeln!(out, "{}", line(&seen, &last))?;
        for line in closing(&seen) {
            writeln!(out, "{line}")?;
        }
        out.flush()
    };
    match printed() {
        Ok(()) if stop.load(Ordering::SeqCst) => Ok(Ending::Stopped),
        Ok(()) => Ok(Ending::ProgramEnded),
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ending::Stopped),
        Err(error) => Err(error),
    }
}

/// One line: the numbers, and which function added most since `last`.
fn line(seen: &MemorySeen, last: &MemorySeen) -> String {
    let [now, _, peak] = seen.rss_bytes.unwrap_or_default();
    let before = |row: &Row| {
        let mut rows = last.functions.iter();
        let same = |old: &&Row| (&old.name, &old.filename) == (&row.name, &row.filename);
        rows.find(same).map_or(0, |old| old.own_growth.net_bytes())
    };
    let most = seen
        .functions
        .iter()
        .map(|row| (row.own_growth.net_bytes().saturating_sub(before(row)), row))
        .max_by_key(|(bytes, _)| *bytes)
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, row)| format!("  {} {}", size_change(bytes), for_terminal(&row.text())));
    format!(
        "{:>7.1} {:>10} {:>10} {:>9}{}",
        seen.elapsed.as_secs_f64(),
        mib_number(now),
        mib_number(peak),
        size_change(seen.growth().unwrap_or(0)),
        most.unwrap_or_default()
    )
}

/// The verdict, and the functions that added most.
fn closing(seen: &MemorySeen) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(seen.verdict.map(|verdict| format!("Memory: {verdict}")));
    for row in seen.lines.iter().take(NAMED_FUNCTIONS) {
        let Growth {
            grown_bytes,
            released_bytes,
        } = row.own_growth;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        lines.push(format!(
            "{:>9} grown, {:>9} freed  {}",
            size_change(signed(grown_bytes)),
            size_change(-signed(released_bytes)),
            for_terminal(&row.text())
        ));
    }
    lines
}
