//! [`ThreadCopy`]: one thread's state and stack, copied in one call and then walked on the copy.
//!
//! The call reads, in this order: the *roots*, which lead to the leaf frame (the thread state, in 3.11
//! and 3.12 also its `_PyCFrame`), the addresses at which the thread's frames were last time, the
//! interpreter's count of code objects, and the roots again. If the thread runs during the call, the
//! roots have usually changed.

use super::evidence::{Evidence, LeafState, Mode, RootHistory, RootState};
use super::frame_cache::FrameCache;
use super::walk::decode::{clears_executable_on_return, may_hide_missing_root};
use crate::cpython::code::identity::Generation;
use crate::cpython::code::resolved_stack::ResolvedStack;
use crate::cpython::frame::RawFrame;
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::{Prefetch, PrefetchPolicy};

/// Frames of a data stack (3.11+) are contiguous, and the next frame will be right after the leaf.
const STACK: PrefetchPolicy = PrefetchPolicy {
    gap: 2048,
    beyond: 512,
    before: 2048,
};
/// Frames that are heap objects may be anywhere, but those of a deep stack are usually one after another.
/// Copying the gap between two takes the kernel less time than looking up another range.
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

/// A copy of more bytes than this takes so long, 0.1 ms and more, that a running thread may have returned
/// from frames that were copied first and called others: the mark of an executing leaf, which is copied
/// last, does not exclude that.
const LARGE: usize = 1 << 20;

/// A thread's copied state and stack.
pub struct ThreadCopy {
    pub roots: Prefetch,
    pub frames: Prefetch,
    root_ranges: Vec<(RemoteAddr, usize)>,
    roots_again: Vec<u8>,
    compares_roots: bool,
    root_history: RootHistory,
    /// Length of the leading part of the thread state that must match between the two reads.
    compared_len: u64,
    roots_unchanged: bool,
    generation: Option<Generation>,
    /// The frames of the last walk.
    pub cache: FrameCache,
    /// The names of the last stack.
    pub resolved: ResolvedStack,
    /// The size of this when it was last added to the total.
    pub counted_size: usize,
}

impl ThreadCopy {
    pub fn new(python: &Runtime) -> ThreadCopy {
        let has_stack = python.layout.thread_state.datastack_chunk.is_some();
        ThreadCopy {
            roots: Prefetch::new(ROOTS),
            frames: Prefetch::new(if has_stack { STACK } else { OBJECTS }),
            root_ranges: Vec::new(),
            roots_again: Vec::new(),
            compares_roots: clears_executable_on_return(python) || may_hide_missing_root(python),
            root_history: RootHistory::default(),
            compared_len: if has_stack {
                u64::MAX
            } else {
                // The frame and the recursion depth. Python 2.7 has a tick counter after them, so that
                // the whole state is rarely the same twice.
                u64::from(python.layout.thread_state.current_frame) + 16
            },
            roots_unchanged: false,
            generation: None,
            cache: FrameCache::default(),
            resolved: ResolvedStack::default(),
            counted_size: 0,
        }
    }

    /// Copies the ranges of the last read again, and the count of code objects from `counter` (an address
    /// and a size in bytes). `state` is the address of the thread state. What cannot be copied, or takes more
    /// than `room` bytes, is read when it is needed.
    pub fn fill(
        &mut self,
        memory: &impl RemoteMemory,
        state: RemoteAddr,
        counter: Option<(RemoteAddr, usize)>,
        interpreter: RemoteAddr,
        room: usize,
    ) {
        self.frames.set_limit(room);
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
        self.roots_unchanged = filled && self.roots_match(state);
        let value = u64::from_le_bytes(count);
        self.generation = (filled && counter.is_some())
            .then(|| Generation::new(interpreter, value))
            .flatten();
    }

    /// Copies everything in one call; `false` if that failed.
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

    /// Whether the roots were equal before and after the frames.
    fn roots_match(&self, state: RemoteAddr) -> bool {
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

    /// The interpreter's count of code objects when this was copied; `None` where it is not known.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Approximate heap size in bytes.
    pub fn size(&self) -> usize {
        size_of::<ThreadCopy>()
            + self.roots.size()
            + self.frames.size()
            + self.cache.size()
            + self.resolved.size()
    }

    /// What the copy shows about the stack that was just walked, before its names are resolved.
    pub fn evidence(&mut self, leaf: LeafState, mode: Mode, stack: &[RawFrame]) -> Evidence {
        let root = self.cache.root();
        let root = self.root_history.observe(root, self.roots_unchanged);
        let is_compared = mode == Mode::Running && self.compares_roots;
        let is_large = self.frames.bytes().len() > LARGE;
        Evidence {
            roots_unchanged: self.roots_unchanged,
            fully_copied: self.roots.misses() == 0 && self.frames.misses() == 0,
            leaf: if is_large { LeafState::Unknown } else { leaf },
            root: if is_compared {
                root
            } else {
                RootState::Unknown
            },
            code_was_read: false,
            hidden_leaf: false,
            hidden_caller: false,
            unlinked_root: stack.last().is_some_and(|frame| frame.is_unlinked),
        }
    }

    /// Replaces the roots by those read after the stack.
    pub fn use_later_roots(&mut self) {
        self.roots.swap(&mut self.roots_again);
    }

    pub fn roots_unchanged(&self) -> bool {
        self.roots_unchanged
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.

    use python_offsets::{Description, LayoutSource, PythonVersion, describe};

    use super::*;
    use crate::cpython::runtime::RuntimeAddresses;
    use crate::os::memory::MemoryError;

    /// Zeros everywhere.
    struct Zeros;

    impl RemoteMemory for Zeros {
        fn read(&self, _: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            buf.fill(0);
            Ok(())
        }
    }

    /// Nothing of a stack of more than 1 MiB was copied.
    #[test]
    fn a_large_stack_is_copied_whole_but_its_leaf_proves_little() {
        let version = PythonVersion::parse("3.12.0").unwrap();
        let Description {
            layout, semantics, ..
        } = describe(version, None).unwrap();
        let python = Runtime {
            version,
            layout,
            semantics,
            layout_source: LayoutSource::Table,
            roots: RuntimeAddresses {
                interpreters_head: RemoteAddr::NULL,
                runtime: None,
                tstate_current: None,
                finalizing: None,
                next_func_version: None,
                unicode_unit: 4,
            },
        };
        for (kib, leaf) in [(1000, LeafState::Executing), (4000, LeafState::Unknown)] {
            let mut copy = ThreadCopy::new(&python);
            let stack = RemoteAddr(0x7000_0000);
            // The first sample reads frame after frame, leaf first, and the next one has a copy of all.
            for _ in 0..2 {
                copy.fill(
                    &Zeros,
                    RemoteAddr(0x1000),
                    None,
                    RemoteAddr::NULL,
                    usize::MAX,
                );
                let memory = copy.frames.over(&Zeros);
                for frame in (0..kib).rev() {
                    let mut bytes = [0; 1024];
                    memory.read(stack.offset(frame * 1024), &mut bytes).unwrap();
                }
            }
            let evidence = copy.evidence(LeafState::Executing, Mode::Running, &[]);
            assert!(evidence.fully_copied, "{kib} KiB");
            assert_eq!(evidence.leaf, leaf, "{kib} KiB");
        }
    }
}
