//! Threads of a capture as the dump's data; shared by processes and core files.

use super::model::{FrameDump, LocalsDump, ThreadDump};
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::stack::trace::StackTrace;
use crate::sampler::capture::locals::{FrameLocals, LocalsState};

/// The threads with their frames and, if they were requested, variables. Those that could not be read are
/// added to `errors`; their frames are shown without them.
pub fn threads(
    traces: Vec<StackTrace>,
    locals: Vec<Vec<FrameLocals>>,
    frames: &FrameTable,
    errors: &mut Vec<String>,
) -> Vec<ThreadDump> {
    let all = locals.iter().flatten();
    let omitted = all.filter(|locals| locals.state == LocalsState::Omitted);
    let omitted = omitted.count();
    let threads = traces.into_iter().zip(locals);
    let threads = threads.map(|(trace, locals)| ThreadDump {
        frames: with_locals(&trace, locals, frames, errors),
        info: trace.thread,
    });
    let threads = threads.collect();
    if omitted > 0 {
        let frames = if omitted == 1 { "frame" } else { "frames" };
        errors.push(format!(
            "the variables of {omitted} {frames} were left out: all variables of a dump may take 5 s, and \
             those of a process 32 MiB of text"
        ));
    }
    threads
}

fn with_locals(
    trace: &StackTrace,
    locals: Vec<FrameLocals>,
    frames: &FrameTable,
    errors: &mut Vec<String>,
) -> Vec<FrameDump> {
    let mut dumps = Vec::with_capacity(trace.frames.len());
    let locals = locals.into_iter().map(Some);
    let locals = locals.chain(std::iter::repeat_with(|| None));
    for (id, locals) in trace.frames.iter().zip(locals) {
        let Some(frame) = frames.get(*id) else {
            continue;
        };
        let locals = locals.map(|FrameLocals { locals, state }| LocalsDump {
            variables: locals.unwrap_or_else(|error| {
                errors.push(format!("variables of {}: {error}", frame.name));
                Vec::new()
            }),
            state,
        });
        dumps.push(FrameDump {
            frame: frame.clone(),
            locals,
        });
    }
    dumps
}
