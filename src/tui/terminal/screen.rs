//! The thread that owns the terminal: draws snapshots, obeys keys and the terminal's signals, and
//! never holds up the thread that samples.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::input::{Command, Keys};
use super::suspend;
use super::term::{self, Input, Terminal};
use crate::tui::app::View;

/// How soon a signal, a new snapshot or the end is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the sampling thread and the screen thread tell each other.
#[derive(Debug)]
pub struct ScreenChannel<T> {
    /// The caller's: everything is to end. Also set by us when the user quits.
    pub stop: Arc<AtomicBool>,
    /// The sampling thread has ended.
    pub finished: AtomicBool,
    /// The user wants the counting to start anew.
    pub reset: AtomicBool,
    /// The user wants us stopped (Ctrl-Z). The sampling thread does it, at a moment when it holds
    /// no thread of the target, and clears this when we run again.
    pub suspend: AtomicBool,
    /// The newest that was seen and not yet drawn.
    seen: Mutex<Option<Arc<T>>>,
}

impl<T> ScreenChannel<T> {
    /// Nothing said yet.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self {
            stop,
            finished: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            suspend: AtomicBool::new(false),
            seen: Mutex::new(None),
        }
    }

    /// Hands what was seen to the screen, in place of what it has not drawn yet.
    pub fn publish(&self, seen: Arc<T>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    fn take_seen(&self) -> Option<Arc<T>> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn must_end(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.finished.load(Ordering::SeqCst)
    }
}

/// A panic of the screen thread ends the sampling, too.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Shows the live view until the end, and returns what the user chose to see.
///
/// # Errors
/// The terminal's refusal. `stop` is set then.
pub fn show<P: View>(
    terminal: &Terminal,
    signals: &mut Signals,
    shared: &ScreenChannel<P::Seen>,
    mut picture: P,
) -> io::Result<P> {
    let _stop = StopOnPanic(&shared.stop);
    let shown = show_until_end(terminal, signals, shared, &mut picture);
    term::leave();
    if shown.is_err() {
        shared.stop.store(true, Ordering::SeqCst);
    }
    shown.map(|()| picture)
}

fn show_until_end<P: View>(
    terminal: &Terminal,
    signals: &mut Signals,
    shared: &ScreenChannel<P::Seen>,
    picture: &mut P,
) -> io::Result<()> {
    let mut keys = Keys::default();
    let mut seen = Arc::new(P::Seen::default());
    let mut suspended = false;
    let mut stale = true;
    while !shared.must_end() {
        for signal in signals.pending() {
            match signal {
                SIGTSTP if !suspended && suspend::can_be_continued() => {
                    term::leave();
                    suspended = true;
                    shared.suspend.store(true, Ordering::SeqCst);
                }
                // A SIGSTOP took the terminal from us unasked, and maybe another has it now.
                SIGCONT if !suspended && terminal.is_foreground() => terminal.enter()?,
                SIGCONT if !suspended && suspend::can_be_continued() => {
                    suspended = true;
                    shared.suspend.store(true, Ordering::SeqCst);
                }
                SIGQUIT => {
                    term::leave();
                    emulate_default_handler(SIGQUIT)?;
                }
                _ => {}
            }
            stale = true;
        }
        if suspended {
            if shared.suspend.load(Ordering::SeqCst) {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            suspended = false;
            terminal.enter()?;
        }
        if let Some(newest) = shared.take_seen() {
            seen = newest;
            stale = true;
        }
        if std::mem::take(&mut stale) {
            terminal.draw(|buffer| picture.draw(&seen, buffer))?;
        }
        match terminal.wait(LOOK_EVERY) {
            Input::Nothing => {}
            Input::Gone => shared.stop.store(true, Ordering::SeqCst),
            Input::Bytes(bytes) => {
                for command in keys.decode(&bytes) {
                    match command {
                        Command::Reset => shared.reset.store(true, Ordering::SeqCst),
                        Command::Quit => shared.stop.store(true, Ordering::SeqCst),
                        command => picture.handle(command),
                    }
                    stale = true;
                }
            }
        }
    }
    Ok(())
}

/// The signals that [`show`] obeys. Registered before the terminal is taken, so that none of them
/// finds it taken and us unprepared.
///
/// # Errors
/// The system's refusal.
pub fn signals() -> io::Result<Signals> {
    Signals::new([SIGTSTP, SIGCONT, SIGWINCH, SIGQUIT])
}
