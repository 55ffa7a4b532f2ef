//! Threads of a capture as the dump's data; shared by processes and core files.

use super::model::{FrameDump, ThreadDump};
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::read::error::ReadError;
use crate::cpython::stack::trace::StackTrace;
use crate::cpython::values::locals::Local;

/// Per frame of a stack its variables; `None` when not requested.
pub type StackLocals = Vec<Option<Result<Vec<Local>, ReadError>>>;

/// The threads with their frames and variables. Variables that could not be read are added to `errors`;
/// their frames are shown without them.
pub fn threads(
    traces: Vec<StackTrace>,
    locals: Vec<StackLocals>,
    frames: &FrameTable,
    errors: &mut Vec<String>,
) -> Vec<ThreadDump> {
    let threads = traces.into_iter().zip(locals);
    threads
        .map(|(trace, locals)| ThreadDump {
            frames: with_locals(&trace, locals, frames, errors),
            info: trace.thread,
        })
        .collect()
}

fn with_locals(
    trace: &StackTrace,
    locals: StackLocals,
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
                errors.push(format!("variables of {}: {error}", frame.name));
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
