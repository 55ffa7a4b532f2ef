//! Threads of a capture as the dump's data; shared by processes and core files.

use super::model::{FrameDump, LocalsDump, ThreadDump};
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::stack::trace::StackTrace;
use crate::sampler::capture::locals::{FrameDetails, FrameLocals, LocalsState};

/// The threads with their frames and, if they were requested, variables. `details` are those of the frames of
/// each trace. Variables that could not be read are added to `errors`; their frames are shown without them.
pub fn threads(
    traces: Vec<StackTrace>,
    details: Vec<Vec<FrameDetails>>,
    frames: &FrameTable,
    errors: &mut Vec<String>,
) -> Vec<ThreadDump> {
    let all = details.iter().flatten();
    let all = all.filter_map(|details| details.locals.as_ref());
    let omitted = all.filter(|locals| locals.state == LocalsState::Omitted);
    let omitted = omitted.count();
    let threads = traces.into_iter().zip(details);
    let threads = threads.map(|(trace, details)| ThreadDump {
        frames: with_details(&trace, details, frames, errors),
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

fn with_details(
    trace: &StackTrace,
    details: Vec<FrameDetails>,
    frames: &FrameTable,
    errors: &mut Vec<String>,
) -> Vec<FrameDump> {
    let mut dumps = Vec::with_capacity(trace.frames.len());
    let details = details.into_iter().map(Some);
    let details = details.chain(std::iter::repeat_with(|| None));
    for (id, details) in trace.frames.iter().zip(details) {
        let Some(frame) = frames.get(*id) else {
            continue;
        };
        let called_by_c = details.as_ref().is_some_and(|details| details.called_by_c);
        let locals = details.and_then(|details| details.locals);
        let locals = locals.map(|FrameLocals { locals, state }| LocalsDump {
            variables: locals.unwrap_or_else(|error| {
                errors.push(format!("variables of {}: {error}", frame.name));
                Vec::new()
            }),
            state,
        });
        dumps.push(FrameDump {
            frame: frame.clone(),
            called_by_c,
            locals,
        });
    }
    dumps
}
