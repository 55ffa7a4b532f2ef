//! [`attach_launched`]: attaches to a program that we started, as soon as it runs Python code.

use std::time::{Duration, Instant};

use super::root::{Root, python_below};
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::process::TargetProcess;
use crate::os::work_budget::EXAMINE;

/// Shortest wait between two attempts. An interpreter starts in about 10 ms.
const MIN_RETRY: Duration = Duration::from_micros(500);
/// Longest wait. The waits grow with the time since the launch.
const MAX_RETRY: Duration = Duration::from_millis(20);
/// A wait is the time since the launch divided by this.
const RETRY_DIVISOR: u32 = 50;
/// How long a library may appear half loaded, even on a contended machine.
const MAX_LOADING: Duration = Duration::from_secs(2);

/// Shortest wait between two searches for children.
const CHILDREN_INTERVAL: Duration = Duration::from_millis(10);
/// Searches for children take at most one part in so many of the time.
const MAX_SHARE: u32 = 20;

/// Attaches to a program as soon as its interpreter runs code or, with `subprocesses`, as soon as that
/// of a descendant does. `may_continue` is called before each attempt and returns whether the program
/// still runs and the user has not interrupted; the result is `Ok(None)` once it returns `false`.
/// Without `subprocesses`, `on_child` is called once if the program is not a Python but has started one.
///
/// There is no time limit: a shell script that ends in `exec python` may run for long before that.
///
/// # Errors
/// Those that are permanent: no permission, or an unsupported version.
pub fn attach_launched(
    pid: Pid,
    subprocesses: bool,
    mut may_continue: impl FnMut() -> bool,
    mut on_child: impl FnMut(&TargetProcess),
) -> Result<Option<Root>, AttachError> {
    let start = Instant::now();
    let mut half_loaded = None;
    let mut next_children = Some(start + CHILDREN_INTERVAL);
    while may_continue() {
        let wait = (start.elapsed() / RETRY_DIVISOR).clamp(MIN_RETRY, MAX_RETRY);
        match PythonProcess::attach(pid) {
            Ok(process) => return Ok(Some(process.into())),
            Err(
                AttachError::NoSuchProcess(_) | AttachError::Ended { .. } | AttachError::Io { .. },
            ) => {}
            Err(error) if error.may_become_python() => {
                let begin = Instant::now();
                if next_children.is_some_and(|next| next <= begin)
                    && let Ok(target) = TargetProcess::open(pid)
                {
                    let child = python_below(&target, Deadline::after(EXAMINE));
                    // A message is less urgent than attaching.
                    let delay = if subprocesses {
                        Duration::ZERO
                    } else {
                        start.elapsed()
                    };
                    let pause = (begin.elapsed() * MAX_SHARE).max(delay);
                    next_children = Some(Instant::now() + pause.max(CHILDREN_INTERVAL));
                    match child {
                        Some(child) if subprocesses => {
                            let version = child.version();
                            return Ok(Some(Root::Other { target, version }));
                        }
                        Some(child) => {
                            on_child(child.target());
                            next_children = None;
                        }
                        None => {}
                    }
                }
            }
            Err(error)
                if error.may_be_half_loaded()
                    && half_loaded.get_or_insert_with(Instant::now).elapsed() < MAX_LOADING => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(wait);
    }
    Ok(None)
}
