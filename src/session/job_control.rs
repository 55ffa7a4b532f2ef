//! Ctrl-Z, and the stops of a background process that uses the terminal: they wait until no thread of
//! the target is paused. A SIGSTOP that did not wait is made up for: the watchdog continues this process, which
//! then stops itself.
//!
//! A launched program is in the same process group, so it receives the terminal's Ctrl-Z itself.

use anyhow::Context;
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU};
use signal_hook::iterator::Signals;

use crate::os::hold;
use crate::os::process::job_control::stop_self;
use crate::os::process::launch::is_ignored;
use crate::os::thread::start;

const CANNOT_CATCH: &str = "cannot catch the signals of job control";

/// Catches the signals that stop this process, until it ends, except those that are ignored.
/// `has_screen`: a live view is to be shown, which restores the terminal before it stops for Ctrl-Z,
/// and sees to that signal itself.
///
/// # Errors
/// When the system refuses a handler or a thread.
pub fn start(has_screen: bool) -> anyhow::Result<()> {
    let all = [SIGTTIN, SIGTTOU, SIGTSTP, SIGCONT].into_iter();
    let ours = all.filter(|signal| !(has_screen && *signal == SIGTSTP));
    let ours = ours.filter(|one| !is_ignored(*one)).collect::<Vec<_>>();
    if ours.contains(&SIGCONT) {
        hold::count_continues().context(CANNOT_CATCH)?;
    }
    let mut incoming = Signals::new(ours).context(CANNOT_CATCH)?;
    start::start("job control", move || {
        for signal in incoming.forever().flat_map(Signal::try_from) {
            hold::while_nothing_is_held(|| {
                let signal = match signal {
                    // Asked here: whoever continues us before this moment wants no stop.
                    Signal::SIGCONT if hold::take_stop_request() => Signal::SIGSTOP,
                    Signal::SIGCONT => return,
                    signal => signal,
                };
                if let Err(error) = stop_self(signal) {
                    log::warn!("cannot stop for {signal}: {error}");
                }
            });
        }
    })
    .context(CANNOT_CATCH)?;
    Ok(())
}
