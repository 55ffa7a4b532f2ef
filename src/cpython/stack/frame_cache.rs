//! [`FrameCache`]: the frames of a thread's last walk, so that the next walk need not follow those that have
//! not changed.
//!
//! Two successive stacks usually differ in a few frames at the leaf. All that a walk uses of a frame is in
//! its header: what it runs, at which instruction, and its caller. If a walk reaches a frame address of
//! the previous walk, and the cached header bytes of that frame and of all its callers are
//! unchanged, the rest of the previous walk is reused. Every header is in the copy and is compared; none is
//! assumed to be unchanged.

use super::evidence::Mode;
use crate::cpython::frame::{MAX_CACHED_FRAMES, RawFrame};
use crate::cpython::read::record::Record;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::Prefetch;

/// The frames of a walk.
#[derive(Default)]
pub struct FrameCache {
    /// All frames that were visited, including those that are not shown, root first.
    links: Vec<Link>,
    /// The bytes of their headers, one after another.
    frame_bytes: Vec<u8>,
    header_len: usize,
    /// Hash table from address to index in `links`; a slot may hold the index of another address.
    slots: Vec<u32>,
    /// The frames of the stack, root first.
    frames: Vec<RawFrame>,
    /// Whether a walk of a running thread would have dropped some of them: see [`FrameCache::begin`].
    has_finished: bool,
    /// Buffer for what the next walk finds.
    pub fresh: NewFrames,
}

struct Link {
    addr: RemoteAddr,
    /// How many frames of the stack there are from the root up to here.
    frames: usize,
}

/// The frames that a walk visited before it reached a cached one, leaf first.
#[derive(Default)]
pub struct NewFrames {
    pub links: Vec<(RemoteAddr, Option<RawFrame>)>,
    /// The headers of the first [`MAX_CACHED_FRAMES`] only: a longer stack is not cached.
    pub frame_bytes: Vec<u8>,
    /// Whether a walk of a running thread would have dropped some of the frames.
    pub has_finished: bool,
}

impl NewFrames {
    pub fn clear(&mut self) {
        self.links.clear();
        self.frame_bytes.clear();
        self.has_finished = false;
    }

    /// Adds the next frame, towards the root; `None` for a shim.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>, frame: Option<RawFrame>) {
        self.links.push((record.addr(), frame));
        if self.links.len() <= MAX_CACHED_FRAMES {
            self.frame_bytes.extend_from_slice(record.bytes());
        }
    }
}

impl FrameCache {
    /// Starts a walk that copies headers of this length. A walk of a running thread drops the frames of
    /// finished calls, so it cannot reuse a chain that has such frames.
    pub fn begin(&mut self, header_len: usize, mode: Mode) {
        if header_len != self.header_len || (mode == Mode::Running && self.has_finished) {
            self.links.clear();
        }
        self.header_len = header_len;
        if self.links.is_empty() {
            self.frame_bytes.clear();
            self.has_finished = false;
            if self.frames.capacity() > MAX_CACHED_FRAMES {
                self.frames = Vec::new();
            }
            self.frames.clear();
        }
    }

    /// The index from the root of the cached frame at this address.
    #[inline]
    pub fn find(&self, addr: RemoteAddr) -> Option<usize> {
        let index = *self.slots.get(self.slot(addr))? as usize;
        let link = self.links.get(index)?;
        (link.addr == addr).then_some(index)
    }

    /// How many of the first `most` frames, from the root on, have an unchanged header.
    pub fn count_same(&self, copy: &Prefetch, most: usize) -> usize {
        let addrs = self.links.iter().take(most).map(|link| link.addr);
        copy.count_same(addrs, self.header_len, &self.frame_bytes)
    }

    /// The address of the root frame, shims aside.
    pub fn root(&self) -> Option<RemoteAddr> {
        self.frames.first().map(|frame| frame.addr)
    }

    /// Whether all frames from the root up to this index are on the data stack in one piece: none was called
    /// by C and none is a generator's. `is_called_by_c`: the frame at this index has called C.
    pub fn is_plain(&self, index: usize, is_called_by_c: bool) -> bool {
        let Some(link) = self.links.get(index) else {
            return false;
        };
        // C calls the first frame of all, so the links next to the root are shims too.
        let root_shims = self.links.iter().take_while(|link| link.frames == 0);
        let shims = (index + 1).saturating_sub(link.frames);
        let mut frames = self.frames.iter().take(link.frames);
        shims == root_shims.take(index + 1).count()
            && !(is_called_by_c && link.frames > 0)
            && !frames.any(|frame| frame.owned_by_generator)
    }

    /// The cached header of a frame.
    pub fn record(&self, index: usize) -> Option<Record<'_>> {
        let header = self
            .frame_bytes
            .chunks_exact(self.header_len.max(1))
            .nth(index)?;
        let link = self.links.get(index)?;
        Some(Record::new("_PyInterpreterFrame", link.addr, header))
    }

    /// Replaces all but the first `same` links by `fresh`. Returns how many frames of the stack are
    /// unchanged. A frame whose caller is a shim was called by C.
    pub fn replace(&mut self, same: usize, fresh: &NewFrames) -> usize {
        self.links.truncate(same);
        self.frame_bytes
            .truncate(same.saturating_mul(self.header_len));
        let unchanged = self.links.last().map_or(0, |link| link.frames);
        self.frames.truncate(unchanged);
        self.has_finished |= fresh.has_finished;
        if self.links.len() + fresh.links.len() > MAX_CACHED_FRAMES {
            let mut caller_is_shim = self.last_is_shim();
            self.clear_links();
            self.frames.reserve_exact(fresh.links.len());
            for (_, frame) in fresh.links.iter().rev() {
                self.push_frame(*frame, caller_is_shim);
                caller_is_shim = frame.is_none();
            }
            return unchanged;
        }
        let headers = fresh.frame_bytes.rchunks_exact(self.header_len.max(1));
        for (&(addr, frame), header) in fresh.links.iter().rev().zip(headers) {
            self.push_frame(frame, self.last_is_shim());
            self.frame_bytes.extend_from_slice(header);
            self.links.push(Link {
                addr,
                frames: self.frames.len(),
            });
            self.index_last(addr);
        }
        unchanged
    }

    fn push_frame(&mut self, frame: Option<RawFrame>, caller_is_shim: bool) {
        self.frames.extend(frame.map(|frame| RawFrame {
            called_by_c: frame.called_by_c || caller_is_shim,
            ..frame
        }));
    }

    /// Whether the last link towards the leaf is a shim.
    fn last_is_shim(&self) -> bool {
        match self.links.as_slice() {
            [.., caller, last] => caller.frames == last.frames,
            [first] => first.frames == 0,
            [] => false,
        }
    }

    /// Stores the frames of a walk that failed, but nothing to compare the next walk with.
    pub fn keep_partial(&mut self, fresh: &NewFrames) {
        self.clear_links();
        self.frames.clear();
        let frames = fresh.links.iter().rev();
        self.frames.extend(frames.filter_map(|(_, frame)| *frame));
    }

    fn clear_links(&mut self) {
        self.links = Vec::new();
        self.frame_bytes = Vec::new();
        self.slots = Vec::new();
    }

    /// The frames of the stack, leaf first.
    pub fn stack(&self) -> impl ExactSizeIterator<Item = &RawFrame> {
        self.frames.iter().rev()
    }

    /// Frees a stack that is too long to be cached.
    pub fn drop_oversized(&mut self) {
        if self.frames.len() > MAX_CACHED_FRAMES {
            self.clear_links();
            self.frames = Vec::new();
        }
    }

    /// Whether this is the cached stack, judged by its length and ends.
    pub fn is(&self, stack: &[RawFrame]) -> bool {
        let is = stack.len() == self.frames.len()
            && stack.first() == self.frames.last()
            && stack.last() == self.frames.first();
        debug_assert!(!is || stack.iter().eq(self.stack()), "another stack");
        is
    }

    /// Approximate heap size in bytes.
    pub fn size(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
            + self.frame_bytes.capacity()
            + self.slots.capacity() * size_of::<u32>()
            + self.frames.capacity() * size_of::<RawFrame>()
            + self.fresh.links.capacity() * size_of::<(RemoteAddr, Option<RawFrame>)>()
            + self.fresh.frame_bytes.capacity()
    }

    fn slot(&self, addr: RemoteAddr) -> usize {
        // Frames are aligned to eight bytes. Multiplied by 2^64 divided by the golden ratio, successive
        // addresses spread over all slots (Knuth's multiplicative hashing); the top half of the product
        // differs most.
        let mixed = (addr.0 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or(0) & self.slots.len().wrapping_sub(1)
    }

    /// Adds the last link, which is at this address, to the hash table.
    fn index_last(&mut self, addr: RemoteAddr) {
        if self.slots.len() < 2 * self.links.len() {
            let len = (4 * self.links.len()).next_power_of_two().max(64);
            self.slots = vec![0; len];
            for index in 0..self.links.len() {
                let slot = self.links.get(index).map(|link| self.slot(link.addr));
                self.put(slot, index);
            }
        } else {
            self.put(Some(self.slot(addr)), self.links.len() - 1);
        }
    }

    fn put(&mut self, slot: Option<usize>, index: usize) {
        if let Some(slot) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            // There are no more than MAX_CACHED_FRAMES.
            *slot = u32::try_from(index).unwrap_or(u32::MAX);
        }
    }
}
