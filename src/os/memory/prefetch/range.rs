//! What a [`Prefetch`](super::Prefetch) remembers.

use std::cell::Cell;
use std::ops;

#[derive(Debug)]
pub(crate) struct Range {
    pub start: u64,
    /// Where ends what it is there for; it is copied a bit beyond.
    pub wanted_end: u64,
    pub len: usize,
    /// Its place in `bytes`.
    pub at: usize,
    /// The part of it that is copied: all, but for the moments when that cannot be.
    pub part: ops::Range<usize>,
    pub used: Cell<Extent>,
}

/// From the first byte to the one after the last; empty when the end comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub start: u64,
    pub end: u64,
}

#[derive(Debug)]
pub(crate) struct Missed {
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

/// The part of `bytes`, which stand at `start`, that a read wants.
#[inline]
pub(crate) fn part(bytes: &[u8], start: u64, addr: u64, len: usize) -> Option<&[u8]> {
    let from = usize::try_from(addr.checked_sub(start)?).ok()?;
    bytes.get(from..from.checked_add(len)?)
}
