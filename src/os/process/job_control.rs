//! [`stop_self`]: what the kernel would have done with a stop signal that was caught.

use std::io;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

/// Gives a caught stop signal (SIGTSTP, SIGTTIN, SIGTTOU) its default effect once, and returns when
/// the process has been continued. The kernel decides whether it stops: not in an orphaned process
/// group, which no shell would continue (POSIX 3.264). SIGSTOP, which cannot be caught, always stops it.
///
/// # Errors
/// Those of `sigaction`.
pub fn stop_self(signal: Signal) -> io::Result<()> {
    if signal == Signal::SIGSTOP {
        return Ok(raise(signal)?);
    }
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler of ours is called by the default action.
    let caught = unsafe { sigaction(signal, &default) }?;
    // To this OS thread, which is stopped, with all others, before this returns.
    let raised = raise(signal);
    // SAFETY: this was the action before, so it is valid for as long as the process lives.
    unsafe { sigaction(signal, &caught) }?;
    Ok(raised?)
}
