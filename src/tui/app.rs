//! [`run`]: a picture of a running program that renews itself, whatever it shows.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;

use super::terminal::input::Command;
use super::terminal::screen::{self, ScreenChannel};
use super::terminal::suspend;
use super::terminal::term::{LeaveOnDrop, Terminal};
use super::{Ending, SampleSource};
use crate::os::Pid;
use crate::sampler::sample::Sample;

/// The first picture comes after this many samples, not after a whole delay; the last one covers no
/// fewer if it can.
const ENOUGH_SAMPLES: u64 = 10;
/// How long a terminal that takes no output may hold up our end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Delays beyond what anybody waits for are this one, about a year.
const MAX_DELAY: Duration = Duration::from_secs(1 << 25);

/// What is counted of the samples.
pub trait Model {
    /// What is known at the end of an interval, for another thread to draw.
    type Seen: Default + Send + Sync + 'static;

    /// Counts a sample; `source` knows its frames (always in the same table) and processes.
    fn add(&mut self, sample: &Sample, source: &impl SampleSource);
    /// Samples of the running interval.
    fn samples_now(&self) -> u64;
    /// Ends the interval: what it saw, and a new one begins.
    fn tick(&mut self) -> Self::Seen;
    /// Forgets everything counted so far, if the user may ask for that.
    fn reset(&mut self);
}

/// How that is shown.
pub trait View: Clone + Send + 'static {
    /// What is shown.
    type Seen: Default + Send + Sync + 'static;

    /// The process that is looked at.
    fn pid(&self) -> Pid;
    /// Draws the whole screen.
    fn draw(&self, seen: &Self::Seen, buffer: &mut Buffer);
    /// The same as text, to be left on the normal screen: at most `height` lines of at most `width`
    /// cells, each ended by a newline.
    fn text(&self, seen: &Self::Seen, width: u16, height: u16) -> String;
    /// Does what the user wants; quitting and starting anew are not the picture's.
    fn handle(&mut self, command: Command);
}

/// Shows the picture until the source ends or `stop` is set, then leaves the last picture as text
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
pub fn run<P: View>(
    source: &mut impl SampleSource,
    counts: &mut impl Model<Seen = P::Seen>,
    picture: P,
    delay: Duration,
    stop: &Arc<AtomicBool>,
) -> io::Result<Ending> {
    let terminal = Arc::new(Terminal::open()?);
    let mut signals = screen::signals()?;
    let shared = Arc::new(ScreenChannel::new(Arc::clone(stop)));

    let leave = LeaveOnDrop;
    terminal.enter()?;
    let (report, reported) = channel();
    let on_screen = (Arc::clone(&terminal), Arc::clone(&shared), picture.clone());
    thread::Builder::new()
        .name("screen".to_owned())
        .spawn(move || {
            let (terminal, shared, picture) = on_screen;
            // The receiver goes only when it has lost patience.
            let _ = report.send(screen::show(&terminal, &mut signals, &shared, picture));
        })?;
    let finish = FinishOnDrop(&shared.finished);
    let delay = delay.min(MAX_DELAY);
    let (ending, last) = sample(source, counts, delay, &terminal, &shared);
    drop(finish);

    let shown = match reported.recv_timeout(PATIENCE) {
        Ok(shown) => shown,
        // Stuck in a terminal that takes no output: nothing can be told there.
        Err(RecvTimeoutError::Timeout) => return Ok(ending),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the live view failed")),
    };
    drop(leave);
    let picture = match shown {
        Ok(picture) => picture,
        // A terminal that hung up is a way of being told to stop.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
            return Ok(ending);
        }
        Err(error) => return Err(error),
    };
    // A terminal or pipe that is gone needs no picture.
    let _ = leave_picture(&picture, &last, terminal.size(), ending);
    Ok(ending)
}

/// Prints the last picture, and what became of the program, on the normal screen.
fn leave_picture<P: View>(
    picture: &P,
    last: &P::Seen,
    (width, height): (u16, u16),
    ending: Ending,
) -> io::Result<()> {
    // Room for the closing line and for the shell's prompt.
    let mut text = picture.text(last, width, height.saturating_sub(3));
    if ending == Ending::ProgramEnded {
        text.push_str(&format!("\nProcess {} has ended.\n", picture.pid()));
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Tells the screen thread that sampling is over, also when a panic ends it.
struct FinishOnDrop<'a>(&'a AtomicBool);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn sample<C: Model>(
    source: &mut impl SampleSource,
    counts: &mut C,
    delay: Duration,
    terminal: &Terminal,
    shared: &ScreenChannel<C::Seen>,
) -> (Ending, Arc<C::Seen>) {
    let mut last_picture = Instant::now();
    let mut last = None;
    let ending = loop {
        if shared.suspend.load(Ordering::SeqCst) {
            source.settle();
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
            counts.reset();
        }
        counts.add(&sample, source);
        let early = last.is_none() && counts.samples_now() >= ENOUGH_SAMPLES;
        if reset || early || last_picture.elapsed() >= delay {
            let snapshot = Arc::new(counts.tick());
            shared.publish(Arc::clone(&snapshot));
            last = Some(snapshot);
            last_picture = Instant::now();
        }
    };
    match last {
        // Percentages of a moment that was cut short would say little.
        Some(last) if counts.samples_now() < ENOUGH_SAMPLES => (ending, last),
        _ => (ending, Arc::new(counts.tick())),
    }
}
