//! [`Record`]: a copied structure with typed getters. A field past the end of the copy is an error,
//! never a guess.

use python_offsets::layout::Offset;

use super::error::ReadError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// The largest structure that is copied whole. Larger ones are read field by field.
const MAX_RECORD: usize = 4096;

/// A structure copied from the target.
pub struct Record<'b> {
    what: &'static str,
    addr: RemoteAddr,
    bytes: &'b [u8],
}

/// The memory of one [`Record`].
pub struct RecordBuffer([u8; MAX_RECORD]);

impl Default for RecordBuffer {
    fn default() -> RecordBuffer {
        RecordBuffer([0; MAX_RECORD])
    }
}

impl RecordBuffer {
    /// Copies `len` bytes (at most 4096) at `addr` as the structure `what`.
    pub fn read<'b>(
        &'b mut self,
        memory: &impl RemoteMemory,
        what: &'static str,
        addr: RemoteAddr,
        len: usize,
    ) -> Result<Record<'b>, ReadError> {
        let bytes = self
            .0
            .get_mut(..len)
            .ok_or(ReadError::Corrupt { what, addr })?;
        memory.read(addr, bytes)?;
        Ok(Record { what, addr, bytes })
    }
}

impl<'b> Record<'b> {
    /// The structure `what`, copied from `addr` into `bytes`.
    pub fn new(what: &'static str, addr: RemoteAddr, bytes: &'b [u8]) -> Record<'b> {
        Record { what, addr, bytes }
    }

    /// The structure's address in the target.
    pub fn addr(&self) -> RemoteAddr {
        self.addr
    }

    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    #[inline]
    fn field<const N: usize>(&self, offset: Offset) -> Result<[u8; N], ReadError> {
        self.bytes
            .get(offset as usize..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or_else(|| self.ends_early())
    }

    #[cold]
    fn ends_early(&self) -> ReadError {
        ReadError::corrupt(self.what, self.addr)
    }

    #[inline]
    pub fn u8(&self, offset: Offset) -> Result<u8, ReadError> {
        self.field(offset).map(u8::from_le_bytes)
    }

    #[inline]
    pub fn u32(&self, offset: Offset) -> Result<u32, ReadError> {
        self.field(offset).map(u32::from_le_bytes)
    }

    #[inline]
    pub fn i32(&self, offset: Offset) -> Result<i32, ReadError> {
        self.field(offset).map(i32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&self, offset: Offset) -> Result<u64, ReadError> {
        self.field(offset).map(u64::from_le_bytes)
    }

    /// A `Py_ssize_t`.
    pub fn i64(&self, offset: Offset) -> Result<i64, ReadError> {
        self.field(offset).map(i64::from_le_bytes)
    }

    #[inline]
    pub fn ptr(&self, offset: Offset) -> Result<RemoteAddr, ReadError> {
        self.u64(offset).map(RemoteAddr)
    }
}

/// The number of bytes to copy so that the 8-byte fields at all these offsets are included.
pub fn span(offsets: &[Offset]) -> usize {
    offsets.iter().max().map_or(0, |last| *last as usize + 8)
}

/// Reads a pointer.
pub fn read_ptr(memory: &impl RemoteMemory, addr: RemoteAddr) -> Result<RemoteAddr, ReadError> {
    let mut bytes = [0; 8];
    memory.read(addr, &mut bytes)?;
    Ok(RemoteAddr(u64::from_le_bytes(bytes)))
}

/// Reads a 32-bit integer.
pub fn read_i32(memory: &impl RemoteMemory, addr: RemoteAddr) -> Result<i32, ReadError> {
    let mut bytes = [0; 4];
    memory.read(addr, &mut bytes)?;
    Ok(i32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_outside_the_copy_is_an_error() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 0xff];
        let record = Record::new("test", RemoteAddr(0x1000), &bytes);
        assert_eq!(record.u32(4).ok(), Some(2));
        assert_eq!(record.ptr(0).ok(), Some(RemoteAddr(0x2_0000_0001)));
        assert_eq!(record.u8(8).ok(), Some(0xff));
        assert!(record.u32(6).is_err());
        assert!(record.u64(u32::MAX).is_err());
    }
}
