//! [`attach_launched`]: attaching to a program that we started, in time to see its first frames.

use std::time::Duration;

use crate::cpython::{AttachError, PythonProcess};
use crate::target::Pid;

/// How long to wait between two tries: an interpreter starts in about 10 ms.
const RETRY: Duration = Duration::from_micros(500);

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
    while goes_on() {
        match PythonProcess::attach(pid) {
            Ok(process) => return Ok(Some(process)),
            Err(
                AttachError::StillStarting(_)
                | AttachError::NotPython { .. }
                | AttachError::NoSuchProcess(_)
                | AttachError::Io { .. },
            ) => std::thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
