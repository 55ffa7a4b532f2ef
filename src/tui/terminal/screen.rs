//! The thread that owns the terminal: draws snapshots and handles keys and signals of the terminal. It
//! never delays the sampling thread.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::input::Keys;
use super::suspend;
use super::term::{self, Input, Terminal};
use crate::os::process::launch::is_ignored;
use crate::tui::model::{Command, View};

/// Interval of checks for signals, new snapshots and the end.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// State shared by the sampling thread and the screen thread.
#[derive(Debug)]
pub struct ScreenChannel<T> {
    /// Ends both threads. Set by the caller, or when the user quits.
    pub stop: Arc<AtomicBool>,
    /// The sampling thread has ended.
    pub finished: AtomicBool,
    /// The user wants all counts discarded.
    pub reset: AtomicBool,
    /// The user wants this process stopped (Ctrl-Z). The sampling thread stops it while no thread of the
    /// target is paused, and clears the flag when the process runs again.
    pub suspend: AtomicBool,
    /// The newest snapshot, if not yet drawn.
    snapshot: Mutex<Option<Arc<T>>>,
}

impl<T> ScreenChannel<T> {
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self {
            stop,
            finished: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            suspend: AtomicBool::new(false),
            snapshot: Mutex::new(None),
        }
    }

    /// Passes a snapshot to the screen thread, in place of one that is not yet drawn.
    pub fn publish(&self, snapshot: Arc<T>) {
        *self.lock() = Some(snapshot);
    }

    fn take(&self) -> Option<Arc<T>> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must_end(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.finished.load(Ordering::SeqCst)
    }
}

/// A panic of the screen thread also ends the sampling.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Shows the live view until the end, and returns it with the user's choices.
///
/// # Errors
/// Those of the terminal. `stop` is then set.
pub fn show<V: View>(
    terminal: &Terminal,
    signals: &mut Signals,
    shared: &ScreenChannel<V::Snapshot>,
    mut view: V,
) -> io::Result<V> {
    let _stop = StopOnPanic(&shared.stop);
    let shown = show_until_end(terminal, signals, shared, &mut view);
    term::leave();
    if shown.is_err() {
        shared.stop.store(true, Ordering::SeqCst);
    }
    shown.map(|()| view)
}

fn show_until_end<V: View>(
    terminal: &Terminal,
    signals: &mut Signals,
    shared: &ScreenChannel<V::Snapshot>,
    view: &mut V,
) -> io::Result<()> {
    let mut keys = Keys::default();
    let mut snapshot = Arc::new(V::Snapshot::default());
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
                // After a SIGSTOP another process may have the terminal.
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
                thread::sleep(POLL_INTERVAL);
                continue;
            }
            suspended = false;
            terminal.enter()?;
        }
        if let Some(newest) = shared.take() {
            snapshot = newest;
            stale = true;
        }
        if std::mem::take(&mut stale) {
            terminal.draw(|buffer| view.draw(&snapshot, buffer))?;
        }
        match terminal.wait(POLL_INTERVAL) {
            Input::Nothing => {}
            Input::Gone => shared.stop.store(true, Ordering::SeqCst),
            Input::Bytes(bytes) => {
                for command in keys.decode(&bytes) {
                    match command {
                        Command::Reset => shared.reset.store(true, Ordering::SeqCst),
                        Command::Quit => shared.stop.store(true, Ordering::SeqCst),
                        command => view.handle(command),
                    }
                    stale = true;
                }
            }
        }
    }
    Ok(())
}

/// Registers the signals that [`show`] handles, without those that are ignored. Must be called before [`Terminal::enter`], so that none of
/// them leaves the terminal in raw mode.
///
/// # Errors
/// Those of `sigaction`.
pub fn signals() -> io::Result<Signals> {
    let all = [SIGTSTP, SIGCONT, SIGWINCH, SIGQUIT].into_iter();
    Signals::new(all.filter(|signal| !is_ignored(*signal)))
}
