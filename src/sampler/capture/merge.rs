//! [`merge`]: one stack for each OS thread, though it may be inside several interpreters.

use std::collections::HashMap;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// Puts the stacks of one OS thread in several interpreters together, if there are `several`: the
/// newest interpreter's frames are the innermost. The main thread comes first; what was made of the
/// frames comes along.
pub(crate) fn merge<T>(
    parts: impl IntoIterator<Item = (StackTrace, Vec<T>)>,
    several: bool,
) -> (Vec<StackTrace>, Vec<Vec<T>>) {
    let mut traces: Vec<StackTrace> = Vec::new();
    let mut all_inspected: Vec<Vec<T>> = Vec::new();
    let mut places: HashMap<Tid, usize> = HashMap::new();
    for (part, of_part) in parts {
        let tid = part.thread.os_thread_id.filter(|_| several);
        let place = tid.and_then(|tid| places.get(&tid).copied());
        let known = place.and_then(|place| {
            let trace = traces.get_mut(place)?;
            Some((trace, all_inspected.get_mut(place)?))
        });
        if let Some((trace, inspected)) = known {
            let inner = part;
            trace.frames = inner.frames.iter().chain(&*trace.frames).copied().collect();
            inspected.splice(0..0, of_part);
            let ids = &mut trace.thread.interpreter_ids;
            ids.splice(0..0, inner.thread.interpreter_ids);
            trace.thread.owns_gil |= inner.thread.owns_gil;
            trace.thread.collecting |= inner.thread.collecting;
            trace.thread.name = trace.thread.name.take().or(inner.thread.name);
            continue;
        }
        if let Some(tid) = tid {
            places.insert(tid, traces.len());
        }
        traces.push(part);
        all_inspected.push(of_part);
    }
    // Wherever the lists have it.
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
