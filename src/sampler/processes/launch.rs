//! [`attach_launched`]: attaching to a program that we started, in time to see its first frames.

use std::time::{Duration, Instant};

use super::root::{Root, python_below};
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::process::TargetProcess;

/// How long to wait between two tries at first: an interpreter starts in about 10 ms.
const RETRY: Duration = Duration::from_micros(500);
/// How long at most. A program that takes long to become Python is not watched so closely: the
/// pauses grow to a fiftieth of the time that it has taken.
const LONGEST_RETRY: Duration = Duration::from_millis(20);
/// For how long a library may look half loaded, even on a crowded machine.
const LOADING: Duration = Duration::from_secs(2);

/// How long to wait at least between two looks for children.
const CHILDREN_EVERY: Duration = Duration::from_millis(10);
/// They take no more than one in so many parts of the time.
const MAX_SHARE: u32 = 20;

/// Attaches to a program as soon as its interpreter has something to show; with `subprocesses`, or that
/// of a process below it. `goes_on` is asked before each try: whether the program still runs and we were
/// not told to stop. `Ok(None)` when it said no. Without `subprocesses`, `tell` is called once if the
/// program is no Python but has started one.
///
/// A launched program may take its time: a shell script that ends in `exec python` is no Python at
/// first. So this waits as long as the program runs.
///
/// # Errors
/// What will not change: no permission, or a version that is not known.
pub fn attach_launched(
    pid: Pid,
    subprocesses: bool,
    mut goes_on: impl FnMut() -> bool,
    mut tell: impl FnMut(&TargetProcess),
) -> Result<Option<Root>, AttachError> {
    let start = Instant::now();
    let mut half_loaded = None;
    let mut next_children = Some(start + CHILDREN_EVERY);
    while goes_on() {
        let wait = (start.elapsed() / 50).clamp(RETRY, LONGEST_RETRY);
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
                    let child = python_below(&target);
                    // Nobody waits for what is only told.
                    let lazy = if subprocesses {
                        Duration::ZERO
                    } else {
                        start.elapsed()
                    };
                    let pause = (begin.elapsed() * MAX_SHARE).max(lazy);
                    next_children = Some(Instant::now() + pause.max(CHILDREN_EVERY));
                    match child {
                        Some(child) if subprocesses => {
                            let version = child.version();
                            return Ok(Some(Root::Other { target, version }));
                        }
                        Some(child) => {
                            tell(child.target());
                            next_children = None;
                        }
                        None => {}
                    }
                }
            }
            Err(error)
                if error.may_be_half_loaded()
                    && half_loaded.get_or_insert_with(Instant::now).elapsed() < LOADING => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(wait);
    }
    Ok(None)
}
