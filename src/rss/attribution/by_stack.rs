//! [`ThreadGrowth`]: attributes a thread's part of a change to stacks, by the rule of the [parent
//! module](super).

use std::sync::Arc;

use super::{Growth, ThreadDelta, signed};
use crate::cpython::code::frame_table::FrameId;
use crate::cpython::stack::trace::StackTrace;
use crate::sampler::sample::RssChange;

/// Samples for which a change waits until the thread is found running.
const PATIENCE: u32 = 1_000;
/// Successive samples that may find a thread only just woken up.
const MAX_WAKES: u8 = 30;
/// Overshoot factor: if a change exceeds this multiple of what the two end stacks can have added at their
/// observed rates, the excess goes to recently growing stacks. High on purpose, as a last resort: rates
/// are under-estimated for threads that wait for a CPU, and of a helper that is rarely observed and
/// alternates with one that grows within a sampling interval, the excess would go to unrelated stacks.
const OVERSHOOT: f64 = 64.0;
/// Duration of a sample, in nanoseconds: the rate of a stack observed for less is hardly known.
const SHORT_NS: u64 = 20_000;
/// Samples after which the observed growth of a thread counts half.
const HALF_LIFE: u32 = 1_000;
/// Most stacks per thread whose observed growth is cached.
const MAX_OBSERVED: usize = 64;

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
    /// Attributes additions and releases to a stack.
    fn charge_both(&mut self, stack: &S, growth: Growth) {
        self.charge(stack, signed(growth.grown_bytes));
        self.charge(stack, -signed(growth.released_bytes));
    }
    /// Adds to the observed growth of a stack.
    fn observe(&mut self, stack: &S, observed: ObservedGrowth);
    /// The observed growth of a stack so far.
    fn observed(&self, stack: &S) -> ObservedGrowth;
}

/// The state of a thread in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadAt<S> {
    /// [Running](ThreadGrowth::is_running) in this stack.
    Running(S),
    /// Idle; with the stack if that is [needed](ThreadGrowth::needs_idle_stack).
    Idle(Option<S>),
}

/// The state of one thread from sample to sample.
#[derive(Debug)]
pub struct ThreadGrowth<S> {
    /// The stack in the last sample, if the thread was running.
    before: Option<S>,
    /// The frames of the last sample, if the thread was idle.
    idle_frames: Option<Arc<[FrameId]>>,
    /// Successive samples that found it only just woken up.
    wakes: u8,
    /// Growth without a stack yet.
    waiting: Growth,
    /// Samples for which it has waited.
    waited: u32,
    /// The last running stack or, if there was none, an idle one.
    fallback_stack: Option<S>,
    /// Recently observed growth by stack.
    observed: Vec<(S, Growth)>,
    /// Number of observations of a growth or release, and their bytes.
    pieces: (u64, u64),
    /// Samples since `observed` was halved.
    samples: u32,
}

impl<S> Default for ThreadGrowth<S> {
    fn default() -> Self {
        ThreadGrowth {
            before: None,
            idle_frames: None,
            wakes: 0,
            waiting: Growth::default(),
            waited: 0,
            fallback_stack: None,
            observed: Vec::new(),
            pieces: (0, 0),
            samples: 0,
        }
    }
}

impl<S: Clone + PartialEq> ThreadGrowth<S> {
    /// Whether a sampled thread is running and has not just woken up. To be called once per sample, before
    /// [`ThreadGrowth::attribute`].
    pub fn is_running(&mut self, trace: &StackTrace) -> bool {
        let thread = &trace.thread;
        if !thread.active || trace.frames.is_empty() {
            self.wakes = 0;
            self.idle_frames = Some(Arc::clone(&trace.frames));
            return false;
        }
        let idle_frames = self.idle_frames.as_ref();
        if !thread.owns_gil
            && self.wakes < MAX_WAKES
            && idle_frames.is_some_and(|idle| **idle == *trace.frames)
        {
            self.wakes += 1;
            return false;
        }
        self.idle_frames = None;
        self.wakes = 0;
        true
    }

    /// Whether [`ThreadGrowth::attribute`] needs the stack of an idle thread.
    pub fn needs_idle_stack(&self, trace: &StackTrace, delta: ThreadDelta) -> bool {
        let has_python = !trace.frames.is_empty();
        has_python
            && self.fallback_stack.is_none()
            && (delta != ThreadDelta::default() || self.waiting != Growth::default())
    }

    /// Attributes `delta`, the thread's part of the process's `change`, to stacks.
    pub fn attribute(
        &mut self,
        delta: ThreadDelta,
        change: &RssChange,
        now: ThreadAt<S>,
        attribution: &mut impl Attribution<S>,
    ) {
        self.samples += 1;
        if self.samples > HALF_LIFE {
            self.halve_observed();
        }
        let (now, idle) = match now {
            ThreadAt::Running(now) => (Some(now), None),
            ThreadAt::Idle(idle) => (None, idle),
        };
        let mut between = delta.between;
        if let Some(now) = &now {
            self.observe(now, delta.during_sample, change, attribution);
            attribution.charge(now, delta.during_sample);
        } else {
            between += delta.during_sample;
        }
        let before = std::mem::replace(&mut self.before, now.clone());
        if between != 0 {
            self.attribute_between(between, change, before.as_ref(), now.as_ref(), attribution);
        }
        if let Some(now) = now {
            self.fallback_stack = Some(now);
            self.settle(attribution);
        } else {
            self.fallback_stack = self.fallback_stack.take().or(idle);
            self.waited = self.waited.saturating_add(1);
            if self.waited > PATIENCE {
                self.settle(attribution);
            }
        }
    }

    /// Attributes what still waits to the last running stack or, if there was none, to an idle one.
    pub fn settle(&mut self, attribution: &mut impl Attribution<S>) {
        self.waited = 0;
        if let Some(fallback_stack) = &self.fallback_stack
            && self.waiting != Growth::default()
        {
            attribution.charge_both(fallback_stack, std::mem::take(&mut self.waiting));
        }
    }

    /// What still waits after [`ThreadGrowth::settle`]: the thread was never sampled with a stack.
    pub fn waiting(&self) -> Growth {
        self.waiting
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
        if bytes == 0 {
            return;
        }
        self.pieces.0 += 1;
        self.pieces.1 = self.pieces.1.saturating_add(bytes.unsigned_abs());
        if let Some((_, known)) = self.observed.iter_mut().find(|(stack, _)| stack == now) {
            *known += growth;
        } else if self.observed.len() < MAX_OBSERVED {
            self.observed.push((now.clone(), growth));
        } else {
            let all = |known: &Growth| known.grown_bytes.saturating_add(known.released_bytes);
            let least = self.observed.iter_mut().min_by_key(|(_, known)| all(known));
            if let Some(least) = least.filter(|(_, known)| all(known) < all(&growth)) {
                *least = (now.clone(), growth);
            }
        }
    }

    fn halve_observed(&mut self) {
        self.samples = 0;
        for (_, known) in &mut self.observed {
            known.grown_bytes /= 2;
            known.released_bytes /= 2;
        }
        self.observed
            .retain(|(_, known)| known.grown_bytes > 1 || known.released_bytes > 1);
    }

    fn attribute_between(
        &mut self,
        bytes: i64,
        change: &RssChange,
        before: Option<&S>,
        now: Option<&S>,
        attribution: &mut impl Attribution<S>,
    ) {
        let released = bytes < 0;
        let before_now = [before.filter(|before| now != Some(*before)), now];
        let ends: Vec<(&S, ObservedGrowth)> = before_now
            .into_iter()
            .flatten()
            .map(|end| (end, attribution.observed(end)))
            .collect();
        // Programs allocate in larger pieces than the kernel counts.
        let piece = self.pieces.1 as f64 / self.pieces.0.max(1) as f64;
        let piece = piece.max(change.granularity as f64);
        let ns = change.gap_ns / ends.len().max(1) as u64;
        let most = |observed: &ObservedGrowth| observed.most(released, piece, ns);
        let at_most = ends.iter().map(|(_, observed)| most(observed)).sum::<f64>();
        let known = self.observed.iter();
        let known = known
            .map(|(_, known)| known.side(released) as f64)
            .sum::<f64>();
        let all = bytes.unsigned_abs() as f64;
        let is_too_much = known > 0.0 && all > OVERSHOOT * at_most;
        let mut left = bytes;
        let mut give = |stack: &S, part: f64| {
            let part = (part.round() as i64).min(left.abs()) * bytes.signum();
            left -= part;
            attribution.charge(stack, part);
        };
        let likely = |observed: &ObservedGrowth| observed.likely(released, piece);
        let all_likely = ends
            .iter()
            .map(|(_, observed)| likely(observed))
            .sum::<f64>();
        for (end, observed) in &ends {
            if is_too_much {
                give(end, most(observed));
            } else {
                give(end, all * likely(observed) / all_likely);
            }
        }
        if is_too_much {
            for (stack, observed) in &self.observed {
                let share = observed.side(released) as f64 / known;
                give(stack, (all - at_most) * share);
            }
        }
        // Only the rounding error, unless there was no stack at all.
        match (now.or(before), self.observed.first()) {
            (Some(stack), _) => attribution.charge(stack, left),
            (None, Some((stack, _))) if known > 0.0 => attribution.charge(stack, left),
            _ => self.waiting.count(left),
        }
    }
}
