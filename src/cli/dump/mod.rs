//! `dump`: one look at a process and its children, printed.

pub mod core;
pub mod core_json;
pub mod core_text;
pub mod interpreters;
pub mod json;
pub mod model;
pub mod text;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::options::DumpOptions;
use super::report::timing;
use super::select::{candidates, container};
use super::to_stdout;
use crate::cpython::attach::error::AttachError;
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::frame::RawFrame;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::stack::trace::StackTrace;
use crate::cpython::values::ValueOptions;
use crate::cpython::values::locals::Local;
use crate::os::Pid;
use crate::os::process::list::ProcessSummary;
use crate::os::process::tree::descendants;
use crate::os::ptrace::pause::PauseGuard;
use crate::sampler::capture;
use crate::sampler::capture::options::{CaptureOptions, Pausing};
use crate::sampler::capture::tracked_threads::TrackedThreads;
use crate::sampler::histogram::Histogram;
use crate::sampler::processes::root::Root;
use crate::session::attach;
use crate::session::errors::{UserError, print_stderr};
use crate::session::options::Target;
use crate::text::escape::command_line;
use model::{FrameDump, MemoryDump, ProcessDump, ThreadDump};

/// How many programs of a process are looked at that replaces one by the next all the time.
const MAX_PROGRAMS: u32 = 20;

/// Whether the user knows that threads cannot be paused.
static TOLD_UNPAUSED: AtomicBool = AtomicBool::new(false);

/// Dumps, and returns the exit status.
///
/// # Errors
/// When the process cannot be read, or stdout not written. A child that cannot be read is a warning.
pub fn run(options: &DumpOptions) -> anyhow::Result<u8> {
    if let Some(file) = &options.core.core {
        return core::run(file, options);
    }
    let pid = match &options.target {
        Target::Pid(pid) => *pid,
        Target::ContainerTarget(inside) => container::find(inside)?,
        Target::OnlyOne | Target::Program(_) => candidates::only_one()?,
    };
    let mut frames = FrameTable::default();
    let (mut processes, mut errors) = (Vec::new(), Vec::new());
    let root = attach::attach_tree(pid, options.subprocesses)?;
    // A shell in whose place the Pythons below it are shown.
    let other = match root {
        Root::Python(process) => {
            let first =
                look_at(*process, &mut frames, options).map_err(|problem| match problem {
                    Problem::Attach(error) => error.into(),
                    Problem::Sample(error) => {
                        anyhow::Error::from(advise(pid, &error, options.nonblocking))
                    }
                })?;
            processes.push(first);
            None
        }
        Root::Other { target, .. } => Some(target),
    };
    if options.subprocesses {
        add_children(pid, &mut frames, options, &mut processes, &mut errors);
    }
    if let (Some(target), true) = (other, processes.is_empty()) {
        let command = command_line(&target.command_line());
        return Err(UserError::failure(
            format!("process {pid} ({command}) is no Python, and those below it have ended"),
            "try again, or record it: record -s samples what it starts later, too",
        )
        .into());
    }
    print(&processes, &errors, options)?;
    Ok(0)
}

/// Prints processes on stdout, and what went wrong on stderr.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn print(
    processes: &[ProcessDump],
    errors: &[String],
    options: &DumpOptions,
) -> anyhow::Result<()> {
    to_stdout(|out| {
        if options.json {
            json::write(out, processes, errors)
        } else {
            let text = text::TextOptions {
                full_filenames: options.full_filenames,
                colour: wants_colour(),
            };
            text::write(out, processes, text)
        }
    })?;
    let of_threads = processes.iter().flat_map(|process| &process.errors);
    for error in of_threads.chain(errors) {
        print_stderr(&format!("warning: {error}"));
    }
    Ok(())
}

fn wants_colour() -> bool {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    choice != anstream::ColorChoice::Never
}

fn advise(pid: Pid, error: &SampleError, nonblocking: bool) -> UserError {
    let hint = match error {
        SampleError::ProcessExited => "it ended while it was read",
        SampleError::TornRead(_) if nonblocking => "try again, or without --nonblocking",
        SampleError::TornRead(_) => "try again; -vv shows what was read",
        SampleError::CannotPause(_) => "try --nonblocking, which leaves the threads alone",
    };
    UserError::failure(format!("cannot read process {pid}: {error}"), hint)
}

/// Why a process could not be looked at.
enum Problem {
    /// It has replaced its program by another one, which cannot be attached to.
    Attach(AttachError),
    Sample(SampleError),
}

/// Looks at a process, and anew if it replaces its program by another one meanwhile.
fn look_at(
    mut process: PythonProcess,
    frames: &mut FrameTable,
    options: &DumpOptions,
) -> Result<ProcessDump, Problem> {
    let mut tries = MAX_PROGRAMS;
    loop {
        let seen = look(&mut process, frames, options);
        let is_whole = seen.as_ref().is_ok_and(|dump| dump.errors.is_empty());
        let target = process.target();
        tries -= 1;
        if is_whole || tries == 0 || !target.memory().is_closed() || target.has_ended() {
            return seen.map_err(Problem::Sample);
        }
        log::info!("process {} runs another program now", target.pid());
        let deadline = Instant::now() + attach::PATIENCE;
        process = attach::attach_until(deadline, target.pid()).map_err(Problem::Attach)?;
    }
}

fn add_children(
    root: Pid,
    frames: &mut FrameTable,
    options: &DumpOptions,
    processes: &mut Vec<ProcessDump>,
    errors: &mut Vec<String>,
) {
    // However many are starting.
    let deadline = Instant::now() + attach::PATIENCE;
    let mut commands: HashMap<Pid, Vec<String>> = HashMap::new();
    for child in descendants(&[root]) {
        let command = commands
            .entry(child.parent)
            .or_insert_with(|| command_line_of(child.parent));
        let seen = attach::attach_until(deadline, child.pid)
            .map_err(Problem::Attach)
            .and_then(|process| look_at(process, frames, options));
        match seen {
            Ok(dump) => processes.push(ProcessDump {
                parent: Some((child.parent, command.clone())),
                ..dump
            }),
            // Not Python, or gone already: nobody asked for those.
            Err(Problem::Attach(error)) if error.is_no_python() => log::info!("skipped: {error}"),
            Err(Problem::Attach(error)) => errors.push(error.to_string()),
            Err(Problem::Sample(SampleError::ProcessExited)) => {
                log::info!("skipped: process {} ended", child.pid);
            }
            Err(Problem::Sample(error)) => errors.push(format!("process {}: {error}", child.pid)),
        }
    }
}

fn command_line_of(pid: Pid) -> Vec<String> {
    ProcessSummary::of(pid).map_or_else(Vec::new, |process| process.command_line)
}

/// One look at one process.
fn look(
    process: &mut PythonProcess,
    frames: &mut FrameTable,
    options: &DumpOptions,
) -> Result<ProcessDump, SampleError> {
    let look = CaptureOptions {
        pausing: if options.nonblocking {
            Pausing::Never
        } else {
            Pausing::Running
        },
        keep_paused: true,
        ..CaptureOptions::default()
    };
    let values = ValueOptions::level(options.locals, options.show_secrets);
    let locals = |process: &PythonProcess, frame: &RawFrame| {
        (options.locals > 0).then(|| process.frame_locals(frame, values))
    };
    let snapshot = match capture::capture(
        process,
        &mut TrackedThreads::default(),
        frames,
        look,
        Instant::now(),
        locals,
    ) {
        // Reading is allowed, or we would not be here: better a look that may be torn than none.
        Err(SampleError::CannotPause(problem)) => {
            // Of a family that one debugger traces, one process is enough to be told of.
            if TOLD_UNPAUSED.swap(true, Ordering::Relaxed) {
                log::info!("{problem}");
            } else {
                print_stderr(&format!(
                    "warning: {problem}; going on without pausing (as with --nonblocking)"
                ));
            }
            let look = CaptureOptions {
                pausing: Pausing::Never,
                ..look
            };
            capture::capture(
                process,
                &mut TrackedThreads::default(),
                frames,
                look,
                Instant::now(),
                locals,
            )?
        }
        result => result?,
    };
    let mut pauses = Histogram::default();
    snapshot.pauses.iter().for_each(|time| pauses.record(*time));
    log::info!("{}", timing::pauses(&pauses));
    let mut errors = snapshot.errors;
    if snapshot.torn > 0 {
        errors.push(format!(
            "{} stacks changed while they were read, and are left out",
            snapshot.torn
        ));
    }
    let threads = snapshot
        .traces
        .into_iter()
        .zip(snapshot.inspected)
        .map(|(trace, locals)| ThreadDump {
            frames: with_locals(&trace, locals, frames, &mut errors),
            info: trace.thread,
        })
        .collect();
    // What follows takes its time, and no thread should be held meanwhile.
    PauseGuard::settle();
    let target = process.target();
    Ok(ProcessDump {
        pid: process.pid(),
        parent: None,
        command: target.command_line(),
        version: process.version().to_string(),
        executable: target.exe_path().to_string_lossy().into_owned(),
        memory: MemoryDump::of(target),
        core: None,
        // Those of the threads that are shown could be read; what is left is who has none.
        interpreters: process.interpreter_gils().unwrap_or_default(),
        threads,
        errors,
    })
}

/// A stack's frames with their variables. A frame whose variables could not be read is there
/// without them.
pub(crate) fn with_locals(
    trace: &StackTrace,
    locals: Vec<Option<Result<Vec<Local>, ReadError>>>,
    frames: &FrameTable,
    errors: &mut Vec<String>,
) -> Vec<FrameDump> {
    let mut dumps = Vec::with_capacity(trace.frames.len());
    for (id, locals) in trace.frames.iter().zip(locals) {
        let Some(frame) = frames.get(*id) else {
            continue;
        };
        let locals = locals.map(|locals| {
            locals.unwrap_or_else(|error| {
                errors.push(format!("the variables of {}: {error}", frame.name));
                Vec::new()
            })
        });
        dumps.push(FrameDump {
            frame: frame.clone(),
            locals,
        });
    }
    dumps
}
