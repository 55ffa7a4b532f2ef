//! [`ThreadCopy`]: one thread's state and stack, copied in one call and then walked on the copy.
//!
//! The call reads, in this order: what leads to the innermost frame (the *roots*: the thread state,
//! in 3.11 and 3.12 also its `_PyCFrame`), the places where the thread's frames stood last time, the
//! interpreter's count of code objects, and the roots once more. A thread that goes on meanwhile
//! mostly shows itself by roots that changed.

use std::sync::Arc;

use super::code::Generation;
use super::frame::RawFrame;
use super::{FrameId, Python};
use crate::target::{ReadAhead, RemoteAddr, RemoteMemory, Shape};

/// Frames of a data stack (3.11+) stand one after another, and what is beyond the innermost is
/// where the next will be.
const STACK: Shape = Shape {
    gap: 2048,
    beyond: 512,
    before: 2048,
};
/// Frames that are objects of their own stand anywhere.
const OBJECTS: Shape = Shape {
    gap: 256,
    beyond: 0,
    before: 0,
};
const ROOTS: Shape = Shape {
    gap: 64,
    beyond: 0,
    before: 0,
};

/// A thread's copied state and stack.
pub struct ThreadCopy {
    pub(super) roots: ReadAhead,
    pub(super) frames: ReadAhead,
    root_ranges: Vec<(RemoteAddr, usize)>,
    roots_again: Vec<u8>,
    agrees: bool,
    generation: Option<Generation>,
    /// The stack of the last sample, resolved: most of the next one is the same.
    pub(super) last: LastStack,
    /// Its size when that was last added to the size of all.
    pub(super) counted: usize,
}

/// The longest stack that is kept to compare the next one with.
pub(super) const MAX_LAST: usize = 20_000;

/// A stack and its names.
#[derive(Default)]
pub(super) struct LastStack {
    pub raw: Vec<RawFrame>,
    pub ids: Vec<Option<FrameId>>,
    pub shown: Option<Arc<[FrameId]>>,
    pub generation: Option<Generation>,
}

impl ThreadCopy {
    /// A copy of nothing yet.
    pub fn new(python: &Python) -> ThreadCopy {
        let has_stack = python.layout.thread_state.datastack_chunk.is_some();
        ThreadCopy {
            roots: ReadAhead::new(ROOTS),
            frames: ReadAhead::new(if has_stack { STACK } else { OBJECTS }),
            root_ranges: Vec::new(),
            roots_again: Vec::new(),
            agrees: false,
            generation: None,
            last: LastStack::default(),
            counted: 0,
        }
    }

    /// Copies anew what was read last time, and the count of code objects from `counter`, an address
    /// and a size in bytes. What cannot be copied is read when it is asked for.
    pub fn fill(
        &mut self,
        memory: &impl RemoteMemory,
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
        let filled = memory.read_many(&mut parts).is_ok();
        self.roots.filled(filled);
        self.frames.filled(filled);
        self.agrees = filled && self.roots_again == self.roots.bytes();
        let value = u64::from_le_bytes(count);
        self.generation = (filled && counter.is_some())
            .then(|| Generation::new(interpreter, value))
            .flatten();
    }

    /// How many code objects the interpreter had made when this was copied; `None` where that is
    /// not known.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// About how many bytes this takes.
    pub fn size(&self) -> usize {
        let frame = size_of::<RawFrame>() + size_of::<Option<FrameId>>();
        self.roots.size() + self.frames.size() + self.last.raw.capacity() * frame
    }

    /// Whether everything that was asked for came from the copy.
    pub fn is_whole(&self) -> bool {
        self.roots.misses() == 0 && self.frames.misses() == 0
    }

    /// Puts the roots as they were after the stack was copied in the place of those before.
    pub fn take_later(&mut self) {
        self.roots.swap(&mut self.roots_again);
    }

    /// Whether the roots were the same before and after.
    pub fn agrees(&self) -> bool {
        self.agrees
    }
}
