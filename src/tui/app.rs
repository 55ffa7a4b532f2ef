//! [`run`]: a live view of a running program, independent of its contents.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::model::{ENOUGH_SAMPLES, Ending, Model, Refreshes, SampleSource, View};
use super::terminal::screen::{self, ScreenChannel};
use super::terminal::suspend;
use super::terminal::term::{LeaveOnDrop, Terminal};
use crate::os::thread::start::start;

/// Longest wait at the end for a terminal that accepts no output.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Draws the view until the source ends, `stop` is set, or there were as many refreshes as are wanted, then prints the last snapshot on the normal
/// screen. A key to quit sets `stop`, so that a source that checks the flag ends its sleep.
///
/// The caller's signal handlers must set `stop` on SIGINT (from Ctrl-C, since the terminal still generates
/// signals), SIGTERM and SIGHUP. SIGTSTP, SIGCONT and SIGQUIT are handled here. Their handlers stay
/// installed, so that Ctrl-Z has no effect after the return. Ctrl-Z waits for the current sample, so that no
/// thread of the target stays paused while this process is stopped.
///
/// A program that writes to the same terminal overwrites the table; each update clears the screen and draws
/// everything. A launched program does so only if it opens the terminal itself: see
/// [`Streams`](crate::os::process::streams::Streams).
///
/// # Errors
/// `Unsupported` if stdout is not a terminal that can show a table; later, any error of the terminal. The
/// terminal is restored in all cases.
pub fn run<V: View>(
    source: &mut impl SampleSource,
    model: &mut impl Model<Snapshot = V::Snapshot>,
    view: V,
    refreshes: Refreshes,
    stop: &Arc<AtomicBool>,
) -> io::Result<Ending> {
    let terminal = Arc::new(Terminal::open()?);
    let mut signals = screen::signals()?;
    let shared = Arc::new(ScreenChannel::new(Arc::clone(stop)));

    let leave = LeaveOnDrop;
    terminal.enter()?;
    let (report, reported) = channel();
    let on_screen = (Arc::clone(&terminal), Arc::clone(&shared), view);
    start("screen", move || {
        let (terminal, shared, view) = on_screen;
        // The receiver is dropped only after EXIT_TIMEOUT.
        let _ = report.send(screen::show(&terminal, &mut signals, &shared, view));
    })
    .map_err(io::Error::other)?;
    let finish = FinishOnDrop(&shared.finished);
    let (ending, last) = sample(source, model, refreshes, &terminal, &shared);
    drop(finish);

    let shown = match reported.recv_timeout(EXIT_TIMEOUT) {
        Ok(shown) => shown,
        // The terminal accepts no output.
        Err(RecvTimeoutError::Timeout) => return Ok(ending),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the live view failed")),
    };
    drop(leave);
    let view = match shown {
        Ok(view) => view,
        // A terminal that hung up is a request to stop.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
            return Ok(ending);
        }
        Err(error) => return Err(error),
    };
    // Errors of a terminal or pipe that is closed do not matter here.
    let _ = print_last(&view, &last, terminal.size(), ending);
    Ok(ending)
}

/// Prints the last snapshot, and whether the program has ended, on the normal screen.
fn print_last<V: View>(
    view: &V,
    last: &V::Snapshot,
    (width, height): (u16, u16),
    ending: Ending,
) -> io::Result<()> {
    // Leave room for the closing line and the shell's prompt.
    let mut text = view.text(last, width, height.saturating_sub(3));
    if ending == Ending::ProgramEnded {
        text.push_str(&format!("\nProcess {} has ended.\n", view.pid()));
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Tells the screen thread that sampling has ended, even by a panic.
struct FinishOnDrop<'a>(&'a AtomicBool);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn sample<M: Model>(
    source: &mut impl SampleSource,
    model: &mut M,
    refreshes: Refreshes,
    terminal: &Terminal,
    shared: &ScreenChannel<M::Snapshot>,
) -> (Ending, Arc<M::Snapshot>) {
    let mut last_tick = Instant::now();
    let mut last = None;
    let mut refreshed = 0;
    let ending = loop {
        // A thread that cannot be resumed yet would stop as soon as it can, and stay so: Ctrl-Z waits.
        if shared.suspend.load(Ordering::SeqCst) && source.settle() {
            suspend::stop_until_foreground(terminal, &shared.stop);
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
            model.reset();
        }
        model.add(&sample, source);
        // The first snapshot need not wait for a whole delay.
        let early = last.is_none() && model.samples_now() >= ENOUGH_SAMPLES;
        let is_due = last_tick.elapsed() >= refreshes.delay;
        if reset || early || is_due {
            let snapshot = Arc::new(model.tick());
            shared.publish(Arc::clone(&snapshot));
            last = Some(snapshot);
            last_tick = Instant::now();
            refreshed += u64::from(is_due);
            if refreshes.limit == Some(refreshed) {
                break Ending::Stopped;
            }
        }
    };
    match last {
        // The percentages of a short interval would be meaningless.
        Some(last) if model.samples_now() < ENOUGH_SAMPLES => (ending, last),
        _ => (ending, Arc::new(model.tick())),
    }
}
