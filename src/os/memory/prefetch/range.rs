//! The ranges that a prefetch remembers.

use std::cell::Cell;
use std::ops;

/// Memory that can be read at one address can be read up to the next multiple of this.
pub const PAGE: u64 = 4096;

#[derive(Debug)]
pub struct Range {
    pub start: u64,
    /// The end of what was read; the copy extends a bit beyond.
    pub wanted_end: u64,
    pub len: usize,
    /// Its offset in the copies of all ranges.
    pub at: usize,
    /// The readable part, which is copied: normally the whole range.
    pub part: ops::Range<usize>,
    pub used: Cell<Extent>,
}

/// From the first byte to the one after the last; empty when the end comes first.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub start: u64,
    pub end: u64,
}

#[derive(Debug)]
pub struct Missed {
    pub start: u64,
    pub bytes: Vec<u8>,
    pub used: Extent,
}

impl Extent {
    pub const NONE: Extent = Extent {
        start: u64::MAX,
        end: 0,
    };

    pub fn with(self, start: u64, end: u64) -> Extent {
        Extent {
            start: self.start.min(start),
            end: self.end.max(end),
        }
    }
}

/// The `len` bytes at `addr` out of `bytes`, which are at `start`.
#[inline]
pub fn part(bytes: &[u8], start: u64, addr: u64, len: usize) -> Option<&[u8]> {
    let from = usize::try_from(addr.checked_sub(start)?).ok()?;
    bytes.get(from..from.checked_add(len)?)
}
