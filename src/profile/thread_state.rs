//! [`LiveThreads`]: the state of each thread from one tick to the next.
//!
//! Most samples of a thread share their roots with the previous one, so its nodes are cached. CPU time
//! without a stack is [deferred](DeferredCpuTime) to the next sample on a CPU; if there is none, it goes to
//! the thread's last stack on a CPU, see [`LiveThread::unattributed`].

use std::collections::HashMap;
use std::sync::Arc;

use super::deferred_cpu::DeferredCpuTime;
use super::tables::ids::{StackId, ThreadId};
use super::tables::threads::ThreadKey;
use crate::cpython::code::frame_table::FrameId;
use crate::rss::attribution::by_stack::ThreadGrowth;

/// A thread without a sample for so many ticks has exited.
const EXITED_AFTER: u64 = 1_024;

/// The stack for CPU time that has no stack of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FallbackStack {
    /// The thread was never sampled on a CPU, nor idle with a stack.
    #[default]
    None,
    /// Never on a CPU, but idle in this stack.
    Idle(StackId),
    /// Last sampled on a CPU in this stack.
    Running(StackId),
    /// Last sampled on a CPU in a sample that is left out, as is its time.
    LeftOut,
}

/// A thread that has not exited, as far as is known.
#[derive(Debug, Default)]
pub struct LiveThread {
    /// The frames of the last sample, leaf first.
    walked: Option<Arc<[FrameId]>>,
    /// The node of each of its frames, root first.
    nodes: Vec<StackId>,
    walked_from: Option<StackId>,
    pub pending: DeferredCpuTime,
    pub growth: ThreadGrowth<StackId>,
    fallback_stack: FallbackStack,
    last_tick: u64,
    /// Whether the thread was missing at the tick before the last one.
    pub was_missing: bool,
    /// Its entry in the thread table, if the options need one.
    pub row: Option<ThreadId>,
    /// The name in the last sample, not sanitised.
    name: Option<Arc<str>>,
    /// The parent of its root frame, and the stack of that frame.
    frame: Option<(StackId, StackId)>,
}

impl LiveThread {
    /// The thread's name if it is not that of the last sample. Usually it is the same allocation.
    pub fn new_name<'n>(&mut self, name: Option<&'n Arc<str>>) -> Option<&'n str> {
        let name = name.filter(|name| {
            let known = self.name.as_ref();
            !known.is_some_and(|known| Arc::ptr_eq(known, name))
        })?;
        self.name = Some(Arc::clone(name));
        Some(name)
    }

    /// The stack of the thread's root frame below `from`, made by `make` if it is not cached.
    pub fn frame(&mut self, from: StackId, make: impl FnOnce() -> StackId) -> StackId {
        match self.frame {
            Some((above, frame)) if above == from => frame,
            _ => self.frame.insert((from, make())).1,
        }
    }

    /// The node of a stack, given leaf first; `child` makes the node of a frame below that of its caller.
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

    /// Records that the thread was on a CPU in this stack; `None`: in a sample that is left out.
    pub fn record_running(&mut self, stack: Option<StackId>) {
        self.fallback_stack = stack.map_or(FallbackStack::LeftOut, FallbackStack::Running);
    }

    /// Whether deferred time has no stack on a CPU to fall back to.
    pub fn needs_stack(&self) -> bool {
        self.pending.ns() > 0
            && matches!(
                self.fallback_stack,
                FallbackStack::None | FallbackStack::Idle(_)
            )
    }

    /// Records that the thread was idle in this stack.
    pub fn record_idle(&mut self, stack: StackId) {
        self.fallback_stack = FallbackStack::Idle(stack);
    }

    /// The deferred time of a thread that has exited, in nanoseconds, and the stack to attribute it to: the
    /// last one on a CPU or, if there was none, an idle one.
    pub fn unattributed(&self) -> Option<(StackId, u64)> {
        match self.fallback_stack {
            FallbackStack::Running(stack) | FallbackStack::Idle(stack) if self.pending.ns() > 0 => {
                Some((stack, self.pending.ns()))
            }
            _ => None,
        }
    }
}

/// Number of frames that two stacks share from the root, given leaf first.
fn common_end(a: &[FrameId], b: &[FrameId]) -> usize {
    // Usually all but a few; comparing blocks is faster.
    const BLOCK: usize = 16;
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK));
    let in_blocks = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    let pairs = a.iter().rev().zip(b.iter().rev()).skip(in_blocks);
    in_blocks + pairs.take_while(|(a, b)| a == b).count()
}

/// The threads that have not exited.
#[derive(Debug, Default)]
pub struct LiveThreads {
    threads: Vec<(ThreadKey, LiveThread)>,
    places: HashMap<ThreadKey, usize>,
    /// Index of the next thread, if they come in the same order as at the last tick, as they do.
    next: usize,
    last_sweep: u64,
}

impl LiveThreads {
    /// The state of a thread that is sampled at this tick.
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
        thread.was_missing = thread.last_tick > 0 && thread.last_tick + 1 < tick;
        thread.last_tick = tick;
        Some(thread)
    }

    /// Removes the threads that have exited, every [`EXITED_AFTER`] ticks; `all`: all threads, at once.
    pub fn take_ended(&mut self, tick: u64, all: bool) -> Vec<(ThreadKey, LiveThread)> {
        self.next = 0;
        if !all && tick < self.last_sweep + EXITED_AFTER {
            return Vec::new();
        }
        self.last_sweep = tick;
        let has_ended = |thread: &LiveThread| all || tick - thread.last_tick >= EXITED_AFTER;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::testing::frames;

    #[test]
    fn the_common_end_of_two_stacks_is_counted_across_blocks() {
        let mut table = frames();
        let ids: Vec<FrameId> = (0..100).map(|line| table.id("f", line + 1)).collect();
        let (a, b) = (&ids[..80], &ids[40..80]);
        assert_eq!(common_end(a, b), 40);
        assert_eq!(common_end(a, a), 80);
        assert_eq!(common_end(a, &ids), 0);
        assert_eq!(common_end(a, &[]), 0);
        // A different frame within a block.
        let mut other = a.to_vec();
        other[60] = ids[99];
        assert_eq!(common_end(a, &other), 19);
    }

    #[test]
    fn a_walk_makes_only_the_nodes_above_the_common_end() {
        let mut table = frames();
        let ids: Vec<FrameId> = (0..4).map(|line| table.id("f", line + 1)).collect();
        let mut live = LiveThread::default();
        let mut walk = |stack: &[FrameId], from: usize| {
            let mut made = Vec::new();
            let node = live.walk(StackId::from_index(from), &stack.into(), |parent, frame| {
                made.push(frame);
                StackId::from_index(10 * parent.index() + frame.index())
            });
            (node.index(), made)
        };
        assert_eq!(walk(&[ids[2], ids[1]], 1), (112, vec![ids[1], ids[2]]));
        assert_eq!(walk(&[ids[3], ids[1]], 1), (113, vec![ids[3]]));
        assert_eq!(walk(&[ids[3], ids[1]], 1), (113, vec![]));
        assert_eq!(walk(&[ids[1]], 1), (11, vec![]));
        // Below another parent nothing is shared.
        assert_eq!(walk(&[ids[1]], 2), (21, vec![ids[1]]));
    }

    #[test]
    fn threads_are_removed_when_they_have_exited() {
        let mut threads = LiveThreads::default();
        let key = |tid| (1, Some(tid), 0);
        for tick in 1..=2 * EXITED_AFTER {
            threads.get(key(1), tick);
            if tick < 10 {
                threads.get(key(2), tick);
            }
            let ended = threads.take_ended(tick, false);
            let due = tick == 2 * EXITED_AFTER;
            assert_eq!(ended.len(), usize::from(due), "{tick}");
        }
        assert_eq!(threads.take_ended(0, true).len(), 1);
    }
}
