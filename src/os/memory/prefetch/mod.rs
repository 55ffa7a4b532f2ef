//! [`Prefetch`]: what was read of a target last time, copied in one call before it is asked for
//! again.
//!
//! A sample asks for mostly the same places as the one before: the same lists, the same stack. So
//! the places that were read are remembered as *ranges*. Their owner copies the ranges of several
//! read-aheads in one vectored call ([`Prefetch::prepare`], [`Prefetch::add_parts`],
//! [`Prefetch::filled`]), and [`Prefetched`] then answers from the copy. What lies elsewhere is read from
//! the target as always, and remembered for the next time. A range that nobody asked for in 64 to
//! 128 fills is forgotten.

pub mod range;
pub mod readable;

use std::cell::{Cell, RefCell};

use super::address::RemoteAddr;
use super::{MemoryError, RemoteMemory};
use range::{Extent, Missed, Range, part};
use readable::readable;

/// Fills after which a range shrinks to what was asked for since the last time.
const KEPT: u32 = 64;
/// Limits of what is remembered; more is read when it is asked for.
const MAX_RANGES: usize = 4096;
const MAX_BYTES: u64 = 1 << 20;
/// Memory that can be read at one address can be read up to the next multiple of this.
const PAGE: u64 = 4096;
/// With more ranges than this it is not asked which of them can be read: a thread may be paused meanwhile, and
/// for each it takes up to ten reads. A data stack has a handful.
const MAX_TRIMMED: usize = 16;

/// How ranges are made from what was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrefetchPolicy {
    /// Ranges that are no farther apart, in bytes, become one.
    pub gap: u64,
    /// How far a range reaches beyond what was asked for, in bytes, so far as the page goes: a stack
    /// grows.
    pub beyond: u64,
    /// How much is read before a place that is in no range, in bytes, so far as the page goes: who
    /// walks down a stack will ask for that next.
    pub before: u64,
}

/// Ranges of a target's memory, and a copy of them.
#[derive(Debug)]
pub struct Prefetch {
    shape: PrefetchPolicy,
    /// By address, not overlapping.
    ranges: Vec<Range>,
    /// The copies of all ranges, one after another.
    bytes: Vec<u8>,
    is_filled: bool,
    fills: u32,
    /// What was read beside the ranges since the last fill.
    missed: RefCell<Vec<Missed>>,
    misses: Cell<u32>,
    missed_bytes: Cell<u64>,
    /// Whether some range is not copied as a whole.
    is_trimmed: bool,
    /// For how many fills in a row that was so.
    trims: u32,
    /// Whether somebody asked for more of a range than it is there for.
    has_grown: Cell<bool>,
}

impl Prefetch {
    /// One that knows no ranges yet.
    pub fn new(shape: PrefetchPolicy) -> Prefetch {
        Prefetch {
            shape,
            ranges: Vec::new(),
            bytes: Vec::new(),
            is_filled: false,
            fills: 0,
            missed: RefCell::default(),
            misses: Cell::new(0),
            missed_bytes: Cell::new(0),
            is_trimmed: false,
            trims: 0,
            has_grown: Cell::new(false),
        }
    }

    /// The target's memory through the copy.
    pub fn over<'a, M>(&'a self, memory: &'a M) -> Prefetched<'a, M> {
        Prefetched {
            ahead: self,
            memory,
        }
    }

    /// About how many bytes this takes.
    pub fn size(&self) -> usize {
        let missed = usize::try_from(self.missed_bytes.get()).unwrap_or(usize::MAX);
        let ranges = self.ranges.capacity() * size_of::<Range>();
        self.bytes
            .capacity()
            .saturating_add(missed)
            .saturating_add(ranges)
    }

    /// How many reads since the last fill were not answered from the copy.
    pub fn misses(&self) -> u32 {
        self.misses.get()
    }

    /// The ranges that the next fill copies: address and length.
    pub fn ranges(&self) -> impl Iterator<Item = (RemoteAddr, usize)> {
        self.ranges
            .iter()
            .map(|range| (RemoteAddr(range.start), range.len))
    }

    /// The bytes of all ranges as they were copied.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes another copy of the same ranges for its own.
    pub fn swap(&mut self, bytes: &mut Vec<u8>) {
        if bytes.len() == self.bytes.len() {
            std::mem::swap(&mut self.bytes, bytes);
        }
    }

    /// Makes ranges of what was asked for, and room for their copies.
    pub fn prepare(&mut self) {
        self.is_filled = false;
        self.fills = self.fills.wrapping_add(1);
        // What is not there again after some fills may be gone for good.
        self.trims = if self.is_trimmed {
            self.trims.saturating_add(1)
        } else {
            0
        };
        let tries = self.trims < 4 || self.misses.get() > 0 || self.fills.is_multiple_of(8);
        if self.is_trimmed && tries {
            self.is_trimmed = false;
            for range in &mut self.ranges {
                range.part = 0..range.len;
            }
        }
        let shrinks = self.fills.is_multiple_of(KEPT);
        if shrinks || self.misses.get() > 0 || self.has_grown.get() {
            self.arrange(shrinks);
        }
    }

    /// Makes the ranges anew.
    fn arrange(&mut self, shrinks: bool) {
        let mut wanted: Vec<(u64, u64, Extent)> = Vec::with_capacity(self.ranges.len());
        for range in self.ranges.drain(..) {
            let used = range.used.get();
            if !shrinks {
                let end = range.wanted_end.max(used.end);
                wanted.push((range.start, end, used));
            } else if used.start < used.end {
                wanted.push((used.start, used.end, Extent::NONE));
            }
        }
        for missed in self.missed.get_mut().drain(..) {
            wanted.push((missed.used.start, missed.used.end, missed.used));
        }
        self.misses.set(0);
        self.missed_bytes.set(0);
        self.has_grown.set(false);
        wanted.sort_unstable_by_key(|(start, ..)| *start);
        let PrefetchPolicy { gap, beyond, .. } = self.shape;
        let (mut at, mut total) = (0, 0u64);
        let mut wanted = wanted.into_iter().peekable();
        while let Some((start, mut end, mut used)) = wanted.next() {
            while let Some((next, next_end, next_used)) =
                wanted.next_if(|(next, ..)| *next <= end.saturating_add(gap))
            {
                debug_assert!(next >= start);
                end = end.max(next_end);
                used = used.with(next_used.start, next_used.end);
            }
            let page_end = end.checked_next_multiple_of(PAGE).unwrap_or(end);
            let before_next = wanted.peek().map_or(u64::MAX, |(next, ..)| *next);
            let reach = end.saturating_add(beyond).min(page_end).min(before_next);
            let len = reach.saturating_sub(start);
            total = total.saturating_add(len);
            let Ok(len) = usize::try_from(len) else { break };
            if total > MAX_BYTES || self.ranges.len() >= MAX_RANGES {
                break;
            }
            self.ranges.push(Range {
                start,
                wanted_end: end,
                len,
                at,
                part: 0..len,
                used: Cell::new(used),
            });
            at += len;
        }
        self.bytes.resize(at, 0);
    }

    /// Adds the parts to copy to the list of a vectored read.
    pub fn add_parts<'a>(&'a mut self, parts: &mut Vec<(RemoteAddr, &'a mut [u8])>) {
        let mut rest = self.bytes.as_mut_slice();
        for range in &self.ranges {
            let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(range.len)
            else {
                return;
            };
            rest = after;
            let part = part.get_mut(range.part.clone()).unwrap_or_default();
            if !part.is_empty() {
                let skipped = range.part.start as u64;
                parts.push((RemoteAddr(range.start.saturating_add(skipped)), part));
            }
        }
    }

    /// After a copy that failed: leaves out of the next one what cannot be read at the moment. A stack that
    /// unwinds gives memory back, and mostly has it again soon. Whether anything is left out.
    pub fn trim(&mut self, memory: &impl RemoteMemory) -> bool {
        if self.ranges.len() > MAX_TRIMMED {
            return false;
        }
        for range in &mut self.ranges {
            range.part = readable(memory, RemoteAddr(range.start), range.len);
            self.is_trimmed |= range.part != (0..range.len);
        }
        self.is_trimmed
    }

    /// Says whether the parts were copied, all of them. If not, what could be read last time cannot
    /// any more: the ranges are learnt anew.
    pub fn filled(&mut self, all: bool) {
        self.is_filled = all;
        if !all {
            self.ranges.clear();
            self.bytes.clear();
        }
    }

    #[inline]
    fn copied(&self, addr: u64, len: usize) -> Option<&[u8]> {
        if !self.is_filled {
            return None;
        }
        let (range, start, copy) = self.range_of(addr)?;
        let found = part(copy, start, addr, len)?;
        let end = addr.saturating_add(len as u64);
        range.used.set(range.used.get().with(addr, end));
        if end > range.wanted_end {
            self.has_grown.set(true);
        }
        Some(found)
    }

    /// How many of these places, from the first on, hold what they held: `len` bytes each, which were then
    /// put into `before` one after another. They count as asked for. What is not in the copy is not the
    /// same.
    pub fn count_same(
        &self,
        places: impl Iterator<Item = RemoteAddr>,
        len: usize,
        before: &[u8],
    ) -> usize {
        if !self.is_filled || len == 0 {
            return 0;
        }
        let mut count = 0;
        // Places that follow each other are mostly in one range.
        let (mut near, mut start, mut copy, mut used) = (None, 0, &[][..], Extent::NONE);
        for (place, before) in places.zip(before.chunks_exact(len)) {
            let mut now = part(copy, start, place.0, len);
            if now.is_none() {
                self.note(near, used);
                if let Some((range, begin, bytes)) = self.range_of(place.0) {
                    (near, start, copy, used) = (Some(range), begin, bytes, range.used.get());
                    now = part(copy, start, place.0, len);
                }
            }
            if now != Some(before) {
                break;
            }
            used = used.with(place.0, place.0.saturating_add(len as u64));
            count += 1;
        }
        self.note(near, used);
        count
    }

    fn note(&self, range: Option<&Range>, used: Extent) {
        if let Some(range) = range {
            range.used.set(used);
            if used.end > range.wanted_end {
                self.has_grown.set(true);
            }
        }
    }

    /// The last range that starts at or before an address, where its copy starts, and that.
    #[inline]
    fn range_of(&self, addr: u64) -> Option<(&Range, u64, &[u8])> {
        let after = self.ranges.partition_point(|range| range.start <= addr);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let copy = self.bytes.get(range.at..range.at.checked_add(range.len)?)?;
        let start = range.start.checked_add(range.part.start as u64)?;
        Some((range, start, copy.get(range.part.clone())?))
    }

    /// Reads what is in no range, with what comes before it.
    #[cold]
    fn miss(
        &self,
        memory: &impl RemoteMemory,
        addr: RemoteAddr,
        buf: &mut [u8],
    ) -> Result<(), MemoryError> {
        self.misses.set(self.misses.get().saturating_add(1));
        let mut missed = self.missed.borrow_mut();
        let end = addr.0.saturating_add(buf.len() as u64);
        if let Some(last) = missed.last_mut()
            && let Some(found) = part(&last.bytes, last.start, addr.0, buf.len())
        {
            buf.copy_from_slice(found);
            last.used = last.used.with(addr.0, end);
            return Ok(());
        }
        let page = addr.0 - addr.0 % PAGE;
        let start = addr.0.saturating_sub(self.shape.before).max(page);
        let len = end.saturating_sub(start);
        let all = self.missed_bytes.get().saturating_add(len);
        if all > MAX_BYTES || missed.len() >= MAX_RANGES {
            return memory.read(addr, buf);
        }
        self.missed_bytes.set(all);
        let used = Extent { start: addr.0, end };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(buf.len())];
        if start < addr.0
            && memory.read(RemoteAddr(start), &mut bytes).is_ok()
            && let Some(found) = part(&bytes, start, addr.0, buf.len())
        {
            buf.copy_from_slice(found);
            missed.push(Missed { start, bytes, used });
            return Ok(());
        }
        memory.read(addr, buf)?;
        missed.push(Missed {
            start: addr.0,
            bytes: buf.to_vec(),
            used,
        });
        Ok(())
    }
}

/// A target's memory, answered from the copies of a [`Prefetch`] where it has them.
#[derive(Debug)]
pub struct Prefetched<'a, M> {
    ahead: &'a Prefetch,
    memory: &'a M,
}

impl<M: RemoteMemory> RemoteMemory for Prefetched<'_, M> {
    #[inline]
    fn view(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        self.ahead.copied(addr.0, len)
    }

    #[inline]
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        match self.ahead.copied(addr.0, buf.len()) {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => self.ahead.miss(self.memory, addr, buf),
        }
    }
}

#[cfg(test)]
mod tests;
