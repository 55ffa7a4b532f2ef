//! [`Prefetch`]: the ranges read in the last samples, copied with one call before they are read
//! again.
//!
//! A sample reads mostly the same addresses as the one before: the same lists, the same stack. So
//! the addresses that were read are remembered as *ranges*. The owner copies the ranges of several
//! prefetches in one vectored call ([`Prefetch::prepare`], [`Prefetch::add_parts`],
//! [`Prefetch::filled`]), and [`Prefetched`] then reads from the copy. Other addresses are read
//! from the target, and remembered for the next sample. A range that was not read in 64 to 128
//! fills is dropped.

pub mod range;
pub mod readable;

use std::cell::{Cell, RefCell};

use super::address::RemoteAddr;
use super::{MemoryError, RemoteMemory};
use range::{Extent, Missed, PAGE, Range, part};
use readable::readable;

/// The number of fills after which ranges shrink to what was read since the last time.
const SHRINK_INTERVAL: u32 = 64;
/// Caps on the remembered ranges. Other addresses are read when needed.
const MAX_RANGES: usize = 4096;
/// Room for 17,000 frames that are heap objects (to 3.10), and for four times as many on a data stack.
const MAX_BYTES: u64 = 8 << 20;
/// With more ranges than this, unreadable parts are not searched for: a thread may be paused
/// meanwhile, and each range takes up to ten reads. A data stack has a handful.
const MAX_CHECKED: usize = 16;

/// How ranges are made from the reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrefetchPolicy {
    /// Ranges no farther apart than this, in bytes, are merged.
    pub gap: u64,
    /// How far a range extends beyond what was read, in bytes and within the page: a stack grows.
    pub beyond: u64,
    /// How much is read before an address that is in no range, in bytes and within the page: a walk
    /// down a stack reads that next.
    pub before: u64,
}

#[derive(Debug)]
pub struct Prefetch {
    policy: PrefetchPolicy,
    max_bytes: u64,
    /// By address, not overlapping.
    ranges: Vec<Range>,
    /// The copies of all ranges, one after another.
    bytes: Vec<u8>,
    is_filled: bool,
    fills: u32,
    /// Reads outside of the ranges since the last fill.
    missed: RefCell<Vec<Missed>>,
    misses: Cell<u32>,
    missed_bytes: Cell<u64>,
    /// Whether some range is not copied whole.
    has_unreadable: bool,
    /// The number of successive fills for which that was so.
    fills_with_unreadable: u32,
    /// Whether a read went beyond the `wanted_end` of a range.
    has_grown: Cell<bool>,
}

impl Prefetch {
    pub fn new(policy: PrefetchPolicy) -> Prefetch {
        Prefetch {
            policy,
            max_bytes: MAX_BYTES,
            ranges: Vec::new(),
            bytes: Vec::new(),
            is_filled: false,
            fills: 0,
            missed: RefCell::default(),
            misses: Cell::new(0),
            missed_bytes: Cell::new(0),
            has_unreadable: false,
            fills_with_unreadable: 0,
            has_grown: Cell::new(false),
        }
    }

    /// The target's memory, read through the copy.
    pub fn over<'a, M>(&'a self, memory: &'a M) -> Prefetched<'a, M> {
        Prefetched {
            prefetch: self,
            memory,
        }
    }

    /// Its approximate size in bytes.
    pub fn size(&self) -> usize {
        let missed = usize::try_from(self.missed_bytes.get()).unwrap_or(usize::MAX);
        let ranges = self.ranges.capacity() * size_of::<Range>();
        self.bytes
            .capacity()
            .saturating_add(missed)
            .saturating_add(ranges)
    }

    /// The number of reads since the last fill that were not served from the copy.
    pub fn misses(&self) -> u32 {
        self.misses.get()
    }

    /// The ranges that the next fill copies: address and length.
    pub fn ranges(&self) -> impl Iterator<Item = (RemoteAddr, usize)> {
        self.ranges
            .iter()
            .map(|range| (RemoteAddr(range.start), range.len))
    }

    /// The copies of all ranges.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Readdrs the copy by another one of the same ranges.
    pub fn swap(&mut self, bytes: &mut Vec<u8>) {
        if bytes.len() == self.bytes.len() {
            std::mem::swap(&mut self.bytes, bytes);
        }
    }

    /// Limits the bytes that are remembered from now on. Beyond it, and beyond 8 MiB, memory is read when it is
    /// needed.
    pub fn set_limit(&mut self, bytes: usize) {
        self.max_bytes = MAX_BYTES.min(bytes as u64);
    }

    /// Turns the reads so far into ranges, and makes room for their copies.
    pub fn prepare(&mut self) {
        self.is_filled = false;
        self.fills = self.fills.wrapping_add(1);
        // A part that is still unreadable after some fills may be gone for good, so it is retried
        // less often.
        self.fills_with_unreadable = if self.has_unreadable {
            self.fills_with_unreadable.saturating_add(1)
        } else {
            0
        };
        let retries =
            self.fills_with_unreadable < 4 || self.misses.get() > 0 || self.fills.is_multiple_of(8);
        if self.has_unreadable && retries {
            self.has_unreadable = false;
            for range in &mut self.ranges {
                range.part = 0..range.len;
            }
        }
        let shrinks = self.fills.is_multiple_of(SHRINK_INTERVAL);
        if shrinks || self.misses.get() > 0 || self.has_grown.get() {
            self.rebuild(shrinks);
        }
    }

    /// Rebuilds the ranges.
    fn rebuild(&mut self, shrinks: bool) {
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
        let PrefetchPolicy { gap, beyond, .. } = self.policy;
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
            if total > self.max_bytes || self.ranges.len() >= MAX_RANGES {
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

    /// Appends the parts to copy to the list of a vectored read.
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

    /// After a failed copy: excludes parts that cannot be read at the moment from the next one. A
    /// stack that unwinds gives memory back, and usually maps it again soon. Returns whether any
    /// part is excluded.
    pub fn skip_unreadable(&mut self, memory: &impl RemoteMemory) -> bool {
        if self.ranges.len() > MAX_CHECKED {
            return false;
        }
        for range in &mut self.ranges {
            range.part = readable(memory, RemoteAddr(range.start), range.len);
            self.has_unreadable |= range.part != (0..range.len);
        }
        self.has_unreadable
    }

    /// Reports whether all parts were copied. If not, memory that was readable is not any more: the
    /// ranges are learnt again.
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

    /// How many of these addresses, from the first on, have unchanged contents: `len` bytes each,
    /// compared with `before`, in which they are concatenated. They count as read. What is not in
    /// the copy does not count as unchanged.
    pub fn count_same(
        &self,
        addrs: impl Iterator<Item = RemoteAddr>,
        len: usize,
        before: &[u8],
    ) -> usize {
        if !self.is_filled || len == 0 {
            return 0;
        }
        let mut count = 0;
        // Successive addresses are usually in one range.
        let (mut near, mut start, mut copy, mut used) = (None, 0, &[][..], Extent::NONE);
        for (addr, before) in addrs.zip(before.chunks_exact(len)) {
            let mut now = part(copy, start, addr.0, len);
            if now.is_none() {
                self.mark_used(near, used);
                if let Some((range, begin, bytes)) = self.range_of(addr.0) {
                    (near, start, copy, used) = (Some(range), begin, bytes, range.used.get());
                    now = part(copy, start, addr.0, len);
                }
            }
            if now != Some(before) {
                break;
            }
            used = used.with(addr.0, addr.0.saturating_add(len as u64));
            count += 1;
        }
        self.mark_used(near, used);
        count
    }

    fn mark_used(&self, range: Option<&Range>, used: Extent) {
        if let Some(range) = range {
            range.used.set(used);
            if used.end > range.wanted_end {
                self.has_grown.set(true);
            }
        }
    }

    /// The last range that starts at or before an address, the address of its copy, and the copy.
    #[inline]
    fn range_of(&self, addr: u64) -> Option<(&Range, u64, &[u8])> {
        let after = self.ranges.partition_point(|range| range.start <= addr);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let copy = self.bytes.get(range.at..range.at.checked_add(range.len)?)?;
        let start = range.start.checked_add(range.part.start as u64)?;
        Some((range, start, copy.get(range.part.clone())?))
    }

    /// Reads what is in no range, with the bytes before it.
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
        let start = addr.0.saturating_sub(self.policy.before).max(page);
        let len = end.saturating_sub(start);
        let all = self.missed_bytes.get().saturating_add(len);
        if all > self.max_bytes || missed.len() >= MAX_RANGES {
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

/// A target's memory, read from the copies of a [`Prefetch`] where possible.
#[derive(Debug)]
pub struct Prefetched<'a, M> {
    prefetch: &'a Prefetch,
    memory: &'a M,
}

impl<M: RemoteMemory> RemoteMemory for Prefetched<'_, M> {
    #[inline]
    fn view(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        self.prefetch.copied(addr.0, len)
    }

    #[inline]
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        match self.prefetch.copied(addr.0, buf.len()) {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => self.prefetch.miss(self.memory, addr, buf),
        }
    }
}

#[cfg(test)]
mod tests;
