//! [`Source`]: the bytes of an ELF file, from the file or from the memory that it is loaded in.
//!
//! The file is the target's: it may be truncated at any moment, which ends whoever reads a mapping of it
//! by SIGBUS. So it is only read with `pread`, in pieces, and a file that has become shorter is an error.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Deref, DerefMut};
use std::os::unix::fs::FileExt;

use goblin::container::Ctx;
use goblin::elf::program_header::{PT_LOAD, ProgramHeader};
use memmap2::MmapMut;

use super::error::ElfError;
use crate::os::deadline::Deadline;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Cap on a table that is copied as a whole; the names of libpython's sections have 400 bytes.
const MAX_TABLE: u64 = 1 << 20;
/// Cap on a part of the file that is searched; the symbols of a debug build of libpython have 3 MB.
const MAX_SEARCHED: u64 = 256 << 20;
/// The same in a process's memory, which has only the dynamic symbols.
const MAX_SEARCHED_IN_MEMORY: u64 = 16 << 20;
/// How much is read at once. With 256 KiB, the time of the system calls no longer matters.
const PIECE: usize = 256 << 10;
/// Buffers up to this size are on the heap: a mapping of their own costs more.
const HEAP_BELOW: usize = 16 << 10;

/// The bytes of an ELF file, by their offset in the file.
pub struct Source<'m> {
    bytes: Bytes<'m>,
    deadline: Deadline,
}

enum Bytes<'m> {
    File {
        file: File,
        size: u64,
    },
    Memory {
        memory: &'m dyn RemoteMemory,
        base: RemoteAddr,
        /// (file offset, size in the file, distance from `base`) of the loaded parts.
        loaded: Vec<(u64, u64, u64)>,
    },
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub size: u64,
}

impl<'m> Source<'m> {
    /// Reads of a file; those after the deadline fail.
    pub fn file(file: File, deadline: Deadline) -> io::Result<Source<'m>> {
        let size = file.metadata()?.len();
        Ok(Source {
            bytes: Bytes::File { file, size },
            deadline,
        })
    }

    /// Reads of memory; those after the deadline fail.
    pub fn memory(
        memory: &'m dyn RemoteMemory,
        base: RemoteAddr,
        deadline: Deadline,
    ) -> Source<'m> {
        Source {
            bytes: Bytes::Memory {
                memory,
                base,
                // Until the segments are known: the first page contains the headers.
                loaded: vec![(0, crate::os::page_size(), 0)],
            },
            deadline,
        }
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.bytes, Bytes::Memory { .. })
    }

    /// The address of the file's first byte, when read from memory.
    pub fn base(&self) -> Option<RemoteAddr> {
        match &self.bytes {
            Bytes::File { .. } => None,
            Bytes::Memory { base, .. } => Some(*base),
        }
    }

    /// Sets what is loaded where. Before this call, only the first page of memory can be read.
    pub fn set_segments(&mut self, segments: &[ProgramHeader]) {
        if let Bytes::Memory { loaded, .. } = &mut self.bytes {
            let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD);
            // The file's first byte is at `base`, so `base` corresponds to this virtual address.
            let Some(first) = loads().find(|segment| segment.p_offset == 0) else {
                return;
            };
            *loaded = loads()
                .map(|segment| {
                    let distance = segment.p_vaddr.wrapping_sub(first.p_vaddr);
                    (segment.p_offset, segment.p_filesz, distance)
                })
                .collect();
        }
    }

    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ElfError> {
        if self.deadline.is_over() {
            return Err(ElfError::TooLate);
        }
        match &self.bytes {
            Bytes::File { file, .. } => Ok(file.read_exact_at(buf, offset)?),
            Bytes::Memory {
                memory,
                base,
                loaded,
            } => {
                let end = offset.checked_add(buf.len() as u64);
                let distance = loaded
                    .iter()
                    .find(|(start, size, _)| {
                        *start <= offset
                            && end.is_some_and(|end| end <= start.saturating_add(*size))
                    })
                    .map(|(start, _, distance)| distance.wrapping_add(offset - start))
                    .ok_or_else(|| {
                        ElfError::Malformed(format!("offset {offset:#x} isn't loaded"))
                    })?;
                let addr = RemoteAddr(base.0.wrapping_add(distance));
                memory
                    .read(addr, buf)
                    .map_err(|error| ElfError::Io(error.cause))
            }
        }
    }

    /// A copy of a small table.
    pub fn table(&self, place: Place) -> Result<Buffer, ElfError> {
        self.check(place, MAX_TABLE)?;
        let mut buffer = Buffer::new(usize::try_from(place.size).unwrap_or(usize::MAX))?;
        self.read(place.offset, &mut buffer)?;
        Ok(buffer)
    }

    /// Reads a part piece by piece, until `search` breaks. It is called with the distance of the piece
    /// from the start of the part, and the piece. A piece has a multiple of `unit` bytes, except for the
    /// last one, and begins with the last `overlap` bytes before it.
    pub fn search(
        &self,
        place: Place,
        unit: usize,
        overlap: usize,
        mut search: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ElfError> {
        let cap = match self.is_memory() {
            true => MAX_SEARCHED_IN_MEMORY,
            false => MAX_SEARCHED,
        };
        self.check(place, cap)?;
        let size = usize::try_from(place.size).unwrap_or(usize::MAX);
        let step = PIECE - PIECE % unit.clamp(1, PIECE);
        let mut buffer = Buffer::new(size.min(step + overlap))?;
        let mut at = 0;
        while at < size {
            let start = at.saturating_sub(overlap);
            let end = size.min(at + step);
            let Some(piece) = buffer.get_mut(..end - start) else {
                break;
            };
            self.read(place.offset.saturating_add(start as u64), piece)?;
            if search(start as u64, piece).is_break() {
                break;
            }
            at = end;
        }
        Ok(())
    }

    /// An error for a part that is too large, or not in the file as it was when we opened it.
    fn check(&self, place: Place, cap: u64) -> Result<(), ElfError> {
        let Place { offset, size } = place;
        let end = offset.checked_add(size);
        let is_in_file = match &self.bytes {
            Bytes::File { size, .. } => end.is_some_and(|end| end <= *size),
            Bytes::Memory { .. } => end.is_some(),
        };
        if size > cap || !is_in_file {
            let what = format!("a table of {size} bytes at {offset:#x}");
            return Err(ElfError::Malformed(what));
        }
        Ok(())
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bytes {
            Bytes::File { file, .. } => f.debug_tuple("File").field(file).finish(),
            Bytes::Memory { base, .. } => f.debug_tuple("Memory").field(base).finish(),
        }
    }
}

/// Memory for a copy of a part of the file.
///
/// A large one is a mapping of its own, without a file: nothing but us can change its size, and it goes
/// back to the system as soon as it is dropped. The allocator may hold on to what was on the heap, so
/// that the largest library would count in our memory for as long as we run.
pub enum Buffer {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Buffer {
    fn new(len: usize) -> io::Result<Buffer> {
        Ok(match len {
            0..=HEAP_BELOW => Buffer::Heap(vec![0; len]),
            _ => Buffer::Mapped(MmapMut::map_anon(len)?),
        })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Buffer::Heap(bytes) => bytes,
            Buffer::Mapped(map) => map,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Buffer::Heap(bytes) => bytes,
            Buffer::Mapped(map) => map,
        }
    }
}

/// A number of four or eight bytes in the file's byte order.
pub fn number(bytes: &[u8], ctx: Ctx) -> u64 {
    let join = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
    if ctx.is_little_endian() {
        bytes.iter().rev().fold(0, join)
    } else {
        bytes.iter().fold(0, join)
    }
}
