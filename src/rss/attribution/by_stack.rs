//! [`ThreadGrowth`]: from a thread's share of a change to stacks; the rule is told [one up](super).

use std::sync::Arc;

use super::{Growth, ThreadDelta, signed};
use crate::cpython::code::frame_table::FrameId;
use crate::cpython::stack::trace::StackTrace;
use crate::sampler::sample::RssChange;

/// For how many looks a change waits for a thread to be seen at work.
const PATIENCE: u32 = 1_000;
/// How many looks in a row may find a thread only woken up.
const MAX_WAKES: u8 = 30;
/// How many times more than a stack can have added must have come until others are looked for. A thread
/// that waits for a CPU while it is looked at is caught with less than it adds.
/// And a helper that is hardly ever caught may alternate with one that grows faster than we look: what is
/// wrongly taken away from their caller would go to all that was caught lately, so this is a last resort.
const OVERSHOOT: f64 = 64.0;
/// As long as a look takes, in nanoseconds: a stack that was seen for less is hardly known.
const SHORT_NS: u64 = 20_000;
/// After so many looks, what was caught counts half.
const HALF_LIFE: u32 = 1_000;
/// Stacks that are remembered to have been caught, by thread.
const MAX_CAUGHT: usize = 64;

/// What a stack was caught with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObservedGrowth {
    /// What came and went while it was looked at.
    pub bytes: Growth,
    /// For how long it was looked at in all, in nanoseconds.
    pub for_ns: u64,
}

impl ObservedGrowth {
    /// How many bytes can have come (or gone, if `released`) in some time at the most. Memory comes in
    /// pieces of so many bytes.
    fn most(&self, released: bool, piece: f64, ns: u64) -> f64 {
        let observed = self.bytes.side(released) as f64;
        // Three standard deviations, and what may be if there was nothing at all.
        let most = observed + 3.0 * (observed * piece).sqrt() + 5.0 * piece;
        most * ns as f64 / self.for_ns.max(1) as f64
    }

    /// About how fast it comes or goes, in bytes per nanosecond. What was hardly seen is taken to be as
    /// likely as anything.
    fn likely(&self, released: bool, piece: f64) -> f64 {
        (self.bytes.side(released) as f64 + piece) / (self.for_ns + SHORT_NS) as f64
    }
}

/// Where changes are laid, by stack. `S` is whatever stands for one.
pub trait Attribution<S> {
    /// Lays a change, in bytes, on a stack.
    fn charge(&mut self, stack: &S, bytes: i64);
    /// Lays what came and what went on a stack.
    fn charge_both(&mut self, stack: &S, growth: Growth) {
        self.charge(stack, signed(growth.grown_bytes));
        self.charge(stack, -signed(growth.released_bytes));
    }
    /// Adds to what a stack was caught with.
    fn observe(&mut self, stack: &S, observed: ObservedGrowth);
    /// What a stack was caught with so far.
    fn observed(&self, stack: &S) -> ObservedGrowth;
}

/// What a look finds a thread at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadAt<S> {
    /// [At work](ThreadGrowth::is_at_work) in this stack.
    Running(S),
    /// Asleep; in which stack if that is [wanted](ThreadGrowth::needs_idle_stack).
    Idle(Option<S>),
}

/// What is remembered of one thread from look to look.
#[derive(Debug)]
pub struct ThreadGrowth<S> {
    /// The stack at the last look, if the thread was at work.
    before: Option<S>,
    /// The frames of the last look, if the thread slept.
    slept: Option<Arc<[FrameId]>>,
    /// Looks in a row that found it only woken up.
    wakes: u8,
    waiting: Growth,
    /// Looks since something waits.
    waited: u32,
    /// The last stack at work or, if there was none, one that it slept in.
    fallback_stack: Option<S>,
    /// Stacks that were caught lately, and the bytes.
    observed: Vec<(S, Growth)>,
    /// How often anything was caught, and how many bytes that were.
    pieces: (u64, u64),
    /// Looks since those were halved.
    looks: u32,
}

impl<S> Default for ThreadGrowth<S> {
    fn default() -> Self {
        ThreadGrowth {
            before: None,
            slept: None,
            wakes: 0,
            waiting: Growth::default(),
            waited: 0,
            fallback_stack: None,
            observed: Vec::new(),
            pieces: (0, 0),
            looks: 0,
        }
    }
}

impl<S: Clone + PartialEq> ThreadGrowth<S> {
    /// Whether a thread that was just looked at is at work. To be asked once a look, before
    /// [`ThreadGrowth::look`].
    pub fn is_at_work(&mut self, trace: &StackTrace) -> bool {
        let thread = &trace.thread;
        if !thread.active || trace.frames.is_empty() {
            self.wakes = 0;
            self.slept = Some(Arc::clone(&trace.frames));
            return false;
        }
        let slept = self.slept.as_ref();
        if !thread.owns_gil
            && self.wakes < MAX_WAKES
            && slept.is_some_and(|slept| **slept == *trace.frames)
        {
            self.wakes += 1;
            return false;
        }
        self.slept = None;
        self.wakes = 0;
        true
    }

    /// Whether [`ThreadGrowth::look`] wants to know the stack of a thread that sleeps.
    pub fn needs_idle_stack(&self, trace: &StackTrace, share: ThreadDelta) -> bool {
        let has_python = !trace.frames.is_empty();
        has_python
            && self.fallback_stack.is_none()
            && (share != ThreadDelta::default() || self.waiting != Growth::default())
    }

    /// Lays a look's change on stacks: the thread's `share` of the process's `change`.
    pub fn look(
        &mut self,
        share: ThreadDelta,
        change: &RssChange,
        now: ThreadAt<S>,
        ledger: &mut impl Attribution<S>,
    ) {
        self.looks += 1;
        if self.looks > HALF_LIFE {
            self.forget();
        }
        let (now, sleep) = match now {
            ThreadAt::Running(now) => (Some(now), None),
            ThreadAt::Idle(sleep) => (None, sleep),
        };
        let mut between = share.between;
        if let Some(now) = &now {
            self.observe(now, share.during_sample, change, ledger);
            ledger.charge(now, share.during_sample);
        } else {
            between += share.during_sample;
        }
        let before = std::mem::replace(&mut self.before, now.clone());
        if between != 0 {
            self.lay_between(between, change, before.as_ref(), now.as_ref(), ledger);
        }
        if let Some(now) = now {
            self.fallback_stack = Some(now);
            self.settle(ledger);
        } else {
            self.fallback_stack = self.fallback_stack.take().or(sleep);
            self.waited = self.waited.saturating_add(1);
            if self.waited > PATIENCE {
                self.settle(ledger);
            }
        }
    }

    /// Lays what still waits on the last stack at work or, if there was none, on one that the thread
    /// slept in: nothing better will come.
    pub fn settle(&mut self, ledger: &mut impl Attribution<S>) {
        self.waited = 0;
        if let Some(fallback_stack) = &self.fallback_stack
            && self.waiting != Growth::default()
        {
            ledger.charge_both(fallback_stack, std::mem::take(&mut self.waiting));
        }
    }

    /// What waits though there is nobody to settle it on: the thread was never seen in a stack.
    pub fn waiting(&self) -> Growth {
        self.waiting
    }

    fn observe(
        &mut self,
        now: &S,
        bytes: i64,
        change: &RssChange,
        ledger: &mut impl Attribution<S>,
    ) {
        let mut growth = Growth::default();
        growth.count(bytes);
        ledger.observe(
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
        } else if self.observed.len() < MAX_CAUGHT {
            self.observed.push((now.clone(), growth));
        } else {
            let all = |known: &Growth| known.grown_bytes.saturating_add(known.released_bytes);
            let least = self.observed.iter_mut().min_by_key(|(_, known)| all(known));
            if let Some(least) = least.filter(|(_, known)| all(known) < all(&growth)) {
                *least = (now.clone(), growth);
            }
        }
    }

    fn forget(&mut self) {
        self.looks = 0;
        for (_, known) in &mut self.observed {
            known.grown_bytes /= 2;
            known.released_bytes /= 2;
        }
        self.observed
            .retain(|(_, known)| known.grown_bytes > 1 || known.released_bytes > 1);
    }

    fn lay_between(
        &mut self,
        bytes: i64,
        change: &RssChange,
        before: Option<&S>,
        now: Option<&S>,
        ledger: &mut impl Attribution<S>,
    ) {
        let released = bytes < 0;
        let before_now = [before.filter(|before| now != Some(*before)), now];
        let ends: Vec<(&S, ObservedGrowth)> = before_now
            .into_iter()
            .flatten()
            .map(|end| (end, ledger.observed(end)))
            .collect();
        // Programs take memory in larger pieces than the kernel gives it.
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
            ledger.charge(stack, part);
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
        // Only what rounding leaves, unless there was nobody at all.
        match (now.or(before), self.observed.first()) {
            (Some(stack), _) => ledger.charge(stack, left),
            (None, Some((stack, _))) if known > 0.0 => ledger.charge(stack, left),
            _ => self.waiting.count(left),
        }
    }
}
