//! [`RemoteMemory`]: the one way to read a target's memory, live, recorded or from a core file.

pub mod address;
pub mod live;
pub mod prefetch;
pub mod tape;

use address::RemoteAddr;

/// Why memory of the target could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {len} bytes at {addr}: {cause}")]
pub struct MemoryError {
    /// First address of the failed read.
    pub addr: RemoteAddr,
    /// How many bytes were asked for.
    pub len: usize,
    /// What the system said.
    pub cause: std::io::Error,
}

impl MemoryError {
    /// Whether the process itself is gone, rather than the address being bad.
    pub fn process_is_gone(&self) -> bool {
        // ESRCH: process_vm_readv found no such process. A read of /proc/PID/mem of a process
        // that ended returns 0 bytes, which the reader reports as ESRCH too.
        self.cause.raw_os_error() == Some(nix::libc::ESRCH)
    }

    /// Whether the process lives on but runs another program by now (exec), so that it must be opened
    /// anew.
    pub fn program_is_replaced(&self) -> bool {
        self.cause.raw_os_error() == Some(nix::libc::ESTALE)
    }
}

/// Memory of a target that can be read at any address. A failed or short read is an error, never
/// zeros.
pub trait RemoteMemory {
    /// Fills `buf` from `addr`.
    ///
    /// # Errors
    /// When not every byte could be read; `buf` then holds nothing that may be used.
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// The same bytes in place, where they are at hand; `None` does not mean that they are not there.
    fn view(&self, _addr: RemoteAddr, _len: usize) -> Option<&[u8]> {
        None
    }

    /// Fills several buffers in as few system calls as the source allows. The parts are read in
    /// order, but the target runs meanwhile: they need not agree with each other.
    ///
    /// # Errors
    /// When any part could not be read whole.
    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        parts
            .iter_mut()
            .try_for_each(|(addr, buf)| self.read(*addr, buf))
    }
}

impl<M: RemoteMemory + ?Sized> RemoteMemory for &M {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        (**self).read(addr, buf)
    }

    fn view(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        (**self).view(addr, len)
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        (**self).read_many(parts)
    }
}
