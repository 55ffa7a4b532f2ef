//! [`RemoteMemory`]: reading a target's memory, live, recorded or from a core file.

pub mod address;
pub mod live;
pub mod pages;
pub mod prefetch;
pub mod suspect;
pub mod tape;

use address::RemoteAddr;
use suspect::NotRead;

/// Why memory of the target could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {len} bytes at {addr}: {cause}")]
pub struct MemoryError {
    /// First address of the failed read.
    pub addr: RemoteAddr,
    /// The number of bytes requested.
    pub len: usize,
    /// The error of the system call.
    pub cause: std::io::Error,
}

impl MemoryError {
    /// A read that was not made because there was no time left for it.
    pub fn out_of_time(addr: RemoteAddr, len: usize) -> MemoryError {
        let cause = std::io::ErrorKind::TimedOut.into();
        MemoryError { addr, len, cause }
    }

    /// Whether there was no time left for the read.
    pub fn is_out_of_time(&self) -> bool {
        self.cause.kind() == std::io::ErrorKind::TimedOut && !self.does_not_answer()
    }

    /// Whether the process has ended, as opposed to a bad address.
    pub fn process_is_gone(&self) -> bool {
        // ESRCH: process_vm_readv found no such process. A read of /proc/PID/mem of an ended
        // process returns 0 bytes, which the reader reports as ESRCH, too.
        self.cause.raw_os_error() == Some(nix::libc::ESRCH)
    }

    /// Whether whoever serves the memory does not answer, so that another attempt would not succeed either.
    pub fn does_not_answer(&self) -> bool {
        let cause = self.cause.get_ref();
        cause.is_some_and(|cause| cause.is::<NotRead>())
    }

    /// Whether the address is certainly not mapped in a live process: `/proc/PID/mem` has EIO for that. A part
    /// that a core file lacks is EFAULT.
    pub fn is_unmapped(&self) -> bool {
        self.cause.raw_os_error() == Some(nix::libc::EIO)
    }

    /// Whether the process lives but has executed another program (exec), so that it must be opened
    /// again.
    pub fn program_is_replaced(&self) -> bool {
        self.cause.raw_os_error() == Some(nix::libc::ESTALE)
    }
}

/// Memory of a target. A failed or short read is an error, never zeros.
pub trait RemoteMemory {
    /// Fills `buf` from `addr`.
    ///
    /// # Errors
    /// When not every byte could be read; the contents of `buf` are then undefined.
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// The same bytes without a copy, where they are available; `None` does not mean that they are
    /// unreadable.
    fn view(&self, _addr: RemoteAddr, _len: usize) -> Option<&[u8]> {
        None
    }

    /// Fills several buffers in as few system calls as possible. The parts are read in order, but
    /// the target runs meanwhile: they need not be consistent with each other.
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
