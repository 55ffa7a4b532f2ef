//! [`attach_launched`]: attaching to a program that we started, in time to see its first frames.

use std::time::{Duration, Instant};

use crate::cpython::{AttachError, PythonProcess};
use crate::target::Pid;

/// How long to wait between two tries: an interpreter starts in about 10 ms.
const RETRY: Duration = Duration::from_micros(500);
/// How long a program is tried that often.
const STARTING: Duration = Duration::from_secs(1);
/// How long to wait between two tries from then on.
const LATER_RETRY: Duration = Duration::from_millis(5);

/// Attaches to a program as soon as its interpreter has something to show. `goes_on` is asked before
/// each try: whether the program still runs and we were not told to stop. `Ok(None)` when it said no.
///
/// A launched program may take its time: a shell script that ends in `exec python` is no Python at
/// first. So this waits as long as the program runs.
///
/// # Errors
/// What will not change: no permission, or a version that is not known.
pub fn attach_launched(
    pid: Pid,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Option<PythonProcess>, AttachError> {
    let start = Instant::now();
    while goes_on() {
        // What takes longer is another program, which costs less to watch than to watch closely.
        let wait = match start.elapsed() {
            waited if waited < STARTING => RETRY,
            _ => LATER_RETRY,
        };
        match PythonProcess::attach(pid) {
            Ok(process) => return Ok(Some(process)),
            Err(
                AttachError::NoSuchProcess(_) | AttachError::Ended { .. } | AttachError::Io { .. },
            ) => std::thread::sleep(wait),
            Err(error) if error.may_become_python() => std::thread::sleep(wait),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
