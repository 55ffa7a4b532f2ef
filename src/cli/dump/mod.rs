//! `dump`: one sample of a process and its children, printed.

pub mod collect;
pub mod core;
pub mod core_json;
pub mod core_text;
pub mod interpreters;
pub mod json;
pub mod model;
pub mod print;
#[cfg(test)]
pub mod samples;
pub mod text;
pub mod thread_list;
mod tree_time;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::options::DumpOptions;
use super::report::timing;
use super::select::resolve::running_process;
use crate::cpython::attach::error::AttachError;
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::SampleError;
use crate::cpython::values::ValueOptions;
use crate::os::Pid;
use crate::os::process::exec_rights;
use crate::os::process::list::ProcessSummary;
use crate::os::process::tree::descendants;
use crate::os::ptrace::pause::{PauseGuard, SETTLE_LIMIT};
use crate::os::work_budget::EXAMINE;
use crate::sampler::capture::capture as take_sample;
use crate::sampler::capture::locals::{InspectedFrame, LOCALS_LIMIT, LocalsReader};
use crate::sampler::capture::options::{CaptureOptions, Pausing, Snapshot};
use crate::sampler::capture::tracked_threads::TrackedThreads;
use crate::sampler::histogram::Histogram;
use crate::sampler::processes::root::Root;
use crate::sampler::schedule::throttle::ThrottleWatch;
use crate::session::attach;
use crate::session::errors::{UserError, print_stderr};
use crate::text::escape::command_line;
use crate::text::secrets::Secrets;
use model::{MemoryDump, ProcessDump};
use print::print;
use tree_time::TreeTime;

/// Most attempts on a process that calls exec again and again.
const MAX_PROGRAMS: u32 = 20;

/// How long the sample of a process may take, with all its names.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long a sample is taken again while stacks in it are torn, and the time in between.
const TORN_PATIENCE: Duration = Duration::from_secs(1);
const TORN_INTERVAL: Duration = Duration::from_millis(10);

/// Whether the user was warned that threads cannot be paused.
static WARNED_UNPAUSED: AtomicBool = AtomicBool::new(false);

/// A dump that is being made.
struct Run<'o> {
    options: &'o DumpOptions,
    frames: FrameTable,
    /// How long the variables of the processes that are left may take.
    locals_time: Duration,
    /// How long the processes that are left may take.
    tree_time: TreeTime,
}

/// Dumps, and returns the exit status.
///
/// # Errors
/// When the process cannot be read, or stdout cannot be written. A child that cannot be read is only a
/// warning.
pub fn run(options: &DumpOptions) -> anyhow::Result<u8> {
    if let Some(file) = &options.core.core {
        return core::run(file, options);
    }
    let pid = running_process(&options.target, options.secrets)?;
    let mut run = Run {
        options,
        frames: FrameTable::default(),
        locals_time: LOCALS_LIMIT,
        tree_time: TreeTime::new(),
    };
    let errors = RefCell::new(Vec::new());
    let root = attach::attach_tree(pid, options.subprocesses)?;
    // Not Python, such as a shell: its Python children are shown instead.
    let (first, other) = match root {
        Root::Python(process) => {
            let first = dump(*process, &mut run).map_err(|problem| match problem {
                Problem::Attach(error) => error.into(),
                Problem::Sample(error) => {
                    anyhow::Error::from(advise(pid, &error, options.nonblocking))
                }
            })?;
            (Some(first), None)
        }
        Root::Other { target, .. } => (None, Some(target)),
    };
    let children = options
        .subprocesses
        .then(|| dump_children(pid, &mut run, &errors));
    let mut processes = first
        .into_iter()
        .chain(children.into_iter().flatten())
        .peekable();
    if let (Some(target), None) = (other, processes.peek()) {
        let command = command_line(&target.command_line().words(options.secrets));
        return Err(UserError::failure(
            format!("process {pid} ({command}) is not a Python process, and its Python children have ended"),
            "try again, or use `record -s`, which also samples children that start later",
        )
        .into());
    }
    print(processes, &errors, options)
}

fn advise(pid: Pid, error: &SampleError, nonblocking: bool) -> UserError {
    let hint = match error {
        SampleError::ProcessExited => {
            "nothing is left to read; pgrep -af python lists those that run"
        }
        SampleError::TornRead(_) if nonblocking => "try again, or without --nonblocking",
        SampleError::TornRead(_) => "try again with -vv, which logs what was read",
        SampleError::OutOfTime(_) => {
            "its lists of threads are longer than any real program's, so its memory may be damaged: keep it for a \
             closer look with gcore PID"
        }
        SampleError::CannotPause(_) => "try --nonblocking, which does not pause threads",
    };
    UserError::failure(format!("cannot read process {pid}: {error}"), hint)
}

/// Why a process could not be dumped.
enum Problem {
    /// It called exec, and the new program cannot be attached to.
    Attach(AttachError),
    Sample(SampleError),
}

/// Dumps a process; starts again if it calls exec meanwhile.
fn dump(mut process: PythonProcess, run: &mut Run<'_>) -> Result<ProcessDump, Problem> {
    let mut tries = MAX_PROGRAMS;
    loop {
        let begin = Instant::now();
        let result = sample(&mut process, run);
        run.tree_time.spend(begin.elapsed());
        let is_whole = result.as_ref().is_ok_and(|dump| dump.errors.is_empty());
        let target = process.target();
        tries -= 1;
        if is_whole || tries == 0 || !target.memory().is_closed() || target.has_ended() {
            return result.map_err(Problem::Sample);
        }
        log::info!("process {} executed another program", target.pid());
        let patience = Instant::now() + attach::PATIENCE;
        let limit = run.tree_time.limit(EXAMINE);
        process = attach::attach_until(patience, limit, target.pid()).map_err(Problem::Attach)?;
    }
}

/// Dumps the descendants, one after the other as they are asked for.
fn dump_children<'a>(
    root: Pid,
    run: &'a mut Run<'_>,
    errors: &'a RefCell<Vec<String>>,
) -> impl Iterator<Item = ProcessDump> + 'a {
    // One time limit for all children that are starting.
    let patience = Instant::now() + attach::PATIENCE;
    let mut commands: HashMap<Pid, Vec<String>> = HashMap::new();
    descendants(&[root]).into_iter().filter_map(move |child| {
        let command = commands
            .entry(child.parent)
            .or_insert_with(|| command_line_of(child.parent, run.options.secrets));
        let limit = run.tree_time.limit(EXAMINE);
        let begin = Instant::now();
        let attached = attach::attach_until(patience, limit, child.pid);
        run.tree_time.spend(begin.elapsed());
        let result = attached
            .map_err(Problem::Attach)
            .and_then(|process| dump(process, run));
        match result {
            Ok(dump) => {
                return Some(ProcessDump {
                    parent: Some((child.parent, command.clone())),
                    ..dump
                });
            }
            // Not Python, or already ended.
            Err(Problem::Attach(error)) if error.is_no_python() => log::info!("skipped: {error}"),
            Err(Problem::Attach(error)) => errors.borrow_mut().push(error.to_string()),
            Err(Problem::Sample(SampleError::ProcessExited)) => {
                log::info!("skipped: process {} ended", child.pid);
            }
            Err(Problem::Sample(error)) => {
                let error = format!("process {}: {error}", child.pid);
                errors.borrow_mut().push(error);
            }
        }
        None
    })
}

fn command_line_of(pid: Pid, secrets: Secrets) -> Vec<String> {
    let process = ProcessSummary::of(pid);
    process.map_or_else(Vec::new, |process| {
        process.command_line.words(secrets).into_owned()
    })
}

/// That so many stacks are left out, and what to do.
fn torn(count: u64, nonblocking: bool) -> String {
    let what = match count {
        1 => "1 stack changed while it was read and is".to_owned(),
        _ => format!("{count} stacks changed while they were read and are"),
    };
    let without = if nonblocking {
        ", without --nonblocking"
    } else {
        ""
    };
    format!("{what} not shown: run it again{without}")
}

/// Warns that threads cannot be paused.
fn warn_unpaused(problem: &str) {
    // One warning is enough when a debugger traces the whole process tree.
    if WARNED_UNPAUSED.swap(true, Ordering::Relaxed) {
        log::info!("{problem}");
    } else {
        print_stderr(&format!(
            "warning: {problem}; continuing without pausing (as with --nonblocking)"
        ));
    }
}

/// Whether a CPU quota has stopped us since our start, of which a warning is printed once.
fn is_throttled(target: Pid) -> bool {
    let mut watch = ThrottleWatch::start(target);
    let throttled = watch.is_throttled(Instant::now());
    if let Some(notice) = watch.notice()
        && !WARNED_UNPAUSED.swap(true, Ordering::Relaxed)
    {
        print_stderr(&notice);
    }
    throttled
}

/// Whether the threads of a process are to be paused.
fn pausing(pid: Pid, options: &DumpOptions) -> Pausing {
    if options.nonblocking || exec_rights::is_at_risk(pid) || is_throttled(pid) {
        Pausing::Never
    } else {
        Pausing::Running
    }
}

/// How the sample of a process is taken.
fn capture_options(pid: Pid, options: &DumpOptions) -> CaptureOptions {
    CaptureOptions {
        pausing: pausing(pid, options),
        keep_paused: true,
        ..CaptureOptions::default()
    }
}

/// The threads of a process at one moment.
struct Taken {
    snapshot: Snapshot<InspectedFrame>,
    tracked: TrackedThreads,
    locals: LocalsReader,
}

/// Takes the sample of a process, without pausing where that is not permitted.
fn take_once(
    process: &mut PythonProcess,
    frames: &mut FrameTable,
    capture: &mut CaptureOptions,
    new_locals: impl Fn() -> LocalsReader,
) -> Result<Taken, SampleError> {
    loop {
        let mut tracked = TrackedThreads::default();
        let mut locals = new_locals();
        let now = Instant::now();
        let result = take_sample(process, &mut tracked, frames, *capture, now, &mut locals);
        match result {
            // Reading is permitted, since attaching succeeded: a sample that may be torn is better than none.
            Err(SampleError::CannotPause(problem)) if capture.pausing != Pausing::Never => {
                warn_unpaused(&problem);
                capture.pausing = Pausing::Never;
            }
            result => {
                return result.map(|snapshot| Taken {
                    snapshot,
                    tracked,
                    locals,
                });
            }
        }
    }
}

/// Takes the sample of a process, and takes it again while stacks in it are torn: nobody wants a dump that lacks a
/// thread because it did not get a CPU to stop on.
fn take(
    process: &mut PythonProcess,
    frames: &mut FrameTable,
    mut capture: CaptureOptions,
    new_locals: impl Fn() -> LocalsReader,
) -> Result<Taken, SampleError> {
    let until = Instant::now() + TORN_PATIENCE;
    loop {
        let taken = take_once(process, frames, &mut capture, &new_locals)?;
        if taken.snapshot.torn == 0 || Instant::now() >= until {
            return Ok(taken);
        }
        log::info!("{} stacks are torn: once more", taken.snapshot.torn);
        PauseGuard::settle_within(SETTLE_LIMIT);
        std::thread::sleep(TORN_INTERVAL);
    }
}

/// One sample of one process.
fn sample(process: &mut PythonProcess, run: &mut Run<'_>) -> Result<ProcessDump, SampleError> {
    let (options, frames) = (run.options, &mut run.frames);
    let capture = CaptureOptions {
        time_limit: run.tree_time.limit(TIME_LIMIT),
        ..capture_options(process.pid(), options)
    };
    let values = (options.locals > 0).then(|| ValueOptions::level(options.locals, options.secrets));
    let begin = Instant::now();
    let locals_time = run.locals_time;
    let new_locals = || LocalsReader::new(values, locals_time.saturating_sub(begin.elapsed()));
    let Taken {
        snapshot,
        mut tracked,
        locals,
    } = take(process, frames, capture, new_locals)?;
    let mut pauses = Histogram::default();
    snapshot.pauses.iter().for_each(|time| pauses.record(*time));
    log::info!("{}", timing::pauses(&pauses));
    let mut errors = snapshot.errors;
    if snapshot.torn > 0 {
        errors.push(torn(snapshot.torn, options.nonblocking));
    }
    // All that follows takes time: resume all threads first.
    PauseGuard::settle_within(SETTLE_LIMIT);
    let details = locals.finish(process, &snapshot.traces, snapshot.inspected, |trace| {
        tracked.has_not_run(trace.thread.os_thread_id)
    });
    if values.is_some() {
        run.locals_time = run.locals_time.saturating_sub(begin.elapsed());
    }
    let threads = collect::threads(snapshot.traces, details, frames, &mut errors);
    let target = process.target();
    Ok(ProcessDump {
        pid: process.pid(),
        parent: None,
        command: target.command_line().words(options.secrets).into_owned(),
        version: process.version().to_string(),
        has_shims: process.reader().python().semantics.has_shims(),
        executable: target.exe_path().to_string_lossy().into_owned(),
        memory: MemoryDump::of(target),
        core: None,
        // A failure only loses interpreters without threads.
        interpreters: process.interpreter_gils().unwrap_or_default(),
        threads,
        errors,
    })
}
