//! Attaching with the patience that a starting interpreter needs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use super::errors::{Advised, say};
use super::options::Sampling;
use super::program::Launched;
use crate::cpython::{AttachError, PythonProcess};
use crate::sampler;
use crate::target::Pid;

/// How long a process that was named may still be starting.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const RETRY: Duration = Duration::from_millis(20);

/// Attaches to a process that runs, and waits a moment for one that is still starting.
///
/// # Errors
/// See [`AttachError`].
pub fn attach(pid: Pid) -> Result<PythonProcess, AttachError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match PythonProcess::attach(pid) {
            Err(error) if error.is_temporary() && Instant::now() < deadline => {
                thread::sleep(RETRY);
            }
            result => return result,
        }
    }
}

/// Says so when garbage collections are asked for and the version has no sign of them.
pub fn warn_without_gc(process: &PythonProcess, sampling: &Sampling) {
    if sampling.show_collections && process.python().layout.gc.collecting.is_none() {
        say(&format!(
            "warning: Python {} does not tell when it collects garbage (3.7 and later do): --gc shows \
             nothing",
            process.version()
        ));
    }
}

/// Says so when only the GIL's holder is asked for and there is no GIL.
pub fn warn_without_gil(process: &PythonProcess, sampling: &Sampling) {
    // A GIL is switched on when something is imported that needs one: so it is a warning, not an end.
    let gils = process.interpreter_gils();
    if sampling.gil_only
        && gils.is_ok_and(|gils| !gils.is_empty() && gils.iter().all(|one| one.gil.is_none()))
    {
        say(&format!(
            "warning: process {} is a free-threaded Python {} and runs without a GIL: --gil, which counts \
             only its holder, counts nothing; leave it out to see all threads that run",
            process.pid(),
            process.version()
        ));
    }
}

/// What became of attaching to a launched program.
pub enum Launching {
    /// We are attached.
    Attached(Box<PythonProcess>),
    /// A Python that ended, or was to be stopped, before its interpreter was up.
    EndedEarly,
    /// A program that ended, or was to be stopped, without being Python.
    NeverPython(String),
}

/// Attaches to a launched program as soon as its interpreter runs. A program that is no Python may
/// become one (a shell script that ends in `exec python3`), so it is watched until it ends.
///
/// # Errors
/// When it is a Python that we cannot look into; it may still run.
pub fn attach_launched(launched: &Launched, stop: &AtomicBool) -> Result<Launching, AttachError> {
    let pid = launched.pid();
    let mut program = PathBuf::new();
    let goes_on = || {
        // A program that has ended has none any more; the last one counts.
        program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or(mem::take(&mut program));
        !launched.has_ended() && !stop.load(Ordering::SeqCst)
    };
    if let Some(process) = sampler::attach_launched(pid, goes_on)? {
        return Ok(Launching::Attached(Box::new(process)));
    }
    // Which it was can only be told by its name: it lived too short to be looked into.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Ok(if name.contains("python") {
        Launching::EndedEarly
    } else {
        Launching::NeverPython(program.to_string_lossy().into_owned())
    })
}

/// The failure to tell of a launched program that was no Python.
pub fn never_python(what: &str) -> Advised {
    Advised::failure(
        format!("'{what}' never ran a Python: there was nothing to look at"),
        "launch the interpreter itself: pyspy-rs record -- python3 SCRIPT",
    )
}
