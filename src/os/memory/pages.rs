//! [`Pages`]: copies of whole pages of a target, so that the many small reads of a graph of objects take
//! few system calls, and so that what was copied while a thread was paused can be decoded once it runs
//! again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;

use super::address::RemoteAddr;
use super::prefetch::range::PAGE;
use super::{MemoryError, RemoteMemory};
use crate::os::deadline::Deadline;

/// A page is read whole: memory that can be read at one address of it can be read at all of them, and a
/// read of 4 KiB takes hardly longer than one of 8 bytes (0.6 and 0.5 µs).
const PAGE_LEN: usize = PAGE as usize;
/// The most pages of one read that are cached. A longer read is made directly.
const MAX_PAGES_OF_READ: usize = 64;
/// Reads from copies between two checks of the deadline: some microseconds.
const READS_PER_CHECK: u32 = 64;

type Page = Box<[u8; PAGE_LEN]>;

/// Copies of pages, which are filled as they are read.
#[derive(Debug)]
pub struct Pages {
    copies: RefCell<HashMap<u64, Page>>,
    /// Those that were read after [`Pages::read_later`].
    later: RefCell<HashMap<u64, Page>>,
    /// The most pages of each.
    max: usize,
    deadline: Cell<Deadline>,
    is_over: Cell<bool>,
    is_later: Cell<bool>,
    has_read_later: Cell<bool>,
    reads: Cell<u32>,
}

impl Pages {
    /// At most `max` copies. After the deadline all reads fail.
    pub fn new(max: usize, deadline: Deadline) -> Pages {
        Pages {
            copies: RefCell::default(),
            later: RefCell::default(),
            max,
            deadline: Cell::new(deadline),
            is_over: Cell::new(false),
            is_later: Cell::new(false),
            has_read_later: Cell::new(false),
            reads: Cell::new(0),
        }
    }

    /// The target may change from now on: what was copied is retained, and other pages are read from the
    /// target until the next call, as it is by then.
    pub fn read_later(&self, deadline: Deadline) {
        self.later.borrow_mut().clear();
        self.is_later.set(true);
        self.has_read_later.set(false);
        self.deadline.set(deadline);
        self.is_over.set(false);
    }

    /// Whether anything was read from the target since the last [`Pages::read_later`].
    pub fn has_read_later(&self) -> bool {
        self.has_read_later.get()
    }

    /// Whether a read was refused because the deadline had passed.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// The number of copies.
    pub fn len(&self) -> usize {
        self.copies.borrow().len()
    }

    /// A target's memory, read through the copies.
    pub fn over<'a, M>(&'a self, memory: &'a M) -> Paged<'a, M> {
        Paged {
            pages: self,
            memory,
        }
    }

    fn check_deadline(&self) {
        if self.deadline.get().is_over() {
            self.is_over.set(true);
        }
    }

    /// Copies the part of the page `start` that overlaps the `buf.len()` bytes at `addr`; whether there is a
    /// copy of it.
    fn copy_part(&self, start: u64, addr: u64, buf: &mut [u8]) -> bool {
        let copy = |pages: &HashMap<u64, Page>, buf: &mut [u8]| -> Option<()> {
            let page = pages.get(&start)?;
            let from = usize::try_from(addr.saturating_sub(start)).ok()?;
            let to = usize::try_from(start.saturating_sub(addr)).ok()?;
            let source = page.get(from..)?;
            let part = buf.get_mut(to..)?;
            let len = source.len().min(part.len());
            part.get_mut(..len)?.copy_from_slice(source.get(..len)?);
            Some(())
        };
        copy(&self.copies.borrow(), buf).is_some()
            || self.is_later.get() && copy(&self.later.borrow(), buf).is_some()
    }

    /// Reads the pages with these addresses with one call, and adds their copies. `None`: they cannot be
    /// read, or there is no room.
    fn add(&self, memory: &impl RemoteMemory, starts: &[u64]) -> Option<()> {
        let pages = match self.is_later.get() {
            true => &self.later,
            false => &self.copies,
        };
        let mut pages = pages.borrow_mut();
        if starts.len() > MAX_PAGES_OF_READ || pages.len().saturating_add(starts.len()) > self.max {
            return None;
        }
        let mut new: Vec<Page> = starts.iter().map(|_| Box::new([0; PAGE_LEN])).collect();
        let mut parts: Vec<(RemoteAddr, &mut [u8])> = starts
            .iter()
            .zip(&mut new)
            .map(|(start, page)| (RemoteAddr(*start), &mut page[..]))
            .collect();
        memory.read_many(&mut parts).ok()?;
        pages.extend(starts.iter().copied().zip(new));
        Some(())
    }
}

/// A target's memory, read through the copies of [`Pages`].
#[derive(Debug)]
pub struct Paged<'a, M> {
    pages: &'a Pages,
    memory: &'a M,
}

impl<M: RemoteMemory> RemoteMemory for Paged<'_, M> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let pages = self.pages;
        if buf.is_empty() {
            return Ok(());
        }
        let reads = pages.reads.get().wrapping_add(1);
        pages.reads.set(reads);
        if reads.is_multiple_of(READS_PER_CHECK) {
            pages.check_deadline();
        }
        let last = addr.0.saturating_add(buf.len() as u64 - 1);
        let starts = (addr.0 / PAGE..=last / PAGE).map(|page| page * PAGE);
        let mut missing = Vec::new();
        if !pages.is_over() {
            for start in starts {
                if !pages.copy_part(start, addr.0, buf) {
                    missing.push(start);
                    if missing.len() > MAX_PAGES_OF_READ {
                        break;
                    }
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            pages.check_deadline();
        }
        if pages.is_over() {
            return Err(MemoryError {
                addr,
                len: buf.len(),
                cause: io::ErrorKind::TimedOut.into(),
            });
        }
        pages.has_read_later.set(pages.is_later.get());
        let is_added = pages.add(self.memory, &missing).is_some();
        if is_added
            && missing
                .iter()
                .all(|start| pages.copy_part(*start, addr.0, buf))
        {
            return Ok(());
        }
        self.memory.read(addr, buf)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.

    use std::time::Duration;

    use super::*;

    /// Bytes at some address, and how often they were read.
    struct Counted {
        start: u64,
        bytes: RefCell<Vec<u8>>,
        calls: Cell<u32>,
    }

    impl Counted {
        fn new(start: u64, len: usize) -> Counted {
            Counted {
                start,
                bytes: RefCell::new((0..len).map(|at| (at % 251) as u8).collect()),
                calls: Cell::new(0),
            }
        }

        fn part(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            let bytes = self.bytes.borrow();
            let at = addr.0.checked_sub(self.start).map(|at| at as usize);
            let found = at.and_then(|at| bytes.get(at..at + buf.len()));
            let error = || MemoryError {
                addr,
                len: buf.len(),
                cause: io::ErrorKind::InvalidInput.into(),
            };
            let found = found.ok_or_else(error)?;
            buf.copy_from_slice(found);
            Ok(())
        }
    }

    impl RemoteMemory for Counted {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            self.calls.set(self.calls.get() + 1);
            self.part(addr, buf)
        }

        fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
            self.calls.set(self.calls.get() + 1);
            let mut parts = parts.iter_mut();
            parts.try_for_each(|(addr, buf)| self.part(*addr, buf))
        }
    }

    fn read<const N: usize>(memory: &impl RemoteMemory, addr: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        memory.read(RemoteAddr(addr), &mut bytes).ok()?;
        Some(bytes)
    }

    #[test]
    fn a_page_is_read_once() {
        let target = Counted::new(PAGE, 4 * PAGE_LEN);
        let pages = Pages::new(100, Deadline::NEVER);
        let memory = pages.over(&target);
        for addr in PAGE..2 * PAGE - 8 {
            assert_eq!(read::<8>(&memory, addr), read(&target, addr));
            target.calls.set(target.calls.get() - 1);
        }
        assert_eq!(target.calls.get(), 1);
        // Across pages, of which one is new.
        let over_end = 2 * PAGE - 3;
        assert_eq!(read::<9>(&memory, over_end), read(&target, over_end));
        let long = read::<9000>(&memory, PAGE + 7);
        assert_eq!(long, read(&target, PAGE + 7));
        assert_eq!(target.calls.get(), 1 + 2 + 2);
    }

    #[test]
    fn what_is_no_whole_page_is_read_by_itself() {
        let target = Counted::new(PAGE, 100);
        let pages = Pages::new(100, Deadline::NEVER);
        let memory = pages.over(&target);
        assert_eq!(read::<8>(&memory, PAGE + 92), read(&target, PAGE + 92));
        assert_eq!(read::<9>(&memory, PAGE + 92), None);
        assert_eq!(read::<8>(&memory, u64::MAX - 7), None);
        // Nothing fits.
        let target = Counted::new(PAGE, PAGE_LEN);
        let pages = Pages::new(0, Deadline::NEVER);
        assert_eq!(read::<8>(&pages.over(&target), PAGE), read(&target, PAGE));
        assert_eq!(pages.len(), 0);
    }

    #[test]
    fn copies_outlive_a_change() {
        let target = Counted::new(PAGE, 2 * PAGE_LEN);
        let pages = Pages::new(100, Deadline::NEVER);
        let memory = pages.over(&target);
        let before = read::<8>(&memory, PAGE).unwrap();
        target.bytes.borrow_mut().fill(0xee);
        pages.read_later(Deadline::NEVER);
        assert_eq!(read(&memory, PAGE), Some(before));
        assert!(!pages.has_read_later());
        assert_eq!(read(&memory, 2 * PAGE), Some([0xee; 8]));
        assert!(pages.has_read_later());
        // Pages that were not copied before are read again for the next structure.
        target.bytes.borrow_mut().fill(0xdd);
        assert_eq!(read(&memory, 2 * PAGE), Some([0xee; 8]));
        pages.read_later(Deadline::NEVER);
        assert_eq!(read(&memory, 2 * PAGE), Some([0xdd; 8]));
    }

    #[test]
    fn nothing_is_read_after_the_deadline() {
        let target = Counted::new(PAGE, 2 * PAGE_LEN);
        let pages = Pages::new(100, Deadline::after(Duration::ZERO));
        let memory = pages.over(&target);
        assert!(!pages.is_over());
        assert_eq!(read::<8>(&memory, PAGE), None);
        assert!(pages.is_over());
        pages.read_later(Deadline::NEVER);
        assert!(read::<8>(&memory, PAGE).is_some() && !pages.is_over());
    }
}
