//! [`examine`]: the stacks of all threads in a core file. Nothing moves there, so that there is nothing
//! to pause, to ask or to read twice.

use std::collections::HashMap;

use super::look::Snapshot;
use super::merge::merge;
use crate::cpython::frame::RawFrame;
use crate::cpython::{FrameTable, PythonCore, ReadError, SampleError, StackTrace, ThreadInfo};
use crate::target::AddressSpace;

/// Reads the stacks of all Python threads. `inspect` is called for every frame. Whether threads were
/// active is not known: a core does not tell.
///
/// # Errors
/// When the interpreters could not be listed.
pub fn examine<T>(
    core: &mut PythonCore,
    frames: &mut FrameTable,
    mut inspect: impl FnMut(&PythonCore, &RawFrame) -> T,
) -> Result<Snapshot<T>, SampleError> {
    let list = core.threads()?;
    let mut errors: Vec<String> = list.errors.iter().map(ReadError::to_string).collect();
    let first = list.threads.first().map(|thread| thread.state.interpreter.addr);
    let mut others = list.threads.iter();
    let several = others.any(|thread| Some(thread.state.interpreter.addr) != first);
    let mut parts = Vec::with_capacity(list.threads.len());
    let mut stack = Vec::new();
    // Newest first is how the interpreter keeps them.
    for mut thread in list.threads.into_iter().rev() {
        let name = core.thread_name(&thread);
        let resolved = match core.stack(&mut thread, &mut stack, frames) {
            Ok(resolved) => resolved,
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
        parts.push((StackTrace { thread: info, frames }, inspected));
    }
    core.shorten_new(frames);
    let (traces, inspected) = merge(parts, several);
    Ok(Snapshot {
        traces,
        inspected,
        errors,
        torn: 0,
        pauses: Vec::new(),
        on_cpu_ns: HashMap::new(),
    })
}
