//! [`LiveThreads`]: what is remembered of each thread from one tick to the next.
//!
//! Two things. Most samples of a thread share their roots with the sample before, so the nodes of that
//! one are kept. And time that no stack is known for [waits](DeferredCpuTime) for the next tick that finds the
//! thread on a CPU. What no such tick ever comes for goes to the thread's last stack on a CPU; see
//! [`LiveThread::unattributed`].

use std::collections::HashMap;
use std::sync::Arc;

use super::deferred_cpu::DeferredCpuTime;
use super::tables::stacks::StackId;
use super::tables::threads::{ThreadId, ThreadKey};
use crate::cpython::code::frame_table::FrameId;
use crate::rss::attribution::by_stack::ThreadGrowth;

/// A thread that was not seen for so many ticks has ended.
const PATIENCE: u64 = 1_024;

/// Who gets time that a thread has used but that no stack is known for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Heir {
    /// The thread was never seen on a CPU, nor asleep in a stack.
    #[default]
    Nobody,
    /// Never on a CPU, but asleep in this stack.
    Asleep(StackId),
    /// It was on a CPU last in this stack.
    Running(StackId),
    /// It was on a CPU last in a sample that is left out, and its time is with it.
    LeftOut,
}

/// A thread that runs, as far as we know.
#[derive(Debug, Default)]
pub(crate) struct LiveThread {
    /// The stack of the last sample, leaf first.
    walked: Option<Arc<[FrameId]>>,
    /// The node of each of its frames, root first.
    nodes: Vec<StackId>,
    walked_from: Option<StackId>,
    pub pending: DeferredCpuTime,
    pub growth: ThreadGrowth<StackId>,
    fallback_stack: Heir,
    last_tick: u64,
    /// Its entry among those that are kept apart, where they are.
    pub row: Option<ThreadId>,
    /// The name that the last sample had, as the target gave it.
    name: Option<Arc<str>>,
    /// The stack of its own frame, and the one above.
    frame: Option<(StackId, StackId)>,
}

impl LiveThread {
    /// The thread's name if it is another one than at the last sample. Mostly it is that very text.
    pub fn new_name<'n>(&mut self, name: Option<&'n Arc<str>>) -> Option<&'n str> {
        let name = name.filter(|name| {
            let known = self.name.as_ref();
            !known.is_some_and(|known| Arc::ptr_eq(known, name))
        })?;
        self.name = Some(Arc::clone(name));
        Some(name)
    }

    /// The stack of the thread's own frame below `from`, made by `make` if it is not known.
    pub fn frame(&mut self, from: StackId, make: impl FnOnce() -> StackId) -> StackId {
        match self.frame {
            Some((above, frame)) if above == from => frame,
            _ => self.frame.insert((from, make())).1,
        }
    }

    /// The node of this stack, given leaf first, where each frame has the label node that `child`
    /// makes below its caller's.
    pub fn walk(
        &mut self,
        from: StackId,
        frames: &Arc<[FrameId]>,
        mut child: impl FnMut(StackId, FrameId) -> StackId,
    ) -> StackId {
        if self.walked_from != Some(from) {
            self.walked = None;
            self.walked_from = Some(from);
        }
        let before = self.walked.replace(Arc::clone(frames));
        let shared = common_end(before.as_deref().unwrap_or_default(), frames);
        self.nodes.truncate(shared);
        let mut at = self.nodes.last().copied().unwrap_or(from);
        for &frame in frames.iter().rev().skip(shared) {
            at = child(at, frame);
            self.nodes.push(at);
        }
        at
    }

    /// Takes note that the thread was on a CPU in this stack; `None`: in a sample that is left out.
    pub fn record_running(&mut self, stack: Option<StackId>) {
        self.fallback_stack = stack.map_or(Heir::LeftOut, Heir::Running);
    }

    /// Whether time would be lost for want of a stack.
    pub fn needs_stack(&self) -> bool {
        self.pending.ns() > 0 && matches!(self.fallback_stack, Heir::Nobody | Heir::Asleep(_))
    }

    /// Takes note that the thread slept in this stack.
    pub fn record_idle(&mut self, stack: StackId) {
        self.fallback_stack = Heir::Asleep(stack);
    }

    /// What a thread that is seen no more has used since it was last seen on a CPU, in nanoseconds,
    /// and the stack that gets it: the last one on a CPU or, if it never was, the one that it slept
    /// in.
    pub fn unattributed(&self) -> Option<(StackId, u64)> {
        match self.fallback_stack {
            Heir::Running(stack) | Heir::Asleep(stack) if self.pending.ns() > 0 => {
                Some((stack, self.pending.ns()))
            }
            _ => None,
        }
    }
}

/// How many frames two stacks have in common from the root on, given leaf first.
fn common_end(a: &[FrameId], b: &[FrameId]) -> usize {
    // Mostly that is all but a few, and whole blocks are compared sooner.
    const BLOCK: usize = 16;
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK));
    let in_blocks = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    let pairs = a.iter().rev().zip(b.iter().rev()).skip(in_blocks);
    in_blocks + pairs.take_while(|(a, b)| a == b).count()
}

/// The threads that run.
#[derive(Debug, Default)]
pub(crate) struct LiveThreads {
    threads: Vec<(ThreadKey, LiveThread)>,
    places: HashMap<ThreadKey, usize>,
    /// Where the next thread is if they come in the same order as at the last tick, as they do.
    next: usize,
    last_sweep: u64,
}

impl LiveThreads {
    /// What is known of a thread that is seen at this tick.
    pub fn get(&mut self, key: ThreadKey, tick: u64) -> Option<&mut LiveThread> {
        let LiveThreads {
            threads, places, ..
        } = self;
        let place = if threads
            .get(self.next)
            .is_some_and(|(known, _)| *known == key)
        {
            self.next
        } else {
            *places.entry(key).or_insert_with(|| {
                threads.push((key, LiveThread::default()));
                threads.len() - 1
            })
        };
        self.next = place + 1;
        let (_, thread) = threads.get_mut(place)?;
        thread.last_tick = tick;
        Some(thread)
    }

    /// Takes out the threads that have ended, now and then; `all`: every one.
    pub fn take_ended(&mut self, tick: u64, all: bool) -> Vec<(ThreadKey, LiveThread)> {
        self.next = 0;
        if !all && tick < self.last_sweep + PATIENCE {
            return Vec::new();
        }
        self.last_sweep = tick;
        let has_ended = |thread: &LiveThread| all || tick - thread.last_tick >= PATIENCE;
        let ended: Vec<_> = self
            .threads
            .extract_if(.., |(_, thread)| has_ended(thread))
            .collect();
        if !ended.is_empty() {
            let keys = self.threads.iter().map(|(key, _)| *key);
            self.places = keys.enumerate().map(|(place, key)| (key, place)).collect();
        }
        ended
    }
}
