//! [`Batch`]: the records of one round of emptying the ring, which become named stacks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use log::debug;

use super::faults::RecordedFault;
use super::waits::RecordedWait;
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::ReadError;
use crate::cpython::reader::copied::CopyWalker;
use crate::cpython::stack::trace::StackTrace;
use crate::cpython::threads::list::PythonThread;
use crate::os::Tid;
use crate::os::bpf::Ids;
use crate::os::bpf::copy_plan::{CopyPlan, Defect, Reason, Record};
use crate::os::deadline::Deadline;
use crate::os::memory::address::RemoteAddr;
use crate::os::thread::state::RunState;
use crate::sampler::capture::options::{NAMING_LIMIT, TimeWeight};
use crate::sampler::processes::sampled::SampledProcess;
use crate::sampler::sample::FaultSource;

/// The name of a frame whose code object was freed before its name was read.
const GONE: &str = "<code that is gone>";

/// The id of a thread or process in the PID namespace that the program uses.
pub fn key(process: &SampledProcess, ids: Ids, tid: Tid) -> Option<u32> {
    let target = process.process.target();
    let id = match ids {
        Ids::First => Some(tid),
        Ids::OfTarget(..) => target.namespace_tid(tid).ok(),
    };
    u32::try_from(id?).ok()
}

/// One round of emptying the ring.
pub struct Batch<'a> {
    pub number: u64,
    pub window_ns: u64,
    pub now: Instant,
    /// The same, and the start of sampling, on `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    pub start_ns: u64,
    pub ids: Ids,
    /// When listing threads and naming stacks must be done.
    pub deadline: Deadline,
    pub frames: &'a mut FrameTable,
    /// Whether traces have the time of their threads, and which.
    pub time: Option<TimeWeight>,
    /// Whether a process that the kernel cannot sample is paused.
    pub may_pause: bool,
    pub walker: &'a mut CopyWalker,
    pub errors: &'a mut Vec<String>,
    pub notices: &'a mut Vec<String>,
    pub torn: &'a mut u64,
    /// With the time on `CLOCK_MONOTONIC`, in nanoseconds. `None`: a thread was on a CPU, but its stack is missing.
    pub traces: Vec<(u64, Option<StackTrace>)>,
    pub faults: Vec<RecordedFault>,
    pub waits: Vec<RecordedWait>,
    /// With wall-clock time, the stacks of threads on a CPU once more.
    pub ran: Vec<(Origin, StackTrace)>,
}

impl Batch<'_> {
    /// Notes a record of a thread that runs no Python.
    pub fn add_not_python(&mut self, of: Origin) {
        match of.reason {
            Reason::PageFault(fault) => self.faults.push(RecordedFault {
                time_ns: of.time_ns,
                fault,
                source: FaultSource::NotPython,
            }),
            Reason::Wait(_) => self.add_without_stack(of, false),
            Reason::Timer => {}
        }
    }

    /// Notes a record without a stack; `is_torn`: by no fault of ours.
    pub fn add_without_stack(&mut self, of: Origin, is_torn: bool) {
        match of.reason {
            Reason::PageFault(fault) => self.faults.push(RecordedFault {
                time_ns: of.time_ns,
                fault,
                source: FaultSource::Unknown,
            }),
            Reason::Wait(earlier) => self.waits.push(RecordedWait {
                time_ns: of.time_ns,
                tid: of.tid,
                earlier,
                trace: None,
            }),
            Reason::Timer => {
                *self.torn += u64::from(is_torn);
                self.traces.push((of.time_ns, None));
            }
        }
    }
}

/// Which record a stack is of.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// On `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// As records have it.
    pub tid: u32,
    pub reason: Reason,
}

impl Origin {
    fn of(record: &Record) -> Origin {
        Origin {
            time_ns: record.time_ns,
            tid: record.tid,
            reason: record.reason,
        }
    }
}

/// A stack whose frames are not named yet.
pub struct Walked {
    pub of: Origin,
    pub thread: PythonThread,
    pub stack: Vec<RawFrame>,
    /// Of the code object of each frame.
    pub identities: Vec<u64>,
    pub names: Vec<Option<FrameId>>,
    /// Not all frames could be named in time.
    pub is_out_of_time: bool,
}

/// Walks the stacks of all records.
pub fn walk_all(
    process: &mut SampledProcess,
    plan: &CopyPlan,
    records: Vec<Record>,
    ids: Ids,
    batch: &mut Batch<'_>,
) -> (Vec<Walked>, Option<Defect>) {
    let mut defect = None;
    let mut by_state: HashMap<RemoteAddr, PythonThread> = HashMap::new();
    for tracked in &process.threads.threads {
        by_state.insert(tracked.thread.state.addr, tracked.thread.clone());
    }
    let any = process
        .threads
        .threads
        .first()
        .map(|one| one.thread.clone());
    let reader = process.process.reader();
    let mut walked = Vec::with_capacity(records.len());
    for record in records {
        let of = Origin::of(&record);
        if record.is_of_unknown_thread() {
            // It runs no Python, or has just started and has not had the GIL yet.
            batch.add_not_python(of);
            continue;
        }
        let copy = record.memory(plan);
        let known = by_state.get(&record.state).cloned();
        let known = known.filter(|one| {
            let tid = one.os_thread_id.and_then(|tid| key(process, ids, tid));
            tid == Some(record.tid)
        });
        let thread = known.or_else(|| {
            let tid = (ids == Ids::First)
                .then(|| Tid::try_from(record.tid).ok())
                .flatten();
            reader.thread_in_copy(&copy, any.as_ref()?, record.state, tid)
        });
        let Some(mut thread) = thread else {
            // At its end a thread has no state any more, and the memory of the one that it had is free.
            let is_torn = !has_ended(process, ids, record.tid);
            batch.add_without_stack(of, is_torn);
            continue;
        };
        let mut stack = Vec::new();
        let result = reader.walk_copied(&copy, &mut thread, batch.walker, &mut stack);
        match (result, record.defect()) {
            (_, Some(found)) => {
                if of.reason.is_timer() {
                    batch.errors.push(format!("{} {found}", thread.label()));
                }
                batch.add_without_stack(of, false);
                defect = Some(found);
            }
            (Ok(found), None) if !found.unlinked_root => {
                let identities = identities(&record, plan, &stack);
                walked.push(Walked {
                    of,
                    thread,
                    stack,
                    identities,
                    names: Vec::new(),
                    is_out_of_time: false,
                });
            }
            (result, None) => {
                debug!("{}: {result:?}", thread.label());
                batch.add_without_stack(of, true);
            }
        }
    }
    (walked, defect)
}

/// Whether the thread that a record is of is gone by now.
pub fn has_ended(process: &SampledProcess, ids: Ids, tid: u32) -> bool {
    let tid = Tid::try_from(tid).ok().filter(|_| ids == Ids::First);
    tid.is_some_and(|tid| RunState::of_thread(process.process.pid(), tid).is_err())
}

/// What identified the code object of each frame when the record was made.
fn identities(record: &Record, plan: &CopyPlan, stack: &[RawFrame]) -> Vec<u64> {
    let mut copied = record.code_identities(plan);
    // The record has shims, too.
    let find = |frame: &RawFrame| copied.find(|(addr, _)| *addr == frame.addr);
    let found = stack.iter().map(find);
    found.map(|found| found.map_or(0, |(_, mix)| mix)).collect()
}

/// Names all frames. A code object that is another one after it was named was freed, at the earliest, after the
/// record was made, and its name may be that of the other.
pub fn name_all(
    process: &mut SampledProcess,
    plan: &CopyPlan,
    walked: &mut [Walked],
    batch: &mut Batch<'_>,
) {
    let (reader, memory) = process.process.reader_and_memory();
    let gone = gone(batch.frames);
    for one in &mut *walked {
        let names = reader.name_copied(memory, batch.number, &one.stack, batch.frames);
        let mut is_out_of_time = false;
        let name = |name: Result<_, _>| match name {
            Ok(name) => name,
            Err(error) => {
                debug!("{}: {error}", one.thread.label());
                is_out_of_time |= matches!(error, ReadError::OutOfTime);
                Some(gone)
            }
        };
        one.names = names.into_iter().map(name).collect();
        one.is_out_of_time = is_out_of_time;
    }
    let codes: HashSet<RemoteAddr> = walked
        .iter()
        .flat_map(|one| one.stack.iter().map(|frame| frame.executable))
        .collect();
    let codes: Vec<RemoteAddr> = codes.into_iter().collect();
    // What was named, what is there now, and what was recorded are the same object only if all three are equal.
    let unchanged = reader.unchanged_codes(memory, &codes);
    let now = plan.code_identities(memory, &codes);
    for one in &mut *walked {
        let frames = one.stack.iter().zip(&one.identities);
        for ((frame, identity), name) in frames.zip(&mut one.names) {
            let code = &frame.executable;
            let is_same = unchanged.contains(code) && now.get(code) == Some(identity);
            if name.is_some() && !is_same {
                *name = Some(gone);
            }
        }
    }
    let naming = Deadline::after(NAMING_LIMIT);
    process.process.shorten_new(batch.frames, naming);
}

fn gone(frames: &mut FrameTable) -> FrameId {
    let no_text: Arc<str> = Arc::from("");
    frames.intern(Frame {
        name: Arc::from(GONE),
        filename: Arc::clone(&no_text),
        short_filename: no_text,
        line: None,
        first_line: 0,
        columns: None,
    })
}
