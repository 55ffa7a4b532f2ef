//! [`ThreadGrowth`]: attributes a thread's part of a change to stacks, by the rule of the [parent
//! module](super).

use std::sync::Arc;

use super::{Growth, ThreadDelta};
use crate::cpython::code::frame_table::FrameId;
use crate::cpython::stack::trace::StackTrace;
use crate::sampler::sample::RssChange;

/// Successive samples that may find a thread only just woken up.
const MAX_WAKES: u8 = 30;
/// Overshoot factor: if a change exceeds this multiple of what the two end stacks can have added at their
/// observed rates, the excess was added by code that was not sampled. High, as rates are under-estimated
/// for threads that wait for a CPU.
const OVERSHOOT: f64 = 64.0;
/// Duration of a sample, in nanoseconds: the rate of a stack observed for less is hardly known.
const SHORT_NS: u64 = 20_000;
/// Longest time between two samples, in nanoseconds, for whose change two different stacks are taken to be
/// all that ran. A program can do anything in a quarter of a second.
const LONGEST_GAP_NS: u64 = 250_000_000;

/// Growth of a stack while it was being sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObservedGrowth {
    pub bytes: Growth,
    /// Total sampling time, in nanoseconds.
    pub for_ns: u64,
}

impl ObservedGrowth {
    /// Upper bound of the bytes added (or released) in `ns`. Memory comes in pieces of `piece` bytes.
    fn most(&self, released: bool, piece: f64, ns: u64) -> f64 {
        let observed = self.bytes.side(released) as f64;
        // Three standard deviations, and what is possible where nothing was observed.
        let most = observed + 3.0 * (observed * piece).sqrt() + 5.0 * piece;
        most * ns as f64 / self.for_ns.max(1) as f64
    }

    /// Estimated rate in bytes per nanosecond; high for a stack that was hardly observed.
    fn likely(&self, released: bool, piece: f64) -> f64 {
        (self.bytes.side(released) as f64 + piece) / (self.for_ns + SHORT_NS) as f64
    }
}

/// The growth of each stack; `S` identifies a stack.
pub trait Attribution<S> {
    /// Attributes a change in bytes to a stack.
    fn charge(&mut self, stack: &S, bytes: i64);
    /// Counts a change in bytes that no sampled stack is known to have made. `ends`: the stacks at both ends, if
    /// what they have in common has called what made it.
    fn charge_unseen(&mut self, ends: Option<(&S, &S)>, bytes: i64);
    /// Adds to the observed growth of a stack.
    fn observe(&mut self, stack: &S, observed: ObservedGrowth);
    /// The observed growth of a stack so far.
    fn observed(&self, stack: &S) -> ObservedGrowth;
    /// Whether two stacks are calls of the same functions, and differ only in lines.
    fn are_same_functions(&self, a: &S, b: &S) -> bool;
}

/// The state of one thread from sample to sample.
#[derive(Debug)]
pub struct ThreadGrowth<S> {
    /// The stack in the last sample, if the thread was running.
    before: Option<S>,
    /// The frames of the last sample and of the one before, running or idle.
    frames: [Option<Arc<[FrameId]>>; 2],
    /// Whether the thread was sampled in other stacks, or not at all, since the last change was reported.
    is_interrupted: bool,
    /// The frames of the last sample in which it was running.
    running_frames: Option<Arc<[FrameId]>>,
    /// The frames in which it was last idle.
    idle_frames: Option<Arc<[FrameId]>>,
    /// Whether it may have been idle because another thread held the GIL.
    may_wait_for_gil: bool,
    /// Successive samples that found it only just woken up.
    wakes: u8,
    /// Number of observations of a growth or release, and their bytes.
    pieces: (u64, u64),
}

impl<S> Default for ThreadGrowth<S> {
    fn default() -> Self {
        ThreadGrowth {
            before: None,
            frames: [None, None],
            is_interrupted: false,
            running_frames: None,
            idle_frames: None,
            may_wait_for_gil: false,
            wakes: 0,
            pieces: (0, 0),
        }
    }
}

impl<S: Clone + PartialEq> ThreadGrowth<S> {
    /// Whether a sampled thread is running, and neither just woken up nor about to sleep. To be called once
    /// per sample, before [`ThreadGrowth::attribute`]. `gil_is_taken`: another thread holds the GIL.
    pub fn is_running(&mut self, trace: &StackTrace, gil_is_taken: bool) -> bool {
        let (thread, frames) = (&trace.thread, &trace.frames);
        let is_same = |known: &Option<Arc<[FrameId]>>| {
            let known = known.as_ref();
            known.is_some_and(|known| Arc::ptr_eq(known, frames) || **known == **frames)
        };
        self.frames.swap(0, 1);
        self.frames[0] = Some(Arc::clone(frames));
        if !thread.active || frames.is_empty() {
            if !gil_is_taken && is_same(&self.running_frames) {
                // It was about to sleep.
                self.before = None;
            }
            self.running_frames = None;
            self.wakes = 0;
            self.may_wait_for_gil = gil_is_taken;
            self.idle_frames = Some(Arc::clone(frames));
            return false;
        }
        let has_waited_for_gil = thread.owns_gil && self.may_wait_for_gil;
        if is_same(&self.idle_frames) && !has_waited_for_gil && self.wakes < MAX_WAKES {
            self.wakes += 1;
            return false;
        }
        if !is_same(&self.idle_frames) {
            self.wakes = 0;
        }
        self.running_frames = Some(Arc::clone(frames));
        true
    }

    /// Records a sample after which no change is reported: its change is part of the next one.
    pub fn pass(&mut self) {
        let [now, before] = &self.frames;
        self.is_interrupted |= now != before;
    }

    /// The frames of the sample before the last one, running or idle, if the next change is all between these two.
    pub fn previous_frames(&self) -> Option<&Arc<[FrameId]>> {
        self.frames[1].as_ref().filter(|_| !self.is_interrupted)
    }

    /// Records that the thread was missing from samples.
    pub fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    /// Attributes `delta`, the thread's part of the process's `change`, to stacks. `now`: the stack of a
    /// [running](ThreadGrowth::is_running) thread. `ends`: the stacks in the last two samples, running or idle, if
    /// they are known to be the only ones.
    pub fn attribute(
        &mut self,
        delta: ThreadDelta,
        change: &RssChange,
        now: Option<S>,
        ends: Option<(S, S)>,
        attribution: &mut impl Attribution<S>,
    ) {
        let mut between = delta.between;
        if let Some(now) = &now {
            self.observe(now, delta.during_sample, change, attribution);
            attribution.charge(now, delta.during_sample);
        } else {
            between += delta.during_sample;
        }
        let before = std::mem::replace(&mut self.before, now.clone());
        let is_interrupted = std::mem::take(&mut self.is_interrupted);
        if between == 0 {
            return;
        }
        let is_known = before == now || !(is_interrupted || change.gap_ns > LONGEST_GAP_NS);
        if is_known {
            let running = [before.as_ref(), now.as_ref()];
            self.attribute_between(between, change, running, ends.as_ref(), attribution);
        } else {
            attribution.charge_unseen(None, between);
        }
    }

    fn observe(
        &mut self,
        now: &S,
        bytes: i64,
        change: &RssChange,
        attribution: &mut impl Attribution<S>,
    ) {
        let mut growth = Growth::default();
        growth.count(bytes);
        attribution.observe(
            now,
            ObservedGrowth {
                bytes: growth,
                for_ns: change.sample_ns,
            },
        );
        if bytes != 0 {
            self.pieces.0 += 1;
            self.pieces.1 = self.pieces.1.saturating_add(bytes.unsigned_abs());
        }
    }

    fn attribute_between(
        &self,
        bytes: i64,
        change: &RssChange,
        [before, now]: [Option<&S>; 2],
        sampled: Option<&(S, S)>,
        attribution: &mut impl Attribution<S>,
    ) {
        let released = bytes < 0;
        let before_now = [before.filter(|before| now != Some(*before)), now];
        let mut ends: Vec<(&S, ObservedGrowth)> = before_now
            .into_iter()
            .flatten()
            .map(|end| (end, attribution.observed(end)))
            .collect();
        let is_alone = match (before, now) {
            (Some(a), Some(b)) => a == b || attribution.are_same_functions(a, b),
            // It has waited for the GIL in the stack in which it runs.
            (Some(_), None) | (None, Some(_)) => sampled.is_some_and(|(a, b)| a == b),
            (None, None) => false,
        };
        if !is_alone {
            // Another stack may have run in between.
            ends.retain(|(_, observed)| observed.bytes.side(released) > 0);
        }
        // Programs allocate in larger pieces than the kernel counts.
        let piece = self.pieces.1 as f64 / self.pieces.0.max(1) as f64;
        let piece = piece.max(change.granularity as f64);
        let ns = change.gap_ns / ends.len().max(1) as u64;
        let most = |observed: &ObservedGrowth| observed.most(released, piece, ns);
        let at_most = ends.iter().map(|(_, observed)| most(observed)).sum::<f64>();
        let all = bytes.unsigned_abs() as f64;
        // Without any rate there is no bound.
        let is_too_much = ends.is_empty() || (at_most > 0.0 && all > OVERSHOOT * at_most);
        let likely = |observed: &ObservedGrowth| observed.likely(released, piece);
        let all_likely = ends
            .iter()
            .map(|(_, observed)| likely(observed))
            .sum::<f64>();
        let mut left = bytes;
        for (end, observed) in &ends {
            let part = if is_too_much {
                most(observed)
            } else {
                all * likely(observed) / all_likely
            };
            let part = (part.round() as i64).min(left.abs()) * bytes.signum();
            left -= part;
            attribution.charge(end, part);
        }
        match ends.last() {
            // Only the rounding error.
            Some((stack, _)) if !is_too_much => attribution.charge(stack, left),
            _ => {
                // An idle thread has not called anything from the stack in which it is idle.
                let is_in_calls = |(a, b): &(S, S)| a != b || before.zip(now).is_some();
                let sampled = sampled.filter(|ends| is_in_calls(ends));
                attribution.charge_unseen(sampled.map(|(a, b)| (a, b)), left);
            }
        }
    }
}
