//! [`capture_from_core`]: the stacks of all threads in a core file. Memory does not change there, so nothing
//! is paused or retried.

use std::collections::BTreeSet;

use super::merge::merge;
use super::options::NAMING_LIMIT;
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::core::{CoreStack, PythonCore, StackEnd};
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::os::deadline::Deadline;

/// The stacks in a core file.
#[derive(Debug)]
pub struct PostMortem<T> {
    /// The main thread's stack, then the others, oldest thread first.
    pub traces: Vec<StackTrace>,
    /// The results of `inspect` for each stack's frames, in the same order.
    pub inspected: Vec<Vec<T>>,
    /// What could not be read.
    pub errors: Vec<String>,
    /// How many OS threads had frames that were searched for: see [`StackEnd::Found`].
    pub searched: usize,
}

/// Reads the stacks of all Python threads. `inspect` is called for every frame. A core does not show
/// whether threads were active.
///
/// # Errors
/// When the interpreters could not be listed.
pub fn capture_from_core<T>(
    core: &mut PythonCore,
    frames: &mut FrameTable,
    mut inspect: impl FnMut(&PythonCore, &RawFrame) -> T,
) -> Result<PostMortem<T>, SampleError> {
    core.reader_and_memory().0.begin_sample(true);
    let list = core.threads()?;
    let mut errors: Vec<String> = list.errors.iter().map(ReadError::to_string).collect();
    let first = list
        .threads
        .first()
        .map(|thread| thread.state.interpreter.addr);
    let mut others = list.threads.iter();
    let several = others.any(|thread| Some(thread.state.interpreter.addr) != first);
    let mut samples = Vec::with_capacity(list.threads.len());
    let mut stack = Vec::new();
    // A thread in several interpreters has a stack in each.
    let mut searched = BTreeSet::new();
    // The interpreter lists the newest thread first.
    for mut thread in list.threads.into_iter().rev() {
        let (reader, memory) = core.reader_and_memory();
        let name = reader.thread_name(memory, &thread);
        let resolved = match core.stack(&mut thread, &mut stack, frames) {
            Ok(CoreStack { resolved, end }) => {
                if end == StackEnd::Found {
                    searched.insert((thread.os_thread_id, thread.state.pthread_id));
                }
                if end == StackEnd::Missing {
                    errors.push(format!(
                        "{}: its {}frames are missing: the core lacks what leads to them",
                        thread.label(),
                        if stack.is_empty() { "" } else { "outer " },
                    ));
                }
                resolved
            }
            Err(error) => {
                errors.push(format!("{}: {error}", thread.label()));
                continue;
            }
        };
        let shown = stack.iter().zip(core.reader().shown(&thread));
        let inspected = shown
            .filter(|(_, is_shown)| *is_shown)
            .map(|(frame, _)| inspect(core, frame))
            .collect();
        let info = ThreadInfo {
            os_thread_id: thread.os_thread_id,
            pthread_id: thread.state.pthread_id,
            name,
            interpreter_ids: vec![thread.state.interpreter.id],
            active: false,
            waits_for_cpu: false,
            owns_gil: thread.owns_gil,
            collecting: thread.collects(&stack),
            has_ended: thread.has_ended,
            is_main: thread.os_thread_id == Some(core.pid()),
            time_ns: None,
            faults: None,
        };
        let frames = resolved.frames;
        samples.push((
            StackTrace {
                thread: info,
                frames,
            },
            inspected,
        ));
    }
    errors.extend(core.reader_and_memory().0.end_sample());
    core.shorten_new(frames, Deadline::after(NAMING_LIMIT));
    let (traces, inspected) = merge(samples, several);
    Ok(PostMortem {
        traces,
        inspected,
        errors,
        searched: searched.len(),
    })
}
