//! [`capture`]: the stacks of all threads of a process at one moment.

pub mod core;
pub mod inspect;
pub mod locals;
pub mod merge;
pub mod options;
pub mod pausing;
pub mod retry;
pub mod thread_reader;
pub mod thread_sample;
pub mod tracked_threads;

use std::collections::HashMap;
use std::time::Instant;

use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::{ReadError, SampleError, milliseconds};
use crate::os::deadline::Deadline;
use crate::os::process::TargetProcess;
use crate::os::thread::realtime;
use inspect::Inspect;
use merge::merge;
use options::{CaptureOptions, NAMING_LIMIT, Pausing, Snapshot};
use pausing::{PtracePauses, ThreadControl};
use thread_reader::ThreadReader;
use thread_sample::ThreadSample;
use tracked_threads::{TrackedThread, TrackedThreads, distinct};

/// After so many threads the time is asked for: one takes a microsecond at least.
const THREADS_PER_QUESTION: usize = 16;

/// Reads the stacks of all Python threads of a process. `tracked` is what was cached by the previous
/// sample. `inspector` reads what only holds while a thread is paused, such as local variables.
///
/// # Errors
/// When the process has ended, or its interpreters could not be listed.
pub fn capture<I: Inspect<TargetProcess>>(
    process: &mut PythonProcess,
    tracked: &mut TrackedThreads,
    frames: &mut FrameTable,
    options: CaptureOptions,
    now: Instant,
    inspector: &mut I,
) -> Result<Snapshot<I::Value>, SampleError> {
    let deadline = Deadline::after(options.time_limit);
    let mut control = PtracePauses::new(process.pid(), options.pause_limit);
    let (stack_reader, _) = process.reader_and_memory();
    stack_reader.begin_sample(tracked.needs_names(now));
    // The list, then the state of each thread, then its stack: the stack of a thread that falls asleep in
    // between must not be from before that.
    if options.fresh_gil_state || tracked.needs_list(now) {
        list(process, tracked, &mut control, options, deadline, now)?;
    }
    let mut reader = ThreadReader {
        control,
        process,
        frames,
        options,
        inspector,
        stack: std::mem::take(&mut tracked.stack),
        resumes_early: true,
        queries_all: options.reads_cpu_time() || tracked.is_cpu_contended(now),
        deadline,
        errors: Vec::new(),
        torn: 0,
    };
    refresh(tracked, &mut reader);
    if options.pausing == Pausing::Running {
        pause_running(tracked, &mut reader)?;
    }
    let interpreter = |thread: &TrackedThread| thread.thread.state.interpreter.addr;
    let mut interpreters = tracked.threads.iter().map(interpreter);
    let first = interpreters.next();
    reader.resumes_early = interpreters.all(|other| Some(other) == first);
    reader.errors.clone_from(&tracked.errors);
    let mut samples = read_all(tracked, &mut reader)?;
    reader.control.resume_all();
    let until = deadline.or_earlier(reader.control.deadline());
    add_names(reader.process, &mut samples, until);
    if realtime::is_raised() && until.is_over() {
        realtime::leave();
        add_names(reader.process, &mut samples, deadline);
    }
    let (stack_reader, _) = reader.process.reader_and_memory();
    reader.errors.extend(stack_reader.end_sample());
    let pauses = reader.control.finish();
    let naming = Deadline::after(NAMING_LIMIT);
    reader.process.shorten_new(reader.frames, naming);
    tracked.stack = reader.stack;
    tracked.note_pauses(&pauses, now);
    let mut on_cpu_ns = HashMap::new();
    if options.reads_cpu_time() {
        on_cpu_ns.extend(tracked.threads.iter().filter_map(TrackedThread::on_cpu_ns));
    }
    let samples = samples
        .into_iter()
        .map(|sample| (sample.trace, sample.inspected));
    let (traces, inspected) = merge(samples, !reader.resumes_early);
    Ok(Snapshot {
        traces,
        inspected,
        errors: reader.errors,
        torn: reader.torn,
        pauses: pauses.durations,
        pauses_fell_short: pauses.fell_short,
        on_cpu_ns,
    })
}

/// Adds the names of threads, as far as they can be read until then.
fn add_names<T>(process: &mut PythonProcess, samples: &mut [ThreadSample<T>], until: Deadline) {
    let (reader, memory) = process.reader_and_memory();
    reader.set_deadline(until);
    for sample in samples {
        let name = &mut sample.trace.thread.name;
        *name = reader
            .thread_name(memory, &sample.thread)
            .or_else(|| name.take());
    }
}

/// Lists the threads, with more time once a real-time priority is left.
fn list(
    process: &mut PythonProcess,
    tracked: &mut TrackedThreads,
    control: &mut PtracePauses,
    options: CaptureOptions,
    deadline: Deadline,
    now: Instant,
) -> Result<(), SampleError> {
    loop {
        let until = deadline.or_earlier(control.deadline());
        process.reader_and_memory().0.set_deadline(until);
        match tracked.list(process, now, deadline) {
            Err(SampleError::TornRead(ReadError::OutOfTime)) => {
                if !control.end_pausing() {
                    return Err(SampleError::OutOfTime(options.time_limit));
                }
            }
            listed => return listed,
        }
    }
}

type Reader<'a, I> = ThreadReader<'a, TargetProcess, PtracePauses, I>;

/// Queries the states of all threads, as far as there is time.
fn refresh<I: Inspect<TargetProcess>>(tracked: &mut TrackedThreads, reader: &mut Reader<'_, I>) {
    for (number, thread) in tracked.threads.iter_mut().enumerate() {
        if number % THREADS_PER_QUESTION == THREADS_PER_QUESTION - 1 {
            if reader.control.deadline().is_over() {
                reader.control.end_pausing();
            }
            if reader.is_over() {
                return;
            }
        }
        thread.refresh(reader.queries_all);
    }
}

/// Pauses the threads that run and must be paused.
fn pause_running<I: Inspect<TargetProcess>>(
    tracked: &mut TrackedThreads,
    reader: &mut Reader<'_, I>,
) -> Result<(), SampleError> {
    let running = tracked.threads.iter().filter(|thread| thread.runs());
    let running = running.filter(|thread| reader.must_pause(thread));
    // The state of a thread that has ended may point to its successor for a moment.
    let tids = distinct(running.filter_map(|thread| thread.thread.os_thread_id));
    reader.control.pause(&tids)?;
    if !tids.iter().all(|tid| reader.control.is_paused(*tid)) {
        // Without a CPU it cannot stop, and does not run either.
        reader.queries_all = true;
        refresh(tracked, reader);
    }
    Ok(())
}

/// Reads all threads, oldest first. Those that are paused are read before the others, which may be many.
fn read_all<I: Inspect<TargetProcess>>(
    tracked: &mut TrackedThreads,
    reader: &mut Reader<'_, I>,
) -> Result<Vec<ThreadSample<I::Value>>, SampleError> {
    let all = tracked.threads.len();
    let mut samples = Vec::with_capacity(all);
    let mut paused: Vec<bool> = Vec::new();
    // The interpreter lists the newest thread first.
    if all > 1 && reader.control.deadline() != Deadline::NEVER {
        let threads = tracked.threads.iter().rev();
        paused.extend(threads.map(|thread| reader.is_paused(&thread.thread)));
        for ((number, thread), is_paused) in
            (0..).zip(tracked.threads.iter_mut().rev()).zip(&paused)
        {
            if *is_paused && let Some(sample) = reader.read_with_retries(thread)? {
                samples.push((number, sample));
            }
        }
    }
    let mut unread = tracked.left_out;
    let mut is_over = false;
    for (number, thread) in (0..).zip(tracked.threads.iter_mut().rev()) {
        if paused.get(number).is_some_and(|paused| *paused) {
            continue;
        }
        let asks = number % THREADS_PER_QUESTION == THREADS_PER_QUESTION - 1;
        is_over = is_over || asks && reader.is_over();
        if is_over {
            unread += 1;
            continue;
        }
        let errors = reader.errors.len();
        if let Some(sample) = reader.read_with_retries(thread)? {
            samples.push((number, sample));
        }
        // One message for the others.
        is_over = reader.errors.len() > errors && reader.is_over();
    }
    if unread > 0 {
        let limit = milliseconds(reader.options.time_limit);
        let all = all + tracked.left_out;
        reader.errors.push(format!(
            "{unread} of {all} threads were not read within {limit}"
        ));
    }
    samples.sort_by_key(|(number, _): &(usize, _)| *number);
    Ok(samples.into_iter().map(|(_, sample)| sample).collect())
}
