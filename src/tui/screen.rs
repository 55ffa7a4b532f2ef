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
use super::job;
use super::state::Snapshot;
use super::term::{self, Input, Terminal};
use super::view::View;

/// How soon a signal, a new snapshot or the end is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the sampling thread and the screen thread tell each other.
#[derive(Debug)]
pub struct Shared {
    /// The caller's: everything is to end. Also set by us when the user quits.
    pub stop: Arc<AtomicBool>,
    /// The sampling thread has ended.
    pub finished: AtomicBool,
    /// The user wants the counting to start anew.
    pub reset: AtomicBool,
    /// The user wants us stopped (Ctrl-Z). The sampling thread does it, at a moment when it holds
    /// no thread of the target, and clears this when we run again.
    pub suspend: AtomicBool,
    /// The newest snapshot that was not yet drawn.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
}

impl Shared {
    /// Nothing said yet.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self {
            stop,
            finished: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            suspend: AtomicBool::new(false),
            snapshot: Mutex::new(None),
        }
    }

    /// Hands a snapshot to the screen, in place of one that it has not drawn yet.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    fn take_snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot
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
pub fn show(
    terminal: &Terminal,
    signals: &mut Signals,
    shared: &Shared,
    mut view: View,
) -> io::Result<View> {
    let _stop = StopOnPanic(&shared.stop);
    let shown = show_until_end(terminal, signals, shared, &mut view);
    term::leave();
    if shown.is_err() {
        shared.stop.store(true, Ordering::SeqCst);
    }
    shown.map(|()| view)
}

fn show_until_end(
    terminal: &Terminal,
    signals: &mut Signals,
    shared: &Shared,
    view: &mut View,
) -> io::Result<()> {
    let mut keys = Keys::default();
    let mut snapshot = Arc::new(Snapshot::default());
    let mut suspended = false;
    let mut stale = true;
    while !shared.must_end() {
        for signal in signals.pending() {
            match signal {
                SIGTSTP if !suspended && job::can_be_continued() => {
                    term::leave();
                    suspended = true;
                    shared.suspend.store(true, Ordering::SeqCst);
                }
                // A SIGSTOP took the terminal from us unasked, and maybe another has it now.
                SIGCONT if !suspended && terminal.is_foreground() => terminal.enter()?,
                SIGCONT if !suspended && job::can_be_continued() => {
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
        if let Some(newest) = shared.take_snapshot() {
            snapshot = newest;
            stale = true;
        }
        if std::mem::take(&mut stale) {
            terminal.draw(|buffer| view.draw(&snapshot, buffer))?;
        }
        match terminal.wait(LOOK_EVERY) {
            Input::Nothing => {}
            Input::Gone => shared.stop.store(true, Ordering::SeqCst),
            Input::Bytes(bytes) => {
                for command in keys.decode(&bytes) {
                    obey(command, view, shared);
                    stale = true;
                }
            }
        }
    }
    Ok(())
}

fn obey(command: Command, view: &mut View, shared: &Shared) {
    match command {
        Command::Sort(column) => view.sort = column,
        Command::ToggleLines => view.by_line = !view.by_line,
        Command::Reset => shared.reset.store(true, Ordering::SeqCst),
        Command::ToggleHelp => view.help = !view.help,
        Command::CloseHelp => view.help = false,
        Command::Quit => shared.stop.store(true, Ordering::SeqCst),
    }
}

/// The signals that [`show`] obeys. Registered before the terminal is taken, so that none of them
/// finds it taken and us unprepared.
///
/// # Errors
/// The system's refusal.
pub fn signals() -> io::Result<Signals> {
    Signals::new([SIGTSTP, SIGCONT, SIGWINCH, SIGQUIT])
}
