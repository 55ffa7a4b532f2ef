//! [`readable`]: which part of a range can be read.

use std::ops::Range;

use super::PAGE;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// The part of `len` bytes at `start` that can be read, if that is all from the first byte on or all up to
/// the last one. Found in a few reads of one byte each, as many as halvings lead to a page.
pub(crate) fn readable(memory: &impl RemoteMemory, start: RemoteAddr, len: usize) -> Range<usize> {
    let can_read = |at: usize| memory.read(start.offset(at as u64), &mut [0]).is_ok();
    let Some(last) = len.checked_sub(1) else {
        return 0..0;
    };
    let has_first = can_read(0);
    match (has_first, can_read(last)) {
        // Perhaps it is there again; with a hole in it, it cannot be copied.
        (true, true) => 0..len,
        (false, false) => 0..0,
        _ => {
            // Pages are counted from the one with the first byte: `same` is one like it, `other` is not.
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

    /// Memory that is there from one address to another.
    struct Mapped {
        there: Range<u64>,
        asked: Cell<usize>,
    }

    impl RemoteMemory for Mapped {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            self.asked.set(self.asked.get() + 1);
            if self.there.contains(&addr.0) {
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
    fn what_is_there_is_found_in_a_few_reads() {
        const START: u64 = 0x7000_0123_4568;
        const LEN: u64 = 1 << 17;
        let first_page = START - START % PAGE;
        for pages in 0..=34 {
            let edge = first_page + pages * PAGE;
            let inside = edge.clamp(START, START + LEN) - START;
            for (there, part) in [(0..edge, 0..inside), (edge..u64::MAX, inside..LEN)] {
                let asked = Cell::new(0);
                let memory = Mapped { there, asked };
                let found = readable(&memory, RemoteAddr(START), LEN as usize);
                let found = found.start as u64..found.end as u64;
                assert!(
                    found == part || (found.is_empty() && part.is_empty()),
                    "{pages} pages: {found:?}, not {part:?}"
                );
                assert!(memory.asked.get() <= 2 + 6, "{} reads", memory.asked.get());
            }
        }
    }

    #[test]
    fn a_part_of_one_page_is_there_or_not() {
        for (there, part) in [(0..4096, 0..0), (4096..8192, 0..8), (0..u64::MAX, 0..8)] {
            let asked = Cell::new(0);
            let memory = Mapped { there, asked };
            assert_eq!(readable(&memory, RemoteAddr(4096), 8), part);
            assert_eq!(readable(&memory, RemoteAddr(4096), 0), 0..0);
        }
    }
}
