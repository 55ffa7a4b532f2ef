//! The live view: where a running program spends its time, as a table that renews itself.
//!
//! [`run`] samples in the thread that calls it, since only the thread that attached to the target
//! may hold it still; a second thread owns the terminal. They share the last [`state::Snapshot`],
//! so that a slow terminal never holds up a sample.

mod growth;
mod help;
pub mod input;
pub mod job;
mod memory;
mod rows;
pub mod screen;
pub mod state;
pub mod term;
pub mod view;

#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod view_tests;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpython::FrameTable;
use crate::sampler::Sample;

use screen::Shared;
use state::{Filter, Snapshot, TopState};
use term::{LeaveOnDrop, Terminal};
use view::{Title, View};

/// The first table comes after this many samples, not after a whole delay; the last one covers no
/// fewer if it can.
const ENOUGH_SAMPLES: u64 = 10;
/// How long a terminal that takes no output may hold up our end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Delays beyond what anybody waits for are this one, about a year.
const MAX_DELAY: Duration = Duration::from_secs(1 << 25);

/// Where samples come from. `next` sleeps until the next one is due, and gives `None` when all
/// processes have ended or the `stop` flag of [`run`] is set.
pub trait SampleSource: Iterator<Item = Sample> {
    /// The frames that the samples speak of.
    fn frames(&self) -> &FrameTable;

    /// Lets go any thread of the target that is still held after `next`: called before Ctrl-Z
    /// stops us, for who knows how long.
    fn settle(&mut self);
}

/// What [`run`] shows, and how.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// What is looked at, for the header.
    pub title: Title,
    /// Time between two tables.
    pub delay: Duration,
    /// Samples per second that were asked for: turns counts into seconds.
    pub rate: f64,
    /// What counts.
    pub filter: Filter,
    /// Show `co_filename` rather than its part below the import root.
    pub full_filenames: bool,
}

/// Why the live view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source has no more samples: the program has ended.
    ProgramEnded,
    /// The user quit, or the caller's flag was set, or the terminal went away.
    Stopped,
}

/// Shows the live view until the source ends or `stop` is set, then leaves the last table as text
/// on the normal screen. Quitting by key sets `stop`, so that a source which watches the flag ends
/// its sleep.
///
/// The caller's signal handlers must set `stop` on SIGINT (which Ctrl-C sends; the terminal keeps
/// making signals), SIGTERM and SIGHUP. SIGTSTP, SIGCONT and SIGQUIT are handled here; handlers of
/// theirs stay installed afterwards, so that Ctrl-Z has no effect from then on. Ctrl-Z waits for
/// the sample under way, so that no thread of the target stays held while we are stopped.
///
/// A launched program that writes to the same terminal writes over the table; each renewal clears
/// the screen and draws all of it, and what the program wrote is gone with the screen. What such a
/// program reads from the terminal comes without line editing, and every key goes to whoever reads
/// first.
///
/// # Errors
/// `Unsupported` when stdout is no terminal that a table can be drawn on; any error of the terminal
/// later. The terminal is as it was before in every case.
pub fn run(
    source: &mut impl SampleSource,
    options: TopOptions,
    stop: &Arc<AtomicBool>,
) -> io::Result<Ending> {
    let terminal = Arc::new(Terminal::open()?);
    let mut signals = screen::signals()?;
    let shared = Arc::new(Shared::new(Arc::clone(stop)));
    let per_second = if options.filter.cpu {
        1e9
    } else {
        options.rate
    };
    let view = View::new(options.title, per_second);
    let mut state = TopState::new(options.filter, options.full_filenames);

    let leave = LeaveOnDrop;
    terminal.enter()?;
    let (report, reported) = channel();
    let on_screen = (Arc::clone(&terminal), Arc::clone(&shared), view.clone());
    thread::Builder::new()
        .name("top-screen".to_owned())
        .spawn(move || {
            let (terminal, shared, view) = on_screen;
            // The receiver goes only when it has lost patience.
            let _ = report.send(screen::show(&terminal, &mut signals, &shared, view));
        })?;
    let finish = FinishOnDrop(&shared);
    let delay = options.delay.min(MAX_DELAY);
    let (ending, last) = sample(source, &mut state, delay, &terminal, &shared);
    drop(finish);

    let shown = match reported.recv_timeout(PATIENCE) {
        Ok(shown) => shown,
        // Stuck in a terminal that takes no output: nothing can be told there.
        Err(RecvTimeoutError::Timeout) => return Ok(ending),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the live view failed")),
    };
    drop(leave);
    let view = match shown {
        Ok(view) => view,
        // A terminal that hung up is a way of being told to stop.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
            return Ok(ending);
        }
        Err(error) => return Err(error),
    };
    // A terminal or pipe that is gone needs no table.
    let _ = leave_table(&view, &last, terminal.size(), ending);
    Ok(ending)
}

/// Prints the last table, and what became of the program, on the normal screen.
fn leave_table(
    view: &View,
    last: &Snapshot,
    (width, height): (u16, u16),
    ending: Ending,
) -> io::Result<()> {
    // Room for the closing line and for the shell's prompt.
    let mut text = view.text(last, width, height.saturating_sub(3));
    if ending == Ending::ProgramEnded {
        text.push_str(&format!("\nProcess {} has ended.\n", view.title.pid));
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Tells the screen thread that sampling is over, also when a panic ends it.
struct FinishOnDrop<'a>(&'a Shared);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::SeqCst);
    }
}

fn sample(
    source: &mut impl SampleSource,
    state: &mut TopState,
    delay: Duration,
    terminal: &Terminal,
    shared: &Shared,
) -> (Ending, Arc<Snapshot>) {
    let mut last_table = Instant::now();
    let mut last = None;
    let ending = loop {
        if shared.suspend.load(Ordering::SeqCst) {
            source.settle();
            job::stop_until_foreground(terminal, &shared.stop);
            shared.suspend.store(false, Ordering::SeqCst);
        }
        if shared.stop.load(Ordering::SeqCst) {
            break Ending::Stopped;
        }
        let Some(sample) = source.next() else {
            let stopped = shared.stop.load(Ordering::SeqCst);
            break if stopped {
                Ending::Stopped
            } else {
                Ending::ProgramEnded
            };
        };
        let reset = shared.reset.swap(false, Ordering::SeqCst);
        if reset {
            state.reset();
        }
        state.add(&sample, source.frames());
        let early = last.is_none() && state.samples_now() >= ENOUGH_SAMPLES;
        if reset || early || last_table.elapsed() >= delay {
            let snapshot = Arc::new(state.tick());
            shared.publish(Arc::clone(&snapshot));
            last = Some(snapshot);
            last_table = Instant::now();
        }
    };
    match last {
        // Percentages of a moment that was cut short would say little.
        Some(last) if state.samples_now() < ENOUGH_SAMPLES => (ending, last),
        _ => (ending, Arc::new(state.tick())),
    }
}
