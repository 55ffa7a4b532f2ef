//! [`CopiedProcess`]: what the kernel engine knows of one process, and how its records become stack traces.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;

use super::batch::{Batch, Walked, has_ended, key, name_all, walk_all};
use super::faults::{FaultTracker, RecordedFault};
use super::waits::{RecordedWait, WaitTracker};
use crate::cpython::code::frame_table::FrameId;
use crate::os::Tid;
use crate::os::bpf::copy_plan::{CopyPlan, Reason, Record};
use crate::os::bpf::{BpfSampler, Ids, namespace_of};
use crate::os::deadline::Deadline;
use crate::os::memory::address::RemoteAddr;
use crate::os::thread::state::RunState;
use crate::sampler::capture::options::TimeWeight;
use crate::sampler::capture::thread_sample::ThreadSample;
use crate::sampler::processes::sampled::SampledProcess;
use crate::sampler::sample::FaultSource;

/// How often the list of threads is read while threads run, and while some run that are not on it.
const LIST_INTERVAL: Duration = Duration::from_millis(100);
const UNKNOWN_INTERVAL: Duration = Duration::from_millis(50);
/// The same when one of them runs for the first time. Those that run no Python are known by then.
const NEW_INTERVAL: Duration = Duration::from_millis(5);
/// The most threads that are known to run no Python.
const MAX_NATIVE: usize = 1_024;
/// How often it is read whether a thread that is not on a CPU holds the GIL.
const GIL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a process that the kernel cannot sample is paused at each sample, until that is tried again: the first
/// time, and the longest, after doubling each time.
const PAUSED_TIME: Duration = Duration::from_secs(1);
const MAX_PAUSED_TIME: Duration = Duration::from_secs(64);
/// How long listing the threads of one process may take.
const LIST_LIMIT: Duration = Duration::from_millis(250);
/// From how many records of one batch on the part of them that is torn counts, and which part is too much.
const MANY_RECORDS: usize = 10;
const MAX_TORN: f64 = 0.05;

/// A process whose threads the kernel samples.
#[derive(Default)]
pub struct CopiedProcess {
    /// What it adds to its memory.
    pub memory: FaultTracker,
    /// How long its threads wait.
    pub waits: WaitTracker,
    /// Whether a thread that is not on a CPU held the GIL at the last round.
    pub has_idle_gil: bool,
    gil_read_at: Option<Instant>,
    plan: Option<CopyPlan>,
    /// The threads that the program knows, by the id that records have.
    threads: HashMap<u32, RemoteAddr>,
    listed_at: Option<Instant>,
    /// Whether a thread may wait whose stack could not be read yet.
    pub has_unread: bool,
    /// Threads that were not on the list, by the id that records have.
    native: HashSet<u32>,
    /// Until when its threads are paused at each sample, since the kernel cannot sample it.
    paused_until: Option<Instant>,
    paused_time: Duration,
    /// Whether the CPU times of its threads are known from this recording.
    has_cpu_times: bool,
    /// Total CPU time of each thread when it was last attributed.
    on_cpu_ns: HashMap<Tid, u64>,
    /// Whether the user was told why it cannot be sampled.
    was_reported: bool,
}

impl CopiedProcess {
    /// Makes stack traces of the records, and lets the kernel sample new threads.
    pub fn sample(
        &mut self,
        process: &mut SampledProcess,
        tgid: u32,
        records: Vec<Record>,
        bpf: &mut BpfSampler,
        batch: &mut Batch<'_>,
    ) {
        if self.is_paused(batch.now) {
            return;
        }
        self.paused_until = None;
        let unknown = records.iter().filter(|one| one.is_of_unknown_thread());
        let unknown: HashSet<u32> = unknown.map(|one| one.tid).collect();
        let has_new = !unknown.is_subset(&self.native);
        let now = batch.now;
        let age =
            |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let listed = age(self.listed_at);
        let is_due = match (has_new, unknown.is_empty(), records.is_empty()) {
            (true, ..) => listed >= NEW_INTERVAL,
            (false, false, _) => listed >= UNKNOWN_INTERVAL,
            (false, true, false) => listed >= LIST_INTERVAL,
            (false, true, true) => {
                self.listed_at.is_none() || self.has_unread && listed >= LIST_INTERVAL
            }
        };
        if is_due || self.plan.is_none() {
            self.list(process, tgid, bpf, batch, !unknown.is_empty());
            self.note_native(unknown);
        }
        if age(self.gil_read_at) >= GIL_INTERVAL {
            self.gil_read_at = Some(now);
            self.has_idle_gil = self.reads_idle_gil(process);
        }
        if records.is_empty() {
            return;
        }
        let Some(plan) = self.plan.clone() else {
            return;
        };
        let (reader, _) = process.process.reader_and_memory();
        reader.begin_sample(process.threads.needs_names(batch.now));
        reader.set_deadline(batch.deadline);
        let torn_before = *batch.torn;
        let count = records.iter().filter(|one| one.reason.is_timer()).count();
        let (mut walked, defect) = walk_all(process, &plan, records, bpf.ids(), batch);
        name_all(process, &plan, &mut walked, batch);
        walked.retain(|one| {
            if one.is_out_of_time {
                if one.of.reason.is_timer() {
                    let problem = "there was no time left to read the names of its frames";
                    let label = one.thread.label();
                    batch.errors.push(format!("{label}: {problem}"));
                }
                batch.add_without_stack(one.of, false);
            }
            !one.is_out_of_time
        });
        let cpu_ns = match batch.time {
            Some(_) => self.cpu_times(process, &walked, batch.ids, batch.window_ns),
            None => Vec::new(),
        };
        add_traces(process, &walked, &cpu_ns, batch);
        let torn = batch.torn.saturating_sub(torn_before);
        if let Some(defect) = defect {
            self.pause(process, tgid, bpf, batch, &defect.to_string());
        } else if count >= MANY_RECORDS && torn as f64 > MAX_TORN * count as f64 {
            let problem = "has stacks that are torn whenever they are interrupted";
            self.pause(process, tgid, bpf, batch, problem);
        }
    }

    /// Whether a thread that is not on a CPU holds the GIL: while it waits in a call that keeps it, nobody can run.
    fn reads_idle_gil(&self, process: &mut SampledProcess) -> bool {
        let pid = process.process.pid();
        let threads = process.threads.threads.iter();
        let threads: Vec<_> = threads.map(|one| one.thread.clone()).collect();
        let (reader, memory) = process.process.reader_and_memory();
        let holder = threads
            .first()
            .and_then(|any| reader.gil_holder(memory, any));
        let holder = threads
            .iter()
            .find(|thread| holder == Some(thread.state.addr));
        let tid = holder.and_then(|thread| thread.os_thread_id);
        let state = tid.and_then(|tid| RunState::of_thread(pid, tid).ok());
        state.is_some_and(|state| state != RunState::Running)
    }

    /// Whether the threads of the process are paused at each sample instead.
    pub fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Has the threads of the process paused for a while, if that is allowed, because of this problem.
    fn pause(
        &mut self,
        process: &mut SampledProcess,
        tgid: u32,
        bpf: &mut BpfSampler,
        batch: &mut Batch<'_>,
        problem: &str,
    ) {
        if !batch.may_pause {
            return;
        }
        self.forget(tgid, bpf);
        let time = self.paused_time.saturating_mul(2);
        self.paused_time = time.clamp(PAUSED_TIME, MAX_PAUSED_TIME);
        self.paused_until = batch.now.checked_add(self.paused_time);
        self.has_cpu_times = false;
        self.has_idle_gil = false;
        self.memory = FaultTracker::default();
        process.forget_counts();
        if !std::mem::replace(&mut self.was_reported, true) {
            let pid = process.process.pid();
            let notice = format!("process {pid} {problem}: it is paused at each sample instead");
            batch.notices.push(notice);
        }
    }

    /// Lists the threads, and tells the program of new and ended ones; if it met an unknown one, of all.
    fn list(
        &mut self,
        process: &mut SampledProcess,
        tgid: u32,
        bpf: &mut BpfSampler,
        batch: &mut Batch<'_>,
        has_unknown: bool,
    ) {
        self.listed_at = Some(batch.now);
        let deadline = batch.deadline.or_earlier(Deadline::after(LIST_LIMIT));
        process.process.reader_and_memory().0.begin_sample(false);
        process.process.reader_and_memory().0.set_deadline(deadline);
        if let Err(error) = process
            .threads
            .list(&mut process.process, batch.now, deadline)
        {
            debug!("process {}: {error}", process.process.pid());
            return;
        }
        let ids = bpf.ids();
        let mut listed: HashMap<u32, RemoteAddr> = HashMap::new();
        let mut is_in_several = false;
        for tracked in &process.threads.threads {
            let tid = tracked.thread.os_thread_id;
            let tid = tid.and_then(|tid| key(process, ids, tid));
            if let Some(tid) = tid.filter(|_| !tracked.thread.has_ended) {
                is_in_several |= listed.insert(tid, tracked.thread.state.addr).is_some();
            }
        }
        if is_in_several {
            // Each of its states has a part of its stack.
            self.cannot(
                process,
                tgid,
                bpf,
                batch,
                "has a thread in several interpreters",
            );
            return;
        }
        for tid in self.threads.keys().filter(|tid| !listed.contains_key(tid)) {
            bpf.remove_thread(*tid);
        }
        for (tid, state) in &listed {
            // The program forgets threads when there are very many.
            if (has_unknown || self.threads.get(tid) != Some(state))
                && let Err(error) = bpf.set_thread(*tid, *state)
            {
                batch.errors.push(error.to_string());
            }
        }
        self.threads = listed;
        if self.plan.is_none() {
            self.plan(process, tgid, bpf, batch);
        }
        if batch.time.is_some() && !std::mem::replace(&mut self.has_cpu_times, true) {
            // What they used before is not of this recording.
            let all: Vec<Tid> = process.threads.tids().collect();
            let totals = on_cpu(process, &all);
            self.on_cpu_ns.extend(totals);
        }
    }

    /// Notes which of these threads the list lacks.
    fn note_native(&mut self, unknown: HashSet<u32>) {
        self.native.retain(|tid| !self.threads.contains_key(tid));
        let listed = &self.threads;
        let native = unknown.into_iter().filter(|tid| !listed.contains_key(tid));
        self.native.extend(native);
        if self.native.len() > MAX_NATIVE {
            self.native.clear();
        }
    }

    /// Lets the program sample the process, once a thread shows how.
    fn plan(
        &mut self,
        process: &mut SampledProcess,
        tgid: u32,
        bpf: &mut BpfSampler,
        batch: &mut Batch<'_>,
    ) {
        let target = process.process.target();
        let Some(thread) = process.threads.threads.first() else {
            return;
        };
        let plan = process.process.reader().copy_plan(&thread.thread);
        let namespace = (bpf.ids() == Ids::First && target.is_in_other_pid_namespace())
            .then(|| namespace_of(target.pid()).ok())
            .flatten();
        let added = plan.map(|plan| CopyPlan { namespace, ..plan });
        let problem = match &added {
            Some(plan) => bpf
                .add_process(tgid, plan)
                .err()
                .map(|error| format!("is not sampled: {error}")),
            None => Some("has structures that are larger than any known".to_owned()),
        };
        match problem {
            Some(problem) => self.cannot(process, tgid, bpf, batch, &problem),
            None => self.plan = added,
        }
    }

    /// Goes on without the kernel, or tells the user, once, why the process is not sampled.
    fn cannot(
        &mut self,
        process: &mut SampledProcess,
        tgid: u32,
        bpf: &mut BpfSampler,
        batch: &mut Batch<'_>,
        problem: &str,
    ) {
        if batch.may_pause {
            self.pause(process, tgid, bpf, batch, problem);
            return;
        }
        self.forget(tgid, bpf);
        if !std::mem::replace(&mut self.was_reported, true) {
            let pid = process.process.pid();
            batch.errors.push(format!(
                "process {pid} {problem}, so that --engine kernel cannot sample it: leave that out"
            ));
        }
    }

    /// The CPU time of each of these stacks that is of a timer interrupt: what its thread used since the last batch
    /// that had such a stack, in equal parts.
    fn cpu_times(
        &mut self,
        process: &mut SampledProcess,
        walked: &[Walked],
        ids: Ids,
        window_ns: u64,
    ) -> Vec<u64> {
        let mut counts: HashMap<Tid, u64> = HashMap::new();
        let timed = walked.iter().filter(|one| one.of.reason.is_timer());
        for tid in timed.clone().filter_map(|one| one.thread.os_thread_id) {
            *counts.entry(tid).or_default() += 1;
        }
        let tids: Vec<Tid> = counts.keys().copied().collect();
        let totals = on_cpu(process, &tids);
        let mut used: HashMap<Tid, u64> = HashMap::new();
        for (tid, total) in totals {
            let before = self.on_cpu_ns.insert(tid, total).unwrap_or(0);
            used.insert(tid, total.saturating_sub(before));
        }
        let share = |one: &Walked| {
            let tid = one.thread.os_thread_id?;
            let count = counts.get_mut(&tid)?;
            let left = used.get_mut(&tid)?;
            let part = left.checked_div(*count)?;
            *count -= 1;
            *left -= part;
            Some(part)
        };
        timed
            .map({
                let mut share = share;
                // A thread that has ended tells no time. That of one that is not listed yet comes with its next stack.
                move |one| {
                    let may_have_ended =
                        || ids != Ids::First || has_ended(process, ids, one.of.tid);
                    let no_time = || match may_have_ended() {
                        true => window_ns,
                        false => 0,
                    };
                    share(one).unwrap_or_else(no_time)
                }
            })
            .collect()
    }

    /// Whether the threads were listed in the batch of that time.
    pub fn was_listed(&self, now: Instant) -> bool {
        self.listed_at == Some(now)
    }

    /// The threads that the program knows, by the id that records have.
    pub fn thread_keys(&self) -> HashSet<u32> {
        self.threads.keys().copied().collect()
    }

    /// How many threads the program knows.
    pub fn thread_count(&self) -> u64 {
        self.threads.len() as u64
    }

    /// Samples the process no more.
    pub fn forget(&mut self, tgid: u32, bpf: &mut BpfSampler) {
        bpf.remove_process(tgid);
        for (tid, _) in self.threads.drain() {
            bpf.remove_thread(tid);
        }
        self.plan = None;
    }
}

/// Makes traces of the stacks. `cpu_ns`: the CPU times of those of timer interrupts, where these are known.
fn add_traces(
    process: &mut SampledProcess,
    walked: &[Walked],
    cpu_ns: &[u64],
    batch: &mut Batch<'_>,
) {
    let pid = process.process.pid();
    let (reader, memory) = process.process.reader_and_memory();
    let mut trace = |one: &Walked| {
        let frames: Arc<[FrameId]> = one.names.iter().copied().flatten().collect();
        let sample = ThreadSample::<()>::new(&one.thread, true, pid, frames, &one.stack);
        let mut trace = sample.trace;
        trace.thread.name = reader.thread_name(memory, &one.thread);
        trace
    };
    let mut cpu_ns = cpu_ns.iter();
    for one in walked {
        let mut trace = trace(one);
        match one.of.reason {
            Reason::Timer => {
                trace.thread.time_ns = cpu_ns.next().copied();
                if batch.time == Some(TimeWeight::Wall) {
                    batch.ran.push((one.of, trace.clone()));
                }
                batch.traces.push((one.of.time_ns, Some(trace)));
            }
            Reason::PageFault(fault) => batch.faults.push(RecordedFault {
                time_ns: one.of.time_ns,
                fault,
                source: FaultSource::Python(trace),
            }),
            Reason::Wait(earlier) => batch.waits.push(RecordedWait {
                time_ns: one.of.time_ns,
                tid: one.of.tid,
                earlier,
                trace: Some(trace),
            }),
        }
    }
    batch.errors.extend(reader.end_sample());
}

/// How long these threads have been on a CPU, in nanoseconds, as far as the kernel tells.
fn on_cpu(process: &mut SampledProcess, tids: &[Tid]) -> Vec<(Tid, u64)> {
    let threads = process.threads.threads.iter_mut();
    let wanted = threads.filter(|one| {
        let tid = one.thread.os_thread_id;
        tid.is_some_and(|tid| tids.contains(&tid))
    });
    wanted
        .filter_map(|one| {
            one.refresh(true);
            one.on_cpu_ns()
        })
        .collect()
}
