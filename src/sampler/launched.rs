//! [`attach_launched`]: attaching to a program that we started, in time to see its first frames.

use std::time::{Duration, Instant};

use crate::cpython::{AttachError, PythonProcess};
use crate::target::Pid;

/// How long to wait between two tries at first: an interpreter starts in about 10 ms.
const RETRY: Duration = Duration::from_micros(500);
/// How long at most. A program that takes long to become Python is not watched so closely: the
/// pauses grow to a fiftieth of the time that it has taken.
const LONGEST_RETRY: Duration = Duration::from_millis(20);
/// For how long a library may look half loaded, even on a crowded machine.
const LOADING: Duration = Duration::from_secs(2);

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
    let mut half_loaded = None;
    while goes_on() {
        let wait = (start.elapsed() / 50).clamp(RETRY, LONGEST_RETRY);
        match PythonProcess::attach(pid) {
            Ok(process) => return Ok(Some(process)),
            Err(
                AttachError::NoSuchProcess(_) | AttachError::Ended { .. } | AttachError::Io { .. },
            ) => std::thread::sleep(wait),
            Err(error) if error.may_become_python() => std::thread::sleep(wait),
            Err(error)
                if error.may_be_half_loaded()
                    && half_loaded.get_or_insert_with(Instant::now).elapsed() < LOADING =>
            {
                std::thread::sleep(wait);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
