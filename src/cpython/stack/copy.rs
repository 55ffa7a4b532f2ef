//! [`ThreadCopy`]: one thread's state and stack, copied in one call and then walked on the copy.
//!
//! The call reads, in this order: what leads to the innermost frame (the *roots*: the thread state,
//! in 3.11 and 3.12 also its `_PyCFrame`), the places where the thread's frames stood last time, the
//! interpreter's count of code objects, and the roots once more. A thread that goes on meanwhile
//! mostly shows itself by roots that changed.

use std::sync::Arc;

use super::frame_cache::FrameCache;
use super::walk::{LeafState, clears_executable_on_return};
use crate::cpython::code::frame_table::FrameId;
use crate::cpython::code::identity::Generation;
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::{Prefetch, PrefetchPolicy};

/// Frames of a data stack (3.11+) stand one after another, and what is beyond the innermost is
/// where the next will be.
const STACK: PrefetchPolicy = PrefetchPolicy {
    gap: 2048,
    beyond: 512,
    before: 2048,
};
/// Frames that are objects of their own stand anywhere, those of a deep stack mostly one after another: to
/// copy what lies between two takes the kernel less time than to look for the second.
const OBJECTS: PrefetchPolicy = PrefetchPolicy {
    gap: 1024,
    beyond: 0,
    before: 0,
};
const ROOTS: PrefetchPolicy = PrefetchPolicy {
    gap: 64,
    beyond: 0,
    before: 0,
};

/// In so many walks in a row the outermost frame must have been the same to be believed.
const ROOT_CONFIRMATIONS: u32 = 4;

/// A thread's copied state and stack.
pub struct ThreadCopy {
    pub(crate) roots: Prefetch,
    pub(crate) frames: Prefetch,
    root_ranges: Vec<(RemoteAddr, usize)>,
    roots_again: Vec<u8>,
    /// Whether frames show that they have ended.
    clears_executable_on_return: bool,
    /// Where the outermost frame stood in the last walk that was the same before and after, and in how many
    /// such walks in a row.
    root_candidate: (Option<RemoteAddr>, u32),
    /// Where it stands by enough of them.
    outermost: Option<RemoteAddr>,
    /// Where ends what must be the same in a thread state, from its start.
    compared_len: u64,
    roots_unchanged: bool,
    generation: Option<Generation>,
    /// The frames of the last walk.
    pub(crate) chain: FrameCache,
    /// The names of the last stack: most of the next one is the same.
    pub(crate) last: ResolvedStack,
    /// Its size when that was last added to the size of all.
    pub(crate) counted: usize,
}

/// The names of a stack.
#[derive(Default)]
pub(crate) struct ResolvedStack {
    /// Of how many frames, from the root on, the names are those of the frames in the chain.
    pub kept: usize,
    /// Root first, `None` for a frame that is not shown.
    pub ids: Vec<Option<FrameId>>,
    /// Which ones are `None`: few, if any.
    pub hidden: Vec<usize>,
    /// Those that are shown, leaf first.
    pub shown: Option<Arc<[FrameId]>>,
    pub generation: Option<Generation>,
    /// All code objects that the frames run, sorted, each with the place of the outermost that does.
    pub codes: Vec<(RemoteAddr, usize)>,
    /// How many code objects had been read when these names were told.
    pub reads: u64,
}

impl ResolvedStack {
    /// Keeps the names of so many frames from the root on.
    pub fn truncate(&mut self, kept: usize) {
        if kept >= self.ids.len() {
            return;
        }
        self.ids.truncate(kept);
        self.codes.retain(|(_, outermost)| *outermost < kept);
        while self.hidden.last().is_some_and(|place| *place >= kept) {
            self.hidden.pop();
        }
    }
}

impl ThreadCopy {
    /// A copy of nothing yet.
    pub fn new(python: &Runtime) -> ThreadCopy {
        let has_stack = python.layout.thread_state.datastack_chunk.is_some();
        ThreadCopy {
            roots: Prefetch::new(ROOTS),
            frames: Prefetch::new(if has_stack { STACK } else { OBJECTS }),
            root_ranges: Vec::new(),
            roots_again: Vec::new(),
            clears_executable_on_return: clears_executable_on_return(python),
            root_candidate: (None, 0),
            outermost: None,
            compared_len: if has_stack {
                u64::MAX
            } else {
                // The frame, and how deep it is. Python 2.7 counts the time behind them: a state that is
                // the same as a whole is rare.
                u64::from(python.layout.thread_state.current_frame) + 16
            },
            roots_unchanged: false,
            generation: None,
            chain: FrameCache::default(),
            last: ResolvedStack::default(),
            counted: 0,
        }
    }

    /// Copies anew what was read last time, and the count of code objects from `counter`, an address
    /// and a size in bytes, of the thread whose state is at `state`. What cannot be copied is read when
    /// it is asked for.
    pub fn fill(
        &mut self,
        memory: &impl RemoteMemory,
        state: RemoteAddr,
        counter: Option<(RemoteAddr, usize)>,
        interpreter: RemoteAddr,
    ) {
        self.roots.prepare();
        self.frames.prepare();
        self.root_ranges.clear();
        self.root_ranges.extend(self.roots.ranges());
        let bytes = self.root_ranges.iter().map(|(_, len)| len).sum();
        self.roots_again.resize(bytes, 0);
        let mut count = [0; 8];
        let mut filled = self.copy(memory, counter, &mut count);
        if !filled && self.frames.skip_unreadable(memory) {
            filled = self.copy(memory, counter, &mut count);
        }
        self.roots.filled(filled);
        self.frames.filled(filled);
        self.roots_unchanged = filled && self.is_same_again(state);
        let value = u64::from_le_bytes(count);
        self.generation = (filled && counter.is_some())
            .then(|| Generation::new(interpreter, value))
            .flatten();
    }

    /// Copies all in one call; whether that could be done.
    fn copy(
        &mut self,
        memory: &impl RemoteMemory,
        counter: Option<(RemoteAddr, usize)>,
        count: &mut [u8; 8],
    ) -> bool {
        let mut parts = Vec::with_capacity(16);
        self.roots.add_parts(&mut parts);
        self.frames.add_parts(&mut parts);
        if let Some((addr, len)) = counter
            && let Some(part) = count.get_mut(..len)
        {
            parts.push((addr, part));
        }
        let mut rest = self.roots_again.as_mut_slice();
        for &(addr, len) in &self.root_ranges {
            if let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(len) {
                parts.push((addr, part));
                rest = after;
            }
        }
        memory.read_many(&mut parts).is_ok()
    }

    /// Whether what leads to the innermost frame was the same before and after the frames.
    fn is_same_again(&self, state: RemoteAddr) -> bool {
        let end = RemoteAddr(state.0.saturating_add(self.compared_len));
        let (mut before, mut after) = (self.roots.bytes(), self.roots_again.as_slice());
        self.root_ranges.iter().all(|&(addr, len)| {
            let (Some((first, rest)), Some((again, rest_again))) =
                (before.split_at_checked(len), after.split_at_checked(len))
            else {
                return false;
            };
            (before, after) = (rest, rest_again);
            let compared_len = if addr < state {
                len
            } else {
                let until_end = end.0.saturating_sub(addr.0);
                usize::try_from(until_end).map_or(len, |until_end| until_end.min(len))
            };
            first.get(..compared_len) == again.get(..compared_len)
        })
    }

    /// How many code objects the interpreter had made when this was copied; `None` where that is
    /// not known.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// About how many bytes this takes.
    pub fn size(&self) -> usize {
        let names = self.last.ids.capacity() * size_of::<Option<FrameId>>();
        let codes = self.last.codes.capacity() * size_of::<(RemoteAddr, usize)>();
        self.roots.size() + self.frames.size() + self.chain.size() + names + codes
    }

    /// Whether nothing contradicts that the stack that was walked, with such a leaf, was the thread's while it
    /// was copied. `races`: the thread ran meanwhile.
    pub fn is_consistent(&mut self, leaf: LeafState, races: bool) -> bool {
        let outermost = self.chain.outermost();
        if self.roots_unchanged {
            let (last, count) = self.root_candidate;
            let count = if outermost == last {
                count.saturating_add(1)
            } else {
                1
            };
            self.root_candidate = (outermost, count);
            if count >= ROOT_CONFIRMATIONS {
                self.outermost = outermost;
            }
        }
        // What C calls hangs on a shim on the C stack, whose place is used again: the chain may end too soon.
        let is_rooted = outermost.is_some() && self.outermost == outermost;
        let may_be_cut =
            races && self.clears_executable_on_return && self.outermost.is_some() && !is_rooted;
        let is_there = match leaf {
            LeafState::Executing => true,
            LeafState::NotReturned => is_rooted || (self.roots_unchanged && !may_be_cut),
            LeafState::AwaitingCallee | LeafState::Unknown => self.roots_unchanged && !may_be_cut,
        };
        is_there && self.is_whole()
    }

    /// Whether everything that was asked for came from the copy.
    pub fn is_whole(&self) -> bool {
        self.roots.misses() == 0 && self.frames.misses() == 0
    }

    /// Puts the roots as they were after the stack was copied in the place of those before.
    pub fn use_later_roots(&mut self) {
        self.roots.swap(&mut self.roots_again);
    }

    /// Whether the roots were the same before and after.
    pub fn roots_unchanged(&self) -> bool {
        self.roots_unchanged
    }
}
