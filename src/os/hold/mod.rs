//! [`Hold`]: counts what this process holds by ptrace, so that it is stopped by job control only
//! while that is nothing.
//!
//! A thread of the target that is paused when Ctrl-Z stops us stays paused until we are continued,
//! as only the tracing task can resume it. So Ctrl-Z first closes this gate: no pause begins, the
//! ones that exist end within milliseconds, and then the stop follows. SIGSTOP asks no process first:
//! the [`watchdog`] continues us, and the stop is then made up for in the same way. Against the freezer
//! of a control group this does nothing.

mod board;
pub mod watchdog;

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use board::board;
use nix::libc;

pub use board::Reading;

/// Interval of checks while one side waits for the other.
const NAP: Duration = Duration::from_micros(200);

/// Whether the gate is closed.
static CLOSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What this OS thread holds.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// One paused thread of a target, or an attempt to pause some. ptrace binds those to the OS thread,
/// hence this too.
#[derive(Debug)]
pub struct Hold {
    _bound_to_thread: PhantomData<*const ()>,
}

impl Hold {
    /// Begins to hold something. Waits while the gate is closed, unless this OS thread holds
    /// something already: then the gate's owner waits for it.
    pub fn begin() -> Hold {
        loop {
            let hold = Hold::another();
            // Counted before this check, and the gate is closed before the count is read
            // (`while_nothing_is_held`): one of the two sees the other.
            if OWN.get() > 1 || !CLOSED.load(Ordering::SeqCst) {
                return hold;
            }
            drop(hold);
            thread::sleep(NAP);
        }
    }

    fn another() -> Hold {
        board().held.fetch_add(1, Ordering::SeqCst);
        board::watch_this_thread();
        OWN.set(OWN.get().saturating_add(1));
        Hold {
            _bound_to_thread: PhantomData,
        }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Hold {
        Hold::another()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        OWN.set(OWN.get().saturating_sub(1));
        board().held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether this OS thread should not begin to sample: the process is about to be stopped, and this
/// thread holds nothing that has to be resumed first.
pub fn must_wait() -> bool {
    CLOSED.load(Ordering::Relaxed) && OWN.get() == 0
}

/// Waits until this process holds nothing, and runs `stop`; no pause begins before that returns. A
/// thread that cannot be resumed yet, as it is in a disk wait, delays this until it can. Must be
/// called by an OS thread that pauses nothing.
pub fn while_nothing_is_held(stop: impl FnOnce()) {
    CLOSED.store(true, Ordering::SeqCst);
    while board().held.load(Ordering::SeqCst) != 0 {
        thread::sleep(NAP);
    }
    stop();
    CLOSED.store(false, Ordering::SeqCst);
}

/// Whether the watchdog has continued this process after a SIGSTOP, so that it is to be stopped again while
/// nothing is held. `true` only once for each, and not after a SIGCONT of somebody else.
pub fn take_stop_request() -> bool {
    board().take_stop_request()
}

/// Counts the SIGCONTs of others than the watchdog, until this process ends; to be called before another
/// handler of that signal that calls [`take_stop_request`].
///
/// # Errors
/// Those of `sigaction`.
pub fn count_continues() -> io::Result<()> {
    let count = |info: &libc::siginfo_t| {
        // SAFETY: `kill` sent it, so the field is filled in; for another SIGCONT it is a number of no meaning, which
        // the watchdog's differs from.
        let sender = unsafe { info.si_pid() };
        if !watchdog::is_watchdog(sender) {
            board().continued.fetch_add(1, Ordering::SeqCst);
        }
    };
    // SAFETY: the handler only reads and writes atomic values.
    unsafe { signal_hook_registry::register_sigaction(libc::SIGCONT, count) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The counts are of the whole process, in which other tests pause threads meanwhile.

    #[test]
    fn a_stop_waits_for_all_holds_and_no_new_one_begins_meanwhile() {
        let first = Hold::begin();
        let second = first.clone();
        let stopped = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while_nothing_is_held(|| stopped.store(true, Ordering::SeqCst));
            });
            while !CLOSED.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            // What holds something may hold more: it is waited for.
            assert!(!must_wait());
            drop(Hold::begin());
            drop(first);
            assert!(!stopped.load(Ordering::SeqCst));
            drop(second);
            // Begins only after the stop.
            let third = Hold::begin();
            assert!(stopped.load(Ordering::SeqCst));
            drop(third);
        });
        assert!(!must_wait());
    }
}
