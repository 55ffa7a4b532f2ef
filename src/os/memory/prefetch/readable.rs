//! [`readable`]: the readable part of a range.

use std::ops::Range;

use super::range::PAGE;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// The readable part of `len` bytes at `start`, if it is a prefix or a suffix of them. Found by
/// bisection, with one read of one byte for each step.
pub fn readable(memory: &impl RemoteMemory, start: RemoteAddr, len: usize) -> Range<usize> {
    let can_read = |at: usize| memory.read(start.offset(at as u64), &mut [0]).is_ok();
    let Some(last) = len.checked_sub(1) else {
        return 0..0;
    };
    let has_first = can_read(0);
    match (has_first, can_read(last)) {
        // It may be readable again; with a hole in it, it cannot be copied.
        (true, true) => 0..len,
        (false, false) => 0..0,
        _ => {
            // Pages are counted from the one with the first byte: `same` is as readable as that,
            // `other` is not.
            let before = start.0 % PAGE;
            let page_of = |at: usize| (at as u64).saturating_add(before) / PAGE;
            let first_of = |page: u64| (page * PAGE).saturating_sub(before);
            let (mut same, mut other) = (0, page_of(last));
            while other - same > 1 {
                let middle = same + (other - same) / 2;
                let at = usize::try_from(first_of(middle)).unwrap_or(last);
                if can_read(at) == has_first {
                    same = middle;
                } else {
                    other = middle;
                }
            }
            let edge = usize::try_from(first_of(other)).map_or(len, |edge| edge.min(len));
            if has_first { 0..edge } else { edge..len }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory::MemoryError;
    use std::cell::Cell;

    /// Memory that is readable from one address to another.
    struct Mapped {
        mapped: Range<u64>,
        reads: Cell<usize>,
    }

    impl RemoteMemory for Mapped {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            self.reads.set(self.reads.get() + 1);
            if self.mapped.contains(&addr.0) {
                return Ok(());
            }
            Err(MemoryError {
                addr,
                len: buf.len(),
                cause: std::io::ErrorKind::InvalidInput.into(),
            })
        }
    }

    #[test]
    fn the_readable_part_is_found_in_a_few_reads() {
        const START: u64 = 0x7000_0123_4568;
        const LEN: u64 = 1 << 17;
        let first_page = START - START % PAGE;
        for pages in 0..=34 {
            let edge = first_page + pages * PAGE;
            let inside = edge.clamp(START, START + LEN) - START;
            for (mapped, part) in [(0..edge, 0..inside), (edge..u64::MAX, inside..LEN)] {
                let reads = Cell::new(0);
                let memory = Mapped { mapped, reads };
                let found = readable(&memory, RemoteAddr(START), LEN as usize);
                let found = found.start as u64..found.end as u64;
                assert!(
                    found == part || (found.is_empty() && part.is_empty()),
                    "{pages} pages: {found:?}, not {part:?}"
                );
                assert!(memory.reads.get() <= 2 + 6, "{} reads", memory.reads.get());
            }
        }
    }

    #[test]
    fn a_part_of_one_page_is_readable_or_not() {
        for (mapped, part) in [(0..4096, 0..0), (4096..8192, 0..8), (0..u64::MAX, 0..8)] {
            let reads = Cell::new(0);
            let memory = Mapped { mapped, reads };
            assert_eq!(readable(&memory, RemoteAddr(4096), 8), part);
            assert_eq!(readable(&memory, RemoteAddr(4096), 0), 0..0);
        }
    }
}
