//! [`Budget`]: target memory with a limit on reads and bytes, so that an endless structure, be it a
//! value or a whole interpreter, costs bounded time.

use std::cell::Cell;
use std::io;

use crate::os::memory::address::RemoteAddr;
use crate::os::memory::{MemoryError, RemoteMemory};

/// Target memory with a limit on reads and bytes.
pub(crate) struct Budget<'a, M> {
    memory: &'a M,
    reads: Cell<usize>,
    bytes: Cell<usize>,
}

impl<'a, M> Budget<'a, M> {
    pub fn new(memory: &'a M, reads: usize, bytes: usize) -> Budget<'a, M> {
        Budget {
            memory,
            reads: Cell::new(reads),
            bytes: Cell::new(bytes),
        }
    }

    /// Whether all further reads fail.
    pub fn is_spent(&self) -> bool {
        self.reads.get() == 0
    }

    /// The remaining reads and bytes.
    pub fn left(&self) -> (usize, usize) {
        (self.reads.get(), self.bytes.get())
    }

    #[inline]
    fn spend(&self, addr: RemoteAddr, len: usize) -> Result<(), MemoryError> {
        let reads = self.reads.get().checked_sub(1);
        let bytes = self.bytes.get().checked_sub(len);
        if let (Some(reads), Some(bytes)) = (reads, bytes) {
            self.reads.set(reads);
            self.bytes.set(bytes);
            return Ok(());
        }
        Err(self.refuse(addr, len))
    }

    #[cold]
    fn refuse(&self, addr: RemoteAddr, len: usize) -> MemoryError {
        self.reads.set(0);
        let cause = io::Error::other("the limit on reads of one process is reached");
        MemoryError { addr, len, cause }
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
        self.memory.read(addr, buf)
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        for (addr, part) in parts.iter() {
            self.spend(*addr, part.len())?;
        }
        self.memory.read_many(parts)
    }
}
