//! [`Budget`]: target memory with a limit on reads, bytes and time, so that an endless structure, be it a
//! value or a whole interpreter, costs bounded time.

use std::cell::Cell;
use std::io;

use super::limit::Limit;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::{MemoryError, RemoteMemory};

/// Every so many reads the time is asked for: reads of a copy take some 10 ns, asking takes 20 to 40.
const ASK_INTERVAL: usize = 16;
/// A read of so many bytes takes longer than asking does.
const LARGE_READ: usize = 16 << 10;

static NO_LIMIT: Limit = Limit::NONE;

/// Target memory with a limit on reads, bytes and time.
pub(crate) struct Budget<'a, M> {
    memory: &'a M,
    limit: &'a Limit,
    reads: Cell<usize>,
    bytes: Cell<usize>,
    /// Reads that were left when the time was over.
    forfeited: Cell<usize>,
}

impl<'a, M> Budget<'a, M> {
    pub fn new(memory: &'a M, reads: usize, bytes: usize) -> Budget<'a, M> {
        Budget::within(memory, reads, bytes, &NO_LIMIT)
    }

    /// A budget that is spent when the limit is reached, too.
    pub fn within(memory: &'a M, reads: usize, bytes: usize, limit: &'a Limit) -> Budget<'a, M> {
        Budget {
            memory,
            limit,
            reads: Cell::new(reads),
            bytes: Cell::new(bytes),
            forfeited: Cell::new(0),
        }
    }

    /// Whether all further reads fail.
    pub fn is_spent(&self) -> bool {
        self.reads.get() == 0
    }

    /// The remaining reads and bytes, whatever the time.
    pub fn left(&self) -> (usize, usize) {
        let reads = self.reads.get() + self.forfeited.get();
        (reads, self.bytes.get())
    }

    #[inline]
    fn spend(&self, addr: RemoteAddr, len: usize) -> Result<(), MemoryError> {
        let reads = self.reads.get().checked_sub(1);
        let bytes = self.bytes.get().checked_sub(len);
        if let (Some(reads), Some(bytes)) = (reads, bytes) {
            self.reads.set(reads);
            self.bytes.set(bytes);
            let asks = reads.is_multiple_of(ASK_INTERVAL) || len >= LARGE_READ;
            if !asks || !self.limit.is_reached() {
                return Ok(());
            }
            self.forfeit();
        }
        Err(self.refuse(addr, len))
    }

    /// Makes all further reads fail.
    #[cold]
    fn forfeit(&self) {
        let left = self.reads.take();
        self.forfeited.set(self.forfeited.get() + left.max(1));
    }

    #[cold]
    fn refuse(&self, addr: RemoteAddr, len: usize) -> MemoryError {
        if self.forfeited.get() > 0 {
            return MemoryError::out_of_time(addr, len);
        }
        self.reads.set(0);
        let cause = io::Error::other("the limit on reads of one process is reached");
        MemoryError { addr, len, cause }
    }

    /// An error of the memory below, which may be a budget that is spent.
    #[cold]
    fn pass_on(&self, error: MemoryError) -> MemoryError {
        if error.is_out_of_time() {
            self.forfeit();
        }
        error
    }
}

impl<M: RemoteMemory> RemoteMemory for Budget<'_, M> {
    #[inline]
    fn view(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        self.spend(addr, len).ok()?;
        self.memory.view(addr, len)
    }

    #[inline]
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.spend(addr, buf.len())?;
        let read = self.memory.read(addr, buf);
        read.map_err(|error| self.pass_on(error))
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        for (addr, part) in parts.iter() {
            self.spend(*addr, part.len())?;
        }
        let read = self.memory.read_many(parts);
        read.map_err(|error| self.pass_on(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::deadline::Deadline;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Memory of zeros that counts its reads.
    #[derive(Default)]
    struct Zeros(Cell<usize>);

    impl RemoteMemory for Zeros {
        fn read(&self, _: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            self.0.set(self.0.get() + 1);
            buf.fill(0);
            Ok(())
        }
    }

    const ADDR: RemoteAddr = RemoteAddr(0x1000);

    /// How many of a thousand reads of so many bytes succeed.
    fn reads_of(len: usize, budget: &Budget<'_, impl RemoteMemory>) -> usize {
        let mut buf = vec![0; len];
        let mut reads = 0..1000;
        reads
            .position(|_| budget.read(ADDR, &mut buf).is_err())
            .unwrap_or(1000)
    }

    #[test]
    fn no_more_is_read_when_the_time_is_over() {
        let memory = Zeros::default();
        let over = Limit::until(Deadline::after(std::time::Duration::ZERO));
        for (len, most) in [(8, ASK_INTERVAL), (LARGE_READ, 1)] {
            let budget = Budget::within(&memory, 10_000, usize::MAX, &over);
            assert!(reads_of(len, &budget) < most);
            assert!(budget.is_spent());
            assert!(budget.read(ADDR, &mut [0]).unwrap_err().is_out_of_time());
            // There may be more time for another part of the sample, which shares the reads.
            assert!(budget.left().0 > 9_000, "{:?}", budget.left());
        }
        let budget = Budget::within(&memory, 10_000, usize::MAX, &NO_LIMIT);
        assert_eq!(reads_of(8, &budget), 1000);
    }

    #[test]
    fn a_flag_ends_the_reads_before_the_time_is_over() {
        let memory = Zeros::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut limit = Limit::NONE;
        limit.set_stop(Arc::clone(&stop));
        let budget = Budget::within(&memory, 10_000, usize::MAX, &limit);
        assert_eq!(reads_of(8, &budget), 1000);
        stop.store(true, Ordering::Relaxed);
        assert!(reads_of(8, &budget) < ASK_INTERVAL && budget.is_spent());
    }

    /// The variables of a frame have a budget of their own within that of the sample.
    #[test]
    fn a_budget_within_one_that_is_spent_is_spent() {
        let memory = Zeros::default();
        let over = Limit::until(Deadline::after(std::time::Duration::ZERO));
        let outer = Budget::within(&memory, 10_000, usize::MAX, &over);
        let inner = Budget::new(&outer, 10_000, usize::MAX);
        assert!(reads_of(8, &inner) < ASK_INTERVAL);
        assert!(inner.is_spent());
    }

    #[test]
    fn the_limit_on_reads_is_no_matter_of_time() {
        let memory = Zeros::default();
        let budget = Budget::new(&memory, 3, usize::MAX);
        assert_eq!(reads_of(8, &budget), 3);
        assert!(budget.is_spent() && budget.left().0 == 0);
        assert!(!budget.read(ADDR, &mut [0]).unwrap_err().is_out_of_time());
    }
}
