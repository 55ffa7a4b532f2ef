//! [`Record`]: a copied structure with typed getters. Integers are decoded from bytes; a field past
//! the end of the copy is an error, never a guess.

use python_offsets::layout::Offset;

use super::error::ReadError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// The largest structure that is copied whole. What is larger is read field by field.
const MAX_RECORD: usize = 4096;

/// A structure copied from the target.
pub struct Record<'b> {
    what: &'static str,
    addr: RemoteAddr,
    bytes: &'b [u8],
}

/// Room for one [`Record`], reused from read to read.
pub struct RecordBuffer([u8; MAX_RECORD]);

impl Default for RecordBuffer {
    fn default() -> RecordBuffer {
        RecordBuffer([0; MAX_RECORD])
    }
}

impl RecordBuffer {
    /// Copies `len` bytes (at most 4096) at `addr`, the structure called `what`.
    ///
    /// # Errors
    /// When they cannot be read, or `len` is too large.
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
    /// A structure called `what` that was copied from `addr` into `bytes`.
    pub fn new(what: &'static str, addr: RemoteAddr, bytes: &'b [u8]) -> Record<'b> {
        Record { what, addr, bytes }
    }

    /// Where the structure stands in the target.
    pub fn addr(&self) -> RemoteAddr {
        self.addr
    }

    /// The copied bytes.
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

    /// One byte.
    ///
    /// # Errors
    /// As all getters: when the field lies outside the copy.
    #[inline]
    pub fn u8(&self, offset: Offset) -> Result<u8, ReadError> {
        self.field(offset).map(u8::from_le_bytes)
    }

    /// Four bytes, unsigned.
    ///
    /// # Errors
    /// When the field lies outside the copy.
    #[inline]
    pub fn u32(&self, offset: Offset) -> Result<u32, ReadError> {
        self.field(offset).map(u32::from_le_bytes)
    }

    /// Four bytes, signed.
    ///
    /// # Errors
    /// When the field lies outside the copy.
    #[inline]
    pub fn i32(&self, offset: Offset) -> Result<i32, ReadError> {
        self.field(offset).map(i32::from_le_bytes)
    }

    /// Eight bytes, unsigned.
    ///
    /// # Errors
    /// When the field lies outside the copy.
    #[inline]
    pub fn u64(&self, offset: Offset) -> Result<u64, ReadError> {
        self.field(offset).map(u64::from_le_bytes)
    }

    /// Eight bytes, signed (`Py_ssize_t`).
    ///
    /// # Errors
    /// When the field lies outside the copy.
    pub fn i64(&self, offset: Offset) -> Result<i64, ReadError> {
        self.field(offset).map(i64::from_le_bytes)
    }

    /// A pointer.
    ///
    /// # Errors
    /// When the field lies outside the copy.
    #[inline]
    pub fn ptr(&self, offset: Offset) -> Result<RemoteAddr, ReadError> {
        self.u64(offset).map(RemoteAddr)
    }
}

/// How many bytes must be copied so that each of the 8-byte fields at these offsets is inside.
pub fn span(offsets: &[Offset]) -> usize {
    offsets.iter().max().map_or(0, |last| *last as usize + 8)
}

/// One pointer at `addr`.
///
/// # Errors
/// When it cannot be read.
pub fn read_ptr(memory: &impl RemoteMemory, addr: RemoteAddr) -> Result<RemoteAddr, ReadError> {
    let mut bytes = [0; 8];
    memory.read(addr, &mut bytes)?;
    Ok(RemoteAddr(u64::from_le_bytes(bytes)))
}

/// A 32-bit integer at `addr`.
///
/// # Errors
/// When it cannot be read.
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
