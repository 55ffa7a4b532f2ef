//! Signals: the first one ends the sampling, the second one ends this process.
//!
//! A launched program is in the same process group, so it receives the terminal's signals (Ctrl-C)
//! directly. Signals sent to the PID of pyspy-rs alone are forwarded.

use std::fs;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid as NixPid, getpgrp, tcgetpgrp};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::os::Pid;
use crate::os::process::launch::is_ignored;
use crate::os::thread::start as thread;

/// The signals that end a recording.
const STOPPING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

const CANNOT_CATCH: &str = "cannot catch signals";

/// Catches the signals that end a recording, until the process ends.
#[derive(Clone, Debug)]
pub struct StopSignals {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicI32>,
    program: Arc<Mutex<Option<Pid>>>,
    handle: Handle,
}

impl StopSignals {
    /// Starts to catch SIGINT, SIGTERM and SIGHUP, except those that were ignored at the start: a
    /// launched program must inherit that. `clean_up` runs before a second signal ends this process.
    ///
    /// # Errors
    /// When the system refuses a handler or a thread.
    pub fn catch(clean_up: impl FnOnce() + Send + 'static) -> anyhow::Result<StopSignals> {
        let wanted = STOPPING.into_iter().filter(|signal| !is_ignored(*signal));
        let mut incoming = Signals::new(wanted).context(CANNOT_CATCH)?;
        let signals = StopSignals {
            stop: Arc::default(),
            received: Arc::default(),
            program: Arc::default(),
            handle: incoming.handle(),
        };
        let ours = signals.clone();
        let mut clean_up = Some(clean_up);
        thread::start("signals", move || {
            for signal in &mut incoming {
                if ours.received.swap(signal, Ordering::SeqCst) != 0 {
                    if let Some(clean_up) = clean_up.take() {
                        clean_up();
                    }
                    std::process::exit(128 + signal);
                }
                ours.forward(signal);
                ours.stop.store(true, Ordering::SeqCst);
            }
        })
        .context(CANNOT_CATCH)?;
        Ok(signals)
    }

    /// Catches SIGINT even if it was ignored: shells ignore it in background jobs of scripts, and scripts
    /// end a recording with `kill -INT`. (SIGHUP stays ignored, as `nohup` intends.)
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch_interrupt(&self) -> anyhow::Result<()> {
        self.handle.add_signal(SIGINT).context(CANNOT_CATCH)
    }

    /// A flag that the first signal sets. Anything else that ends the sampling may set it too.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// The first signal that was received.
    pub fn received(&self) -> Option<i32> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Sets the launched program to forward signals to; `None` before its PID can be reused.
    pub fn set_program(&self, pid: Option<Pid>) {
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    /// Sends a signal to the launched program, if it runs.
    pub fn send_to_program(&self, signal: Signal) {
        let program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *program {
            // Fails if the program has just ended, which is the purpose.
            let _ = kill(NixPid::from_raw(pid), signal);
        }
    }

    fn forward(&self, signal: i32) {
        if is_in_foreground() && signal != SIGTERM {
            return;
        }
        if let Ok(signal) = Signal::try_from(signal) {
            self.send_to_program(signal);
        }
    }
}

/// Whether Ctrl-C reaches this process group: it is in the foreground of a terminal.
fn is_in_foreground() -> bool {
    fs::File::open("/dev/tty")
        .ok()
        .and_then(|terminal| tcgetpgrp(terminal.as_fd()).ok())
        .is_some_and(|foreground| foreground == getpgrp())
}
