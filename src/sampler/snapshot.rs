//! [`take`]: the stacks of all threads of a process at one moment, and how to be sure that they are.
//!
//! A thread that is on a CPU is paused, read and let go. A thread that sleeps in the kernel is not
//! touched: its stack cannot move, and stopping it could end its wait early. It is read as it is, and
//! the kernel is asked afterwards whether it has run meanwhile; if so it is looked at again, and
//! paused if it runs now. Native threads beside Python are never touched.

use std::collections::HashMap;
use std::time::Duration;

use log::debug;

use crate::cpython::frame::RawFrame;
use crate::cpython::{
    FrameTable, PythonProcess, PythonThread, ReadError, SampleError, StackTrace, ThreadInfo,
    ThreadList,
};
use crate::target::{Activity, PauseError, PauseGuard, Tid};

/// How often a thread that moved while it was read is read again before it is given up.
const ATTEMPTS: usize = 4;
/// How long a thread runs on that stood where no stack can be read: a few instructions are enough.
const ONWARD: Duration = Duration::from_micros(20);

/// Whether threads are paused while they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausing {
    /// Threads that run are paused: every stack is one that was.
    Running,
    /// Nothing is ever stopped. A stack that changed while it was read is tried again, then left
    /// out and counted.
    Never,
}

/// What [`take`] saw.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// The stacks, the oldest thread first: the main thread, in the order of their start the others.
    pub traces: Vec<StackTrace>,
    /// What `inspect` made of each stack's frames, in the same order.
    pub inspected: Vec<Vec<T>>,
    /// What could not be read. It cost neither the other threads nor the snapshot.
    pub errors: Vec<String>,
}

/// One thread's part of a snapshot, before stacks of one OS thread are put together.
struct Part<T> {
    trace: StackTrace,
    inspected: Vec<T>,
    leaf: Option<RawFrame>,
    /// Whether the outermost frame is not linked to its caller at this very moment.
    is_loose: bool,
}

/// What the kernel says of each thread before it is read.
type Activities = HashMap<Tid, Activity>;

/// Reads the stacks of all Python threads of a process. `inspect` is called for every frame while
/// its thread still stands still, to read what only holds then, such as local variables.
///
/// # Errors
/// When the process has ended, or its interpreters could not be listed.
pub fn take<T>(
    process: &mut PythonProcess,
    frames: &mut FrameTable,
    pausing: Pausing,
    mut inspect: impl FnMut(&PythonProcess, &RawFrame) -> T,
) -> Result<Snapshot<T>, SampleError> {
    process.begin_sample();
    let first_look = threads(process)?;
    let activities = activities(process, &first_look);
    let mut guards = Vec::new();
    if pausing == Pausing::Running {
        let running = activities.iter().filter(|(_, activity)| activity.runs());
        let running: Vec<Tid> = running.map(|(tid, _)| *tid).collect();
        guards.extend(pause(process, &running)?);
    }
    // Each thread's state is copied after the kernel was asked about it: a thread that fell asleep in
    // between would be read from where it was before, and then found not to have run.
    let list = threads(process)?;
    let mut errors: Vec<String> = list.errors.iter().map(ReadError::to_string).collect();
    let mut parts = Vec::with_capacity(list.threads.len());
    // Newest first is how the interpreter keeps them.
    for mut thread in list.threads.into_iter().rev() {
        // Of a thread that is new since then nothing is known from before its state was copied.
        let mut before = thread
            .os_thread_id
            .and_then(|tid| activities.get(&tid).copied());
        let seen = before.or_else(|| {
            let tid = thread.os_thread_id?;
            Activity::of_thread(process.pid(), tid).ok()
        });
        let active = seen.is_some_and(|activity| activity.runs());
        for attempt in 1..=ATTEMPTS {
            let held = is_paused(&guards, &thread);
            let read = read_thread(process, frames, &thread, active, &mut inspect);
            let still = held || stands_still(process, &thread, before, read.as_ref().ok());
            match read {
                Ok(part) if still && (!part.is_loose || attempt == ATTEMPTS) => {
                    parts.push(part);
                    break;
                }
                Ok(_) if still => {
                    debug!("{}: a frame was not linked yet", name(&thread));
                    let tid = thread.os_thread_id;
                    for guard in &mut guards {
                        tid.into_iter().for_each(|tid| guard.release(tid));
                    }
                    // Let go and caught at once it would not get one instruction further.
                    std::thread::sleep(ONWARD);
                }
                Err(error) if error.process_is_gone() => return Err(SampleError::ProcessExited),
                Err(error) if error.program_is_replaced() => return Err(error.into()),
                Err(error) if still => {
                    errors.push(format!("{}: {error}", name(&thread)));
                    break;
                }
                _ if attempt == ATTEMPTS => {
                    errors.push(format!(
                        "{}: its stack changed while it was read",
                        name(&thread)
                    ));
                }
                _ => debug!("{} moved while it was read", name(&thread)),
            }
            let Some(tid) = thread.os_thread_id else {
                continue;
            };
            before = Activity::of_thread(process.pid(), tid).ok();
            let Some(activity) = before else {
                // It has ended: no thread, no stack, no error.
                break;
            };
            if pausing == Pausing::Running && activity.runs() {
                guards.extend(pause(process, &[tid])?);
            }
            if process.look_again(&mut thread).is_err() {
                break;
            }
        }
    }
    drop(guards);
    process.shorten_new(frames);
    Ok(merge(parts, errors))
}

/// Lists the threads; a list that changes under us is tried again.
fn threads(process: &mut PythonProcess) -> Result<ThreadList, SampleError> {
    let mut attempt = 1;
    loop {
        match process.threads() {
            Err(SampleError::TornRead(error))
                if attempt < ATTEMPTS && !error.program_is_replaced() =>
            {
                debug!("torn read: {error}");
            }
            Ok(list) if attempt < ATTEMPTS && !list.errors.is_empty() => {
                debug!("the list of threads broke off");
            }
            result => return result,
        }
        attempt += 1;
    }
}

fn is_paused(guards: &[PauseGuard], thread: &PythonThread) -> bool {
    thread.os_thread_id.is_some_and(|tid| {
        let mut paused = guards.iter().flat_map(PauseGuard::paused);
        paused.any(|held| held == tid)
    })
}

fn name(thread: &PythonThread) -> String {
    thread.os_thread_id.map_or_else(
        || format!("thread {:#x}", thread.state.pthread_id),
        |tid| format!("thread {tid}"),
    )
}

/// The kernel's view of each thread.
fn activities(process: &PythonProcess, list: &ThreadList) -> Activities {
    let tids = list.threads.iter().filter_map(|thread| thread.os_thread_id);
    tids.filter_map(|tid| Some((tid, Activity::of_thread(process.pid(), tid).ok()?)))
        .collect()
}

/// Pauses these threads; `None` when there is none to pause.
fn pause(process: &PythonProcess, tids: &[Tid]) -> Result<Option<PauseGuard>, SampleError> {
    if tids.is_empty() {
        return Ok(None);
    }
    match PauseGuard::pause(process.pid(), tids) {
        Ok(guard) => Ok(Some(guard)),
        Err(PauseError::Io { cause, .. }) if cause.raw_os_error() == Some(nix::libc::ESRCH) => {
            Ok(None)
        }
        Err(error) => Err(SampleError::CannotPause(error.to_string())),
    }
}

/// Walks and resolves one thread's stack.
fn read_thread<T>(
    process: &mut PythonProcess,
    frames: &mut FrameTable,
    thread: &PythonThread,
    active: bool,
    inspect: &mut impl FnMut(&PythonProcess, &RawFrame) -> T,
) -> Result<Part<T>, ReadError> {
    let mut stack = Vec::new();
    process.walk(thread, &mut stack)?;
    let resolved = process.resolve(&stack, frames)?;
    // A frame that runs no code object has no id: it is left out of both lists.
    let inspected = stack
        .iter()
        .zip(&resolved)
        .filter(|(_, id)| id.is_some())
        .map(|(frame, _)| inspect(process, frame))
        .collect();
    let info = ThreadInfo {
        os_thread_id: thread.os_thread_id,
        pthread_id: thread.state.pthread_id,
        name: process.thread_name(thread),
        interpreter_ids: vec![thread.state.interpreter.id],
        active,
        owns_gil: thread.owns_gil,
        collecting: thread.collects(&stack),
        is_main: thread.os_thread_id == Some(process.pid()),
    };
    let trace = StackTrace {
        thread: info,
        frames: resolved.into_iter().flatten().collect(),
    };
    Ok(Part {
        trace,
        inspected,
        is_loose: stack.last().is_some_and(|frame| frame.is_loose),
        leaf: stack.into_iter().next(),
    })
}

/// Whether a thread that was not paused did not run while it was read.
fn stands_still<T>(
    process: &PythonProcess,
    thread: &PythonThread,
    before: Option<Activity>,
    read: Option<&Part<T>>,
) -> bool {
    let now = thread
        .os_thread_id
        .and_then(|tid| Activity::of_thread(process.pid(), tid).ok());
    match (before, now) {
        // The kernel counts how often a thread got a CPU: the same count means that it slept. Where
        // it does not count, the stack has to tell.
        (Some(before), Some(now)) if !before.runs() && now.timeslices.is_some() => before == now,
        (_, Some(_)) | (None, None) => {
            read.is_some_and(|part| process.is_at_same_frame(thread, part.leaf.as_ref()))
        }
        (Some(_), None) => false,
    }
}

/// Puts the stacks of one OS thread in several interpreters together: the newest interpreter's
/// frames are the innermost.
fn merge<T>(parts: Vec<Part<T>>, errors: Vec<String>) -> Snapshot<T> {
    let mut snapshot = Snapshot {
        traces: Vec::new(),
        inspected: Vec::new(),
        errors,
    };
    let mut places: HashMap<Tid, usize> = HashMap::new();
    for part in parts {
        let place = part
            .trace
            .thread
            .os_thread_id
            .and_then(|tid| places.get(&tid).copied());
        let known = place.and_then(|place| {
            snapshot
                .traces
                .get_mut(place)
                .zip(snapshot.inspected.get_mut(place))
        });
        if let Some((trace, inspected)) = known {
            let inner = part.trace;
            trace.frames.splice(0..0, inner.frames);
            inspected.splice(0..0, part.inspected);
            trace
                .thread
                .interpreter_ids
                .splice(0..0, inner.thread.interpreter_ids);
            trace.thread.owns_gil |= inner.thread.owns_gil;
            trace.thread.collecting |= inner.thread.collecting;
            trace.thread.name = trace.thread.name.take().or(inner.thread.name);
            continue;
        }
        if let Some(tid) = part.trace.thread.os_thread_id {
            places.insert(tid, snapshot.traces.len());
        }
        snapshot.traces.push(part.trace);
        snapshot.inspected.push(part.inspected);
    }
    // The main thread comes first, wherever the lists have it.
    if let Some(main) = snapshot
        .traces
        .iter()
        .position(|trace| trace.thread.is_main)
    {
        if let Some(to_front) = snapshot.traces.get_mut(..=main) {
            to_front.rotate_right(1);
        }
        if let Some(to_front) = snapshot.inspected.get_mut(..=main) {
            to_front.rotate_right(1);
        }
    }
    snapshot
}
