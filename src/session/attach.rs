//! Attaching with the patience that a starting interpreter needs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use super::errors::{UserError, print_stderr};
use super::launch::Launched;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::diagnose::stopped::StoppedReason;
use crate::os::process::TargetProcess;
use crate::sampler::processes::launch;
use crate::sampler::processes::root::Root;
use crate::session::options::Sampling;
use crate::text::escape::command_line;

/// How long a process that was named may still be starting.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const RETRY: Duration = Duration::from_millis(20);

/// Attaches to a process that runs, and waits until `deadline` for one that is still starting.
///
/// # Errors
/// See [`AttachError`].
pub fn attach_until(deadline: Instant, pid: Pid) -> Result<PythonProcess, AttachError> {
    loop {
        let mut result = PythonProcess::attach(pid);
        let may_wait = match &mut result {
            // It may have only its parent's interpreter yet.
            Ok(process) => !process.owns_a_thread(),
            Err(error) => error.is_temporary(),
        };
        if !may_wait || Instant::now() >= deadline {
            return result;
        }
        thread::sleep(RETRY);
    }
}

/// Attaches to a process that runs or, with `subprocesses`, to the tree below it. Waits a moment for one
/// that is still starting.
///
/// # Errors
/// See [`AttachError`].
pub fn attach_tree(pid: Pid, subprocesses: bool) -> anyhow::Result<Root> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Root::attach(pid, subprocesses) {
            // A script may be between two Pythons.
            Err(error)
                if (error.is_temporary() || subprocesses && error.may_become_python())
                    && Instant::now() < deadline =>
            {
                thread::sleep(RETRY);
            }
            Err(error @ AttachError::NotPython { .. }) if subprocesses => {
                let hint = "wait until it has started one, or give the pid of the Python process";
                let message = format!("{error}, and no process below it is");
                return Err(UserError::failure(message, hint).into());
            }
            result => {
                let root = result?;
                if let Some(standstill) = StoppedReason::of(root.pid()) {
                    print_stderr(&format!("warning: {standstill}"));
                }
                return Ok(root);
            }
        }
    }
}

/// Says so when garbage collections are asked for and the version has no sign of them.
pub fn warn_without_gc(root: &Root, sampling: &Sampling) {
    if let Root::Python(process) = root
        && sampling.show_collections
        && process.python().layout.gc.collecting.is_none()
    {
        print_stderr(&format!(
            "warning: Python {} does not tell when it collects garbage (3.7 and later do): --gc shows \
             nothing",
            process.version()
        ));
    }
}

/// Says so when only the GIL's holder is asked for and there is no GIL.
pub fn warn_without_gil(root: &Root, sampling: &Sampling) {
    let Root::Python(process) = root else {
        return;
    };
    // A GIL is switched on when something is imported that needs one: so it is a warning, not an end.
    let gils = process.interpreter_gils();
    if sampling.gil_only
        && gils.is_ok_and(|gils| !gils.is_empty() && gils.iter().all(|one| one.gil.is_none()))
    {
        print_stderr(&format!(
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
    TapeMetadata(Box<Root>),
    /// A Python that ended, or was to be stopped, before its interpreter was up.
    EndedEarly,
    /// A program that ended, or was to be stopped, without being Python.
    NeverPython(NeverPython),
}

/// A program that was no Python.
pub struct NeverPython {
    program: String,
    /// Whether a process below it was.
    had_child: bool,
    subprocesses: bool,
}

/// Attaches to a launched program as soon as its interpreter runs. A program that is no Python may
/// become one (a shell script that ends in `exec python3`), so it is watched until it ends. With
/// `subprocesses` a Python below it will do.
///
/// # Errors
/// When it is a Python that we cannot look into; it may still run.
pub fn attach_launched(
    launched: &Launched,
    subprocesses: bool,
    stop: &AtomicBool,
) -> Result<Launching, AttachError> {
    let pid = launched.pid();
    let mut program = PathBuf::new();
    let goes_on = || {
        // A program that has ended has none any more; the last one counts.
        program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or(mem::take(&mut program));
        !launched.has_ended() && !stop.load(Ordering::SeqCst)
    };
    let mut had_child = false;
    let tell = |child: &TargetProcess| {
        had_child = true;
        print_stderr(&format!(
            "warning: the program is no Python, but has started one (process {}: {}): add -s \
             (--subprocesses) to look at it",
            child.pid(),
            command_line(&child.command_line())
        ));
    };
    if let Some(root) = launch::attach_launched(pid, subprocesses, goes_on, tell)? {
        return Ok(Launching::TapeMetadata(Box::new(root)));
    }
    // Which it was can only be told by its name: it lived too short to be looked into.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Ok(if name.contains("python") {
        Launching::EndedEarly
    } else {
        Launching::NeverPython(NeverPython {
            program: program.to_string_lossy().into_owned(),
            had_child,
            subprocesses,
        })
    })
}

/// The failure to tell of a launched program that was no Python.
pub fn never_python(what: &NeverPython) -> UserError {
    let program = &what.program;
    if what.had_child {
        return UserError::failure(
            format!("'{program}' was no Python itself, but has started one: nothing was looked at"),
            "add -s (--subprocesses) to look at the processes below it, too",
        );
    }
    let below = if what.subprocesses {
        ", nor did a process below it"
    } else {
        ""
    };
    UserError::failure(
        format!("'{program}' never ran a Python{below}: there was nothing to look at"),
        "launch the interpreter itself: pyspy-rs record -- python3 SCRIPT",
    )
}
