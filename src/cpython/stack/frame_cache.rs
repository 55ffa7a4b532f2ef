//! [`FrameCache`]: the frames that the last walk of a thread went through, so that the next one need not follow
//! those that are what they were.
//!
//! A stack mostly differs from the one before it in a few frames at its leaf. Of a frame, a walk takes
//! nothing but what stands in its head: what it runs, where, and who called it. So when a walk comes to a
//! place where a frame stood last time, and from the root up to there the heads hold the very bytes that
//! they held, then following them would lead where it led. No frame is taken to be the same because
//! another one is: the heads of all are in the copy, and are compared.

use super::walk::RawFrame;
use crate::cpython::read::record::Record;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::Prefetch;

/// The longest stack that is kept to compare the next one with.
pub(crate) const MAX_KEPT: usize = 20_000;

/// The frames of a walk.
#[derive(Default)]
pub(crate) struct FrameCache {
    /// All that were gone through, those that are not shown too, root first.
    links: Vec<Link>,
    /// The bytes of their heads, one after another.
    frame_bytes: Vec<u8>,
    head_len: usize,
    /// Where in `links` an address may be: the place is a mix of its bits, so what stands there may be
    /// about another one.
    slots: Vec<u32>,
    /// The frames of the stack, root first.
    frames: Vec<RawFrame>,
    /// Whether a thread that races would have lost some of them: see [`FrameCache::begin`].
    is_cut: bool,
    /// Room for what the next walk finds.
    pub fresh: NewFrames,
}

struct Link {
    addr: RemoteAddr,
    /// How many frames of the stack there are up to here.
    frames: usize,
}

/// What a walk found before it came to frames that are known. Leaf first.
#[derive(Default)]
pub(crate) struct NewFrames {
    pub links: Vec<(RemoteAddr, Option<RawFrame>)>,
    /// Of the first [`MAX_KEPT`] only: with more, none is of use.
    pub frame_bytes: Vec<u8>,
    /// Whether some of the frames would be left out if the thread raced.
    pub is_cut: bool,
}

impl NewFrames {
    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.links.clear();
        self.frame_bytes.clear();
        self.is_cut = false;
    }
}

impl FrameCache {
    /// Starts a walk that takes heads of so many bytes. Of a thread that `races`, frames that have ended
    /// are left out; a chain that has such frames is of no use then.
    pub fn begin(&mut self, head_len: usize, races: bool) {
        if head_len != self.head_len || (races && self.is_cut) {
            self.links.clear();
        }
        self.head_len = head_len;
        if self.links.is_empty() {
            self.frame_bytes.clear();
            self.is_cut = false;
            if self.frames.capacity() > MAX_KEPT {
                self.frames = Vec::new();
            }
            self.frames.clear();
        }
    }

    /// The place from the root of the frame that stood at this address.
    #[inline]
    pub fn find(&self, addr: RemoteAddr) -> Option<usize> {
        let guess = *self.slots.get(self.slot(addr))? as usize;
        let link = self.links.get(guess)?;
        (link.addr == addr).then_some(guess)
    }

    /// How many of the first `most` frames, from the root on, have the head that they had.
    pub fn count_same(&self, copy: &Prefetch, most: usize) -> usize {
        let places = self.links.iter().take(most).map(|link| link.addr);
        copy.count_same(places, self.head_len, &self.frame_bytes)
    }

    /// Where the outermost frame stands that is no shim.
    pub fn outermost(&self) -> Option<RemoteAddr> {
        self.frames.first().map(|frame| frame.addr)
    }

    /// Whether up to this place, from the root on, no frame was called by C and none is a generator's.
    /// `calls_c`: the one at this place has called C.
    pub fn is_plain(&self, place: usize, calls_c: bool) -> bool {
        let Some(link) = self.links.get(place) else {
            return false;
        };
        // The outermost ones are shims, too: C calls the first of all.
        let outermost = self.links.iter().take_while(|link| link.frames == 0);
        let shims = (place + 1).saturating_sub(link.frames);
        let mut frames = self.frames.iter().take(link.frames);
        shims == outermost.take(place + 1).count()
            && !(calls_c && link.frames > 0)
            && !frames.any(|frame| frame.owned_by_generator)
    }

    /// The head of a frame as it was.
    pub fn record(&self, place: usize) -> Option<Record<'_>> {
        let head = self
            .frame_bytes
            .chunks_exact(self.head_len.max(1))
            .nth(place)?;
        let link = self.links.get(place)?;
        Some(Record::new("_PyInterpreterFrame", link.addr, head))
    }

    /// Puts the `fresh` frames in the place of all but the first `same` ones. How many frames of the stack
    /// have stayed.
    pub fn replace(&mut self, same: usize, fresh: &NewFrames) -> usize {
        self.links.truncate(same);
        self.frame_bytes
            .truncate(same.saturating_mul(self.head_len));
        let stayed = self.links.last().map_or(0, |link| link.frames);
        self.frames.truncate(stayed);
        self.is_cut |= fresh.is_cut;
        if self.links.len() + fresh.links.len() > MAX_KEPT {
            self.forget();
            self.frames.reserve_exact(fresh.links.len());
            let frames = fresh.links.iter().rev();
            self.frames.extend(frames.filter_map(|(_, frame)| *frame));
            return stayed;
        }
        let frame_bytes = fresh.frame_bytes.rchunks_exact(self.head_len.max(1));
        for (&(addr, frame), head) in fresh.links.iter().rev().zip(frame_bytes) {
            self.frames.extend(frame);
            self.frame_bytes.extend_from_slice(head);
            self.links.push(Link {
                addr,
                frames: self.frames.len(),
            });
            self.guess(addr);
        }
        stayed
    }

    /// Keeps what a walk found that did not come to an end, but nothing to compare the next one with.
    pub fn keep_partial(&mut self, fresh: &NewFrames) {
        self.forget();
        self.frames.clear();
        let frames = fresh.links.iter().rev();
        self.frames.extend(frames.filter_map(|(_, frame)| *frame));
    }

    fn forget(&mut self) {
        self.links = Vec::new();
        self.frame_bytes = Vec::new();
        self.slots = Vec::new();
    }

    /// The frames of the stack, leaf first.
    pub fn stack(&self) -> impl ExactSizeIterator<Item = &RawFrame> {
        self.frames.iter().rev()
    }

    /// Forgets a stack that is too long to be compared with the next one.
    pub fn drop_oversized(&mut self) {
        if self.frames.len() > MAX_KEPT {
            self.forget();
            self.frames = Vec::new();
        }
    }

    /// Whether this is, by its ends, the stack.
    pub fn is(&self, stack: &[RawFrame]) -> bool {
        let is = stack.len() == self.frames.len()
            && stack.first() == self.frames.last()
            && stack.last() == self.frames.first();
        debug_assert!(!is || stack.iter().eq(self.stack()), "another stack");
        is
    }

    /// About how many bytes this takes.
    pub fn size(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
            + self.frame_bytes.capacity()
            + self.slots.capacity() * size_of::<u32>()
            + self.frames.capacity() * size_of::<RawFrame>()
            + self.fresh.links.capacity() * size_of::<(RemoteAddr, Option<RawFrame>)>()
            + self.fresh.frame_bytes.capacity()
    }

    fn slot(&self, addr: RemoteAddr) -> usize {
        // Frames stand at multiples of eight bytes. Multiplied by 2^64 divided by the golden ratio, addresses
        // in a row spread over all places (Knuth's multiplicative hashing); the top half of the product tells
        // them apart.
        let mixed = (addr.0 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or(0) & self.slots.len().wrapping_sub(1)
    }

    /// Takes note of where the last link is.
    fn guess(&mut self, addr: RemoteAddr) {
        if self.slots.len() < 2 * self.links.len() {
            let len = (4 * self.links.len()).next_power_of_two().max(64);
            self.slots = vec![0; len];
            for place in 0..self.links.len() {
                let slot = self.links.get(place).map(|link| self.slot(link.addr));
                self.put(slot, place);
            }
        } else {
            self.put(Some(self.slot(addr)), self.links.len() - 1);
        }
    }

    fn put(&mut self, slot: Option<usize>, place: usize) {
        if let Some(guess) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            // No more than MAX_KEPT are looked for.
            *guess = u32::try_from(place).unwrap_or(u32::MAX);
        }
    }
}
