//! [`capture_from_core`]: the stacks of all threads in a core file. Nothing moves there, so that there is nothing
//! to pause, to ask or to read twice.

use super::merge::merge;
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::core::{CoreStack, PythonCore, StackEnd};
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::cpython::stack::walk::RawFrame;
use crate::os::process::image::ProcessImage;

/// What [`capture_from_core`] saw.
#[derive(Debug)]
pub struct PostMortem<T> {
    /// The stacks, the main thread's first, then the oldest thread's.
    pub traces: Vec<StackTrace>,
    /// What `inspect` made of each stack's frames, in the same order.
    pub inspected: Vec<Vec<T>>,
    /// What could not be read.
    pub errors: Vec<String>,
    /// How many stacks had their outer frames searched for: see [`StackEnd::Found`].
    pub searched: usize,
}

/// Reads the stacks of all Python threads. `inspect` is called for every frame. Whether threads were
/// active is not known: a core does not tell.
///
/// # Errors
/// When the interpreters could not be listed.
pub fn capture_from_core<T>(
    core: &mut PythonCore,
    frames: &mut FrameTable,
    mut inspect: impl FnMut(&PythonCore, &RawFrame) -> T,
) -> Result<PostMortem<T>, SampleError> {
    let list = core.threads()?;
    let mut errors: Vec<String> = list.errors.iter().map(ReadError::to_string).collect();
    let first = list
        .threads
        .first()
        .map(|thread| thread.state.interpreter.addr);
    let mut others = list.threads.iter();
    let several = others.any(|thread| Some(thread.state.interpreter.addr) != first);
    let mut parts = Vec::with_capacity(list.threads.len());
    let mut stack = Vec::new();
    let mut searched = 0;
    // Newest first is how the interpreter keeps them.
    for mut thread in list.threads.into_iter().rev() {
        let name = core.thread_name(&thread);
        let resolved = match core.stack(&mut thread, &mut stack, frames) {
            Ok(CoreStack { resolved, end }) => {
                searched += usize::from(end == StackEnd::Found);
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
        let shown = stack.iter().zip(core.shown(&thread));
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
            is_main: thread.os_thread_id == Some(core.core().pid()),
            cpu_ns: None,
            faults: None,
        };
        let frames = resolved.frames;
        parts.push((
            StackTrace {
                thread: info,
                frames,
            },
            inspected,
        ));
    }
    core.shorten_new(frames);
    let (traces, inspected) = merge(parts, several);
    Ok(PostMortem {
        traces,
        inspected,
        errors,
        searched,
    })
}
