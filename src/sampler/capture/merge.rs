//! [`merge`]: one stack for each OS thread, though it may be inside several interpreters.

use std::collections::HashMap;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// Joins the stacks of one OS thread in several interpreters, if there are `several`: the newest
/// interpreter's frames are next to the leaf. The main thread comes first. What was recorded of the frames
/// is joined in the same way.
pub fn merge<T>(
    samples: impl IntoIterator<Item = (StackTrace, Vec<T>)>,
    several: bool,
) -> (Vec<StackTrace>, Vec<Vec<T>>) {
    let mut traces: Vec<StackTrace> = Vec::new();
    let mut all_inspected: Vec<Vec<T>> = Vec::new();
    let mut places: HashMap<Tid, usize> = HashMap::new();
    for (trace, of_trace) in samples {
        let tid = trace.thread.os_thread_id.filter(|_| several);
        let place = tid.and_then(|tid| places.get(&tid).copied());
        let known = place.and_then(|place| {
            let trace = traces.get_mut(place)?;
            Some((trace, all_inspected.get_mut(place)?))
        });
        if let Some((outer, inspected)) = known {
            let inner = trace;
            outer.frames = inner.frames.iter().chain(&*outer.frames).copied().collect();
            inspected.splice(0..0, of_trace);
            let ids = &mut outer.thread.interpreter_ids;
            ids.splice(0..0, inner.thread.interpreter_ids);
            outer.thread.owns_gil |= inner.thread.owns_gil;
            outer.thread.collecting |= inner.thread.collecting;
            outer.thread.name = outer.thread.name.take().or(inner.thread.name);
            continue;
        }
        if let Some(tid) = tid {
            places.insert(tid, traces.len());
        }
        traces.push(trace);
        all_inspected.push(of_trace);
    }
    let main = traces.iter().position(|trace| trace.thread.is_main);
    if let Some(main) = main {
        if let Some(to_front) = traces.get_mut(..=main) {
            to_front.rotate_right(1);
        }
        if let Some(to_front) = all_inspected.get_mut(..=main) {
            to_front.rotate_right(1);
        }
    }
    (traces, all_inspected)
}
