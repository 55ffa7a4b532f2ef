//! Wall-clock time: the stacks in which the threads of a process wait.

use std::collections::HashSet;

use log::debug;

use super::batch::{Batch, key};
use super::process::CopiedProcess;
use super::waits::{RecordedWait, Waited};
use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;
use crate::os::bpf::{BpfSampler, LastWait};
use crate::os::thread::state::RunState;
use crate::sampler::capture::capture;
use crate::sampler::capture::options::{CaptureOptions, Pausing};
use crate::sampler::processes::sampled::SampledProcess;

/// A wait of this length that was not recorded is read while it goes on. Shorter ones count for those around them.
const LONG_WAIT_NS: u64 = 50_000_000;

impl CopiedProcess {
    /// The stacks in which threads have waited, with the time, since the last call; to be called after
    /// [`sample`](Self::sample) with the same batch.
    pub fn count_waits(
        &mut self,
        process: &mut SampledProcess,
        tgid: u32,
        bpf: &BpfSampler,
        batch: &mut Batch<'_>,
    ) -> Waited {
        self.waits.start(batch.now_ns);
        let mut waited = Waited::new();
        // Those without a stack came first.
        batch.waits.sort_by_key(|wait| wait.time_ns);
        for wait in batch.waits.drain(..) {
            self.waits.add(wait, &mut waited);
        }
        for (of, trace) in batch.ran.drain(..) {
            let now_ns = batch.now_ns;
            self.waits.ran(of.tid, of.time_ns, now_ns, trace);
        }
        if self.is_paused(batch.now) {
            return waited;
        }
        let known = self.thread_keys();
        let mut unknown: HashSet<u32> = HashSet::new();
        if self.was_listed(batch.now) {
            for last in self
                .waits
                .missing(&known)
                .iter()
                .filter_map(|tid| bpf.last_wait(*tid))
            {
                self.waits.catch_up(last, &mut waited);
            }
            self.waits.retain(&known, batch.now_ns, &mut waited);
            self.has_unread = false;
            unknown.extend(known.iter().filter(|tid| self.waits.needs_stack(**tid)));
        }
        let skipped = self.long_skipped(tgid, &known, bpf, batch.now_ns);
        if unknown.is_empty() && skipped.is_empty() {
            return waited;
        }
        let mut unread = unknown.clone();
        for (tid, trace) in waiting(process, batch) {
            unread.remove(&tid);
            let last = bpf.last_wait(tid);
            match last.filter(|last| !last.is_recorded) {
                Some(last) if unknown.contains(&tid) || skipped.contains(&last) => {
                    let wait = RecordedWait {
                        time_ns: last.began_ns,
                        tid,
                        earlier: last.earlier,
                        trace: Some(trace),
                    };
                    self.waits.add_skipped(wait, &mut waited);
                }
                None if unknown.contains(&tid) => {
                    let began_ns = last.map(|last| last.began_ns);
                    self.waits.set_stack(tid, trace, began_ns, batch.start_ns);
                }
                _ => {}
            }
        }
        self.has_unread = !unread.is_empty();
        waited
    }

    /// Waits that go on for long, and were not recorded.
    fn long_skipped(
        &mut self,
        tgid: u32,
        tids: &HashSet<u32>,
        bpf: &BpfSampler,
        now_ns: u64,
    ) -> Vec<LastWait> {
        if !self.waits.may_have_skipped(bpf.passed_waits(tgid), now_ns) {
            return Vec::new();
        }
        let waits = tids.iter().filter_map(|tid| bpf.last_wait(*tid));
        let is_long = |wait: &LastWait| {
            let ns = now_ns.saturating_sub(wait.began_ns);
            let is_known = self.waits.has_wait_since(wait.tid, wait.began_ns);
            !wait.is_recorded && !is_known && ns >= LONG_WAIT_NS
        };
        waits.filter(is_long).collect()
    }

    /// Ends all waits, since the kernel does not sample the process any more: the recording is over, or it is paused.
    pub fn end_waits(&mut self, process: &SampledProcess, bpf: &BpfSampler, end_ns: u64) -> Waited {
        let ids = bpf.ids();
        let pid = process.process.pid();
        let tids = process.threads.tids();
        let is_there = |tid: &Tid| {
            let state = RunState::of_thread(pid, *tid);
            state.is_ok_and(|state| state != RunState::Zombie)
        };
        let there = tids.filter(is_there);
        let there: HashSet<u32> = there.filter_map(|tid| key(process, ids, tid)).collect();
        let mut waited = Waited::new();
        for last in self
            .waits
            .tids()
            .iter()
            .filter_map(|tid| bpf.last_wait(*tid))
        {
            self.waits.catch_up(last, &mut waited);
        }
        let is_there = |tid| there.contains(&tid);
        self.waits.end(end_ns, is_there, &mut waited);
        waited
    }
}

/// The threads that wait, by the id that records have, with their stacks. They are not paused: one that runs meanwhile
/// is reported by the kernel when it waits again.
fn waiting(process: &mut SampledProcess, batch: &mut Batch<'_>) -> Vec<(u32, StackTrace)> {
    let options = CaptureOptions {
        pausing: Pausing::Never,
        ..CaptureOptions::default()
    };
    let options = options.within(batch.deadline.left().unwrap_or(options.time_limit));
    let frames = &mut *batch.frames;
    let (python, threads) = (&mut process.process, &mut process.threads);
    let traces = match capture(python, threads, frames, options, batch.now, &mut ()) {
        Ok(snapshot) => snapshot.traces,
        Err(error) => {
            debug!("process {}: {error}", process.process.pid());
            return Vec::new();
        }
    };
    let waiting = traces.into_iter().filter(|trace| !trace.thread.active);
    let waiting = waiting.filter_map(|trace| {
        let tid = trace.thread.os_thread_id?;
        Some((key(process, batch.ids, tid)?, trace))
    });
    waiting.collect()
}
