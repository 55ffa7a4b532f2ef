//! [`ResolvedStack`]: the names of a thread's last stack, most of which the next stack shares.

use std::sync::Arc;

use super::frame_table::FrameId;
use super::identity::Generation;
use crate::cpython::frame::MAX_CACHED_FRAMES;
use crate::os::memory::address::RemoteAddr;

/// The names of a stack.
#[derive(Default)]
pub struct ResolvedStack {
    /// For how many frames, counted from the root, the names are still those of the cached frames.
    reusable: usize,
    /// Root first; `None` for a frame that is not shown.
    pub ids: Vec<Option<FrameId>>,
    /// Indices of the `None` entries: few, if any.
    hidden: Vec<usize>,
    /// The frames that are shown, leaf first.
    pub shown: Option<Arc<[FrameId]>>,
    pub generation: Option<Generation>,
    /// All code objects that the frames run, sorted by address, each with the index of the frame
    /// closest to the root that runs it.
    pub codes: Vec<(RemoteAddr, usize)>,
    /// How many code objects had been read when these names were resolved.
    pub reads: u64,
}

impl ResolvedStack {
    /// Notes that all but the first `frames` frames, counted from the root, have changed. Their names
    /// stay until the next [`reuse`](ResolvedStack::reuse).
    pub fn keep(&mut self, frames: usize) {
        self.reusable = self.reusable.min(frames);
    }

    /// Drops the names that do not hold any more and returns how many are left.
    pub fn reuse(&mut self) -> usize {
        let len = self.reusable;
        if len < self.ids.len() {
            self.ids.truncate(len);
            self.codes.retain(|(_, first)| *first < len);
            while self.hidden.pop_if(|index| *index >= len).is_some() {}
        }
        self.ids.len()
    }

    /// Adds the name of the next frame, towards the leaf.
    pub fn push(&mut self, executable: RemoteAddr, id: Option<FrameId>) {
        let index = self.ids.len();
        self.ids.push(id);
        if id.is_none() {
            self.hidden.push(index);
        }
        if index < MAX_CACHED_FRAMES
            && let Err(at) = self
                .codes
                .binary_search_by_key(&executable, |(addr, _)| *addr)
        {
            self.codes.insert(at, (executable, index));
        }
    }

    /// Notes that the names are those of all frames of a stack.
    pub fn complete(&mut self) {
        self.reusable = self.ids.len();
    }

    /// How many frames are not shown.
    pub fn hidden_count(&self) -> usize {
        self.hidden.len()
    }

    /// Whether the leaf is not shown.
    pub fn has_hidden_leaf(&self) -> bool {
        self.hidden.last() == Some(&self.leaf())
    }

    /// Whether a frame other than the leaf is not shown.
    pub fn has_hidden_caller(&self) -> bool {
        self.hidden.iter().any(|index| *index != self.leaf())
    }

    fn leaf(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }

    /// Approximate heap size in bytes.
    pub fn size(&self) -> usize {
        self.ids.capacity() * size_of::<Option<FrameId>>()
            + self.codes.capacity() * size_of::<(RemoteAddr, usize)>()
    }
}
