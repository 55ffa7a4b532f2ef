//! Attaching, with retries for interpreters that are still starting.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use super::errors::{UserError, print_stderr};
use super::launch::{Launched, SILENCE};
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::diagnose::stopped::StoppedReason;
use crate::os::process::TargetProcess;
use crate::os::process::tree::orphans;
use crate::os::work_budget::{ATTACH, EXAMINE, WorkBudget};
use crate::sampler::processes::launch;
use crate::sampler::processes::root::Root;
use crate::session::options::Sampling;
use crate::text::escape::command_line;
use crate::text::secrets::Secrets;

/// Time limit for a process that is still starting.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Time between attempts.
const RETRY: Duration = Duration::from_millis(20);

/// Attaches to a running process, and retries until `patience` is over if it is still starting. An
/// attempt takes at most `limit`, and all together at most [`ATTACH`].
///
/// # Errors
/// See [`AttachError`].
pub fn attach_until(
    patience: Instant,
    limit: Duration,
    pid: Pid,
) -> Result<PythonProcess, AttachError> {
    let deadline = Deadline::after(ATTACH);
    loop {
        let budget = WorkBudget::within_and_by(limit, deadline);
        let mut result = PythonProcess::attach_within(pid, &budget);
        let may_wait = match &mut result {
            // After a fork it may have only its parent's interpreter.
            Ok(process) => !process.owns_a_thread(),
            Err(error) => error.is_temporary(),
        };
        if !may_wait || Instant::now() >= patience {
            return result;
        }
        thread::sleep(RETRY);
    }
}

/// Attaches to a running process or, with `subprocesses`, to its process tree. Retries for [`PATIENCE`] if
/// it is still starting.
///
/// # Errors
/// See [`AttachError`].
pub fn attach_tree(pid: Pid, subprocesses: bool) -> anyhow::Result<Root> {
    let patience = Instant::now() + PATIENCE;
    let deadline = Deadline::after(ATTACH);
    loop {
        match Root::attach(pid, subprocesses, deadline) {
            // A shell script may run one Python after another.
            Err(error)
                if (error.is_temporary() || subprocesses && error.may_become_python())
                    && Instant::now() < patience =>
            {
                thread::sleep(RETRY);
            }
            Err(error @ AttachError::NotPython { .. }) if subprocesses => {
                let hint = "wait until it has started a Python process, or use that one's PID";
                let message = format!("{error}, and has no Python child process");
                return Err(UserError::failure(message, hint).into());
            }
            result => {
                let root = result?;
                if let Some(reason) = StoppedReason::of(root.pid()) {
                    print_stderr(&format!("warning: {reason}"));
                }
                return Ok(root);
            }
        }
    }
}

/// Warns if garbage collections are requested and the version does not expose them.
pub fn warn_without_gc(root: &Root, sampling: &Sampling) {
    if let Root::Python(process) = root
        && sampling.selection.collections
        && process.python().layout.gc.collecting.is_none()
    {
        print_stderr(&format!(
            "warning: Python {} does not expose garbage collections (3.7 and later do): --gc shows \
             nothing",
            process.version()
        ));
    }
}

/// Warns if only the GIL holder is requested and there is no GIL.
pub fn warn_without_gil(root: &Root, sampling: &Sampling) {
    let Root::Python(process) = root else {
        return;
    };
    // Only a warning: importing an extension that needs the GIL enables it.
    let gils = process.interpreter_gils();
    if sampling.selection.gil_only
        && gils.is_ok_and(|gils| !gils.is_empty() && gils.iter().all(|one| one.gil.is_none()))
    {
        print_stderr(&format!(
            "warning: process {} runs a free-threaded Python {} without a GIL: --gil selects no threads; \
             remove it to see all running threads",
            process.pid(),
            process.version()
        ));
    }
}

/// The result of attaching to a launched program.
pub enum Launching {
    Attached(Box<Root>),
    /// A Python program that ended, or was stopped, before its interpreter was initialized.
    EndedEarly,
    /// A program that ended, or was stopped, without running Python.
    NeverPython(NeverPython),
}

/// A launched program that did not run Python.
pub struct NeverPython {
    /// As the user wrote it, and the file that ran where that is another.
    program: String,
    /// Whether a child process ran Python.
    had_child: bool,
    subprocesses: bool,
}

/// Attaches to a launched program as soon as its interpreter runs. A program that is not Python may call
/// exec (a shell script that ends in `exec python3`), so this retries until it ends. With `subprocesses`
/// a Python child is accepted too.
///
/// # Errors
/// When it is a Python process that cannot be read; it may still run.
pub fn attach_launched(
    launched: &Launched,
    subprocesses: bool,
    stop: &AtomicBool,
) -> Result<Launching, AttachError> {
    let pid = launched.pid();
    // If it ends at once, no other name of it is ever seen.
    let mut program = PathBuf::from(launched.file());
    let mut message_at = launched.is_captured().then(|| Instant::now() + SILENCE);
    let is_running = || {
        if message_at.is_some_and(|at| Instant::now() >= at) {
            message_at = None;
            print_stderr(&format!(
                "waiting until the program (process {pid}) runs Python"
            ));
        }
        // The link of a process that has ended is unreadable; the last one counts.
        program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or(mem::take(&mut program));
        !launched.has_ended() && !stop.load(Ordering::SeqCst)
    };
    let mut had_child = false;
    let warn = |child: &TargetProcess| {
        had_child = true;
        print_stderr(&format!(
            "warning: the program is not Python but has started a Python process ({}: {}): add -s \
             (--subprocesses) to include it",
            child.pid(),
            command_line(&child.command_line().words(Secrets::Hidden))
        ));
    };
    if let Some(root) = launch::attach_launched(pid, subprocesses, is_running, warn)? {
        return Ok(Launching::Attached(Box::new(root)));
    }
    if subprocesses && let Some(root) = attach_orphan(stop) {
        return Ok(Launching::Attached(Box::new(root)));
    }
    // It ended too early to be read, so only its name shows whether it was Python.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Ok(if name.contains("python") {
        Launching::EndedEarly
    } else {
        Launching::NeverPython(NeverPython {
            program: named(launched.file(), &program),
            had_child,
            subprocesses,
        })
    })
}

/// Attaches to the first Python that a program which has ended has left behind; it may still be starting.
fn attach_orphan(stop: &AtomicBool) -> Option<Root> {
    let patience = Instant::now() + PATIENCE;
    loop {
        for pid in orphans::living() {
            match Root::attach(pid, true, Deadline::after(EXAMINE)) {
                Ok(root) => return Some(root),
                Err(error) => log::info!("process {pid}, which the program left behind: {error}"),
            }
        }
        orphans::reap();
        if orphans::left().is_empty() || stop.load(Ordering::SeqCst) || Instant::now() >= patience {
            return None;
        }
        thread::sleep(RETRY);
    }
}

/// The program as given in quotes, and the file that ran if its path is another.
fn named(given: &OsStr, ran: &Path) -> String {
    let quoted = format!("'{}'", given.to_string_lossy());
    match Path::new(given) == ran {
        true => quoted,
        false => format!("{quoted} ({})", ran.display()),
    }
}

/// The error of a launched program that did not run Python.
pub fn never_python(what: &NeverPython) -> UserError {
    let program = &what.program;
    if what.had_child {
        return UserError::failure(
            format!(
                "{program} is not Python but has started a Python process: nothing was sampled"
            ),
            "add -s (--subprocesses) to include child processes",
        );
    }
    let below = if what.subprocesses {
        ", nor did a child process"
    } else {
        ""
    };
    UserError::failure(
        format!("{program} did not run Python{below}: nothing was sampled"),
        "launch the interpreter itself: -- python3 SCRIPT",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.

    use super::*;
    use crate::session::launch::OwnOutput;
    use crate::session::options::Program;
    use crate::session::signals::StopSignals;

    /// `sh` was `/usr/bin/dash` in the message.
    #[test]
    fn a_program_is_named_as_the_user_wrote_it() {
        let named = |given: &str| named(OsStr::new(given), Path::new("/usr/bin/dash"));
        assert_eq!(named("sh"), "'sh' (/usr/bin/dash)");
        assert_eq!(named("/usr/bin/dash"), "'/usr/bin/dash'");
    }

    /// Its name was empty if it had ended before it was first read.
    #[test]
    fn a_program_that_ended_at_once_is_named() {
        let signals = StopSignals::catch(|| ()).unwrap();
        let program = Program {
            file: "/bin/true".into(),
            args: Vec::new(),
        };
        let mut launched = Launched::start(&program, OwnOutput::None, &signals).unwrap();
        while !launched.has_ended() {
            thread::yield_now();
        }
        let attached = attach_launched(&launched, false, &signals.stop_flag()).unwrap();
        let Launching::NeverPython(what) = attached else {
            unreachable!("it is no Python");
        };
        let error = never_python(&what).to_string();
        assert_eq!(error, "'/bin/true' did not run Python: nothing was sampled");
        assert_eq!(launched.wait(), 0);
    }
}
