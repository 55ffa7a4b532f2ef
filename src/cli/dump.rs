//! `dump`: one look at a process and its children, printed.

use std::collections::HashMap;
use std::time::Instant;

use super::attach;
use super::candidates;
use super::dump_model::{FrameDump, MemoryDump, ProcessDump, ThreadDump};
use super::errors::{Advised, say};
use super::options::{DumpOptions, Target};
use super::{dump_json, dump_text, timing, to_stdout};
use crate::cpython::frame::RawFrame;
use crate::cpython::locals::Local;
use crate::cpython::value::ValueOptions;
use crate::cpython::{FrameTable, PythonProcess, ReadError, SampleError, StackTrace};
use crate::sampler::{Histogram, Look, Pausing, Watch, snapshot};
use crate::target::{PauseGuard, Pid, TargetProcess};

/// Dumps, and returns the exit status.
///
/// # Errors
/// When the process cannot be read, or stdout not written. A child that cannot be read is a warning.
pub fn run(options: &DumpOptions) -> anyhow::Result<u8> {
    let pid = match &options.target {
        Target::Pid(pid) => *pid,
        Target::OnlyOne | Target::Program(_) => candidates::only_one()?,
    };
    let mut frames = FrameTable::default();
    let mut process = attach::attach(pid)?;
    let first = look(&mut process, &mut frames, options)
        .map_err(|error| advise(pid, &error, options.nonblocking))?;
    let mut processes = vec![first];
    let mut errors = Vec::new();
    if options.subprocesses {
        add_children(&process, &mut frames, options, &mut processes, &mut errors);
    }
    to_stdout(|out| {
        if options.json {
            dump_json::write(out, &processes, &errors)
        } else {
            let text = dump_text::TextOptions {
                full_filenames: options.full_filenames,
                colour: wants_colour(),
            };
            dump_text::write(out, &processes, text)
        }
    })?;
    let of_threads = processes.iter().flat_map(|process| &process.errors);
    for error in of_threads.chain(&errors) {
        say(&format!("warning: {error}"));
    }
    Ok(0)
}

fn wants_colour() -> bool {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    choice != anstream::ColorChoice::Never
}

fn advise(pid: Pid, error: &SampleError, nonblocking: bool) -> Advised {
    let hint = match error {
        SampleError::ProcessExited => "it ended while it was read",
        SampleError::TornRead(_) if nonblocking => "try again, or without --nonblocking",
        SampleError::TornRead(_) => "try again; -vv shows what was read",
        SampleError::CannotPause(_) => "try --nonblocking, which leaves the threads alone",
    };
    Advised::failure(format!("cannot read process {pid}: {error}"), hint)
}

fn add_children(
    parent: &PythonProcess,
    frames: &mut FrameTable,
    options: &DumpOptions,
    processes: &mut Vec<ProcessDump>,
    errors: &mut Vec<String>,
) {
    let mut commands: HashMap<Pid, Vec<String>> = HashMap::new();
    commands.insert(parent.pid(), parent.target().command_line());
    for child in parent.target().children() {
        let mut process = match attach::attach(child.pid) {
            Ok(process) => process,
            // Not Python, or gone already: nobody asked for those.
            Err(error) if error.is_no_python() => {
                log::info!("skipped: {error}");
                continue;
            }
            Err(error) => {
                errors.push(error.to_string());
                continue;
            }
        };
        let command = commands.entry(child.parent).or_insert_with(|| {
            // A parent between two Pythons that is none, such as a shell.
            TargetProcess::open(child.parent).map_or_else(|_| Vec::new(), |p| p.command_line())
        });
        match look(&mut process, frames, options) {
            Ok(dump) => processes.push(ProcessDump {
                parent: Some((child.parent, command.clone())),
                ..dump
            }),
            Err(SampleError::ProcessExited) => log::info!("skipped: process {} ended", child.pid),
            Err(error) => errors.push(format!("process {}: {error}", child.pid)),
        }
        commands.insert(child.pid, process.target().command_line());
    }
}

/// One look at one process.
fn look(
    process: &mut PythonProcess,
    frames: &mut FrameTable,
    options: &DumpOptions,
) -> Result<ProcessDump, SampleError> {
    let look = Look {
        pausing: if options.nonblocking {
            Pausing::Never
        } else {
            Pausing::Running
        },
        holds: true,
        ..Look::default()
    };
    let values = ValueOptions::level(options.locals, options.show_secrets);
    let locals = |process: &PythonProcess, frame: &RawFrame| {
        (options.locals > 0).then(|| process.frame_locals(frame, values))
    };
    let snapshot = match snapshot::take(
        process,
        &mut Watch::default(),
        frames,
        look,
        Instant::now(),
        locals,
    ) {
        // Reading is allowed, or we would not be here: better a look that may be torn than none.
        Err(SampleError::CannotPause(problem)) => {
            say(&format!(
                "warning: {problem}; going on without pausing (as with --nonblocking)"
            ));
            let look = Look {
                pausing: Pausing::Never,
                ..look
            };
            snapshot::take(
                process,
                &mut Watch::default(),
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
        // Those of the threads that are shown could be read; what is left is who has none.
        interpreters: process.interpreter_gils().unwrap_or_default(),
        threads,
        errors,
    })
}

/// A stack's frames with their variables. A frame whose variables could not be read is there
/// without them.
fn with_locals(
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
