//! [`capture`]: the stacks of all threads of a process at one moment.

pub mod core;
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
use crate::cpython::frame::RawFrame;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::SampleError;
use merge::merge;
use options::{CaptureOptions, Pausing, Snapshot};
use pausing::{PtracePauses, ThreadControl};
use thread_reader::ThreadReader;
use tracked_threads::{TrackedThread, TrackedThreads, distinct};

/// Reads the stacks of all Python threads of a process. `tracked` is what was cached by the previous
/// sample. `inspect` is called for every frame while its thread is still paused, to read what only
/// holds then, such as local variables.
///
/// # Errors
/// When the process has ended, or its interpreters could not be listed.
pub fn capture<T>(
    process: &mut PythonProcess,
    tracked: &mut TrackedThreads,
    frames: &mut FrameTable,
    options: CaptureOptions,
    now: Instant,
    inspect: impl FnMut(&PythonProcess, &RawFrame) -> T,
) -> Result<Snapshot<T>, SampleError> {
    let (stack_reader, _) = process.reader_and_memory();
    stack_reader.begin_sample(tracked.needs_names(now));
    // The list, then the state of each thread, then its stack: the stack of a thread that falls asleep in
    // between must not be from before that.
    if options.fresh_gil_state || tracked.needs_list(now) {
        tracked.list(process, now)?;
    }
    let mut reader = ThreadReader {
        control: PtracePauses::new(process.pid()),
        process,
        frames,
        options,
        inspect,
        stack: std::mem::take(&mut tracked.stack),
        resumes_early: true,
        queries_all: options.cpu_time || tracked.is_cpu_contended(now),
        errors: Vec::new(),
        torn: 0,
    };
    tracked.refresh(reader.queries_all);
    if options.pausing == Pausing::Running {
        let running = tracked.threads.iter().filter(|thread| thread.runs());
        let running = running.filter(|thread| reader.must_pause(thread));
        // The state of a thread that has ended may point to its successor for a moment.
        let tids = distinct(running.filter_map(|thread| thread.thread.os_thread_id));
        reader.control.pause(&tids)?;
    }
    let interpreter = |thread: &TrackedThread| thread.thread.state.interpreter.addr;
    let mut interpreters = tracked.threads.iter().map(interpreter);
    let first = interpreters.next();
    reader.resumes_early = interpreters.all(|other| Some(other) == first);
    reader.errors.clone_from(&tracked.errors);
    let mut samples = Vec::with_capacity(tracked.threads.len());
    // The interpreter lists the newest thread first.
    for thread in tracked.threads.iter_mut().rev() {
        samples.extend(reader.read_with_retries(thread)?);
    }
    let pauses = reader.control.finish();
    for sample in &mut samples {
        let name = &mut sample.trace.thread.name;
        let (reader, memory) = reader.process.reader_and_memory();
        *name = reader
            .thread_name(memory, &sample.thread)
            .or_else(|| name.take());
    }
    reader.process.shorten_new(reader.frames);
    tracked.stack = reader.stack;
    tracked.note_pauses(&pauses, now);
    let mut on_cpu_ns = HashMap::new();
    if options.cpu_time {
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
        pauses,
        on_cpu_ns,
    })
}
