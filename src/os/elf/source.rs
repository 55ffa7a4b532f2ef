//! [`Source`]: the bytes of an ELF file, from the file or from the memory that it is loaded in.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

use goblin::elf::program_header::{PT_LOAD, ProgramHeader};
use memmap2::{Mmap, MmapOptions};

use super::error::ElfError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Cap on a table, in bytes: the largest in a debug build of libpython has 3 MB.
const MAX_TABLE: u64 = 256 << 20;
/// Tables up to this size are copied: mapping costs more than copying them.
const COPY_BELOW: u64 = 16 << 10;
/// Cap on a table copied out of a process's memory.
const MAX_REMOTE_TABLE: u64 = 16 << 20;

/// The bytes of an ELF file, by their offset in the file.
pub enum Source<'m> {
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

impl<'m> Source<'m> {
    pub fn file(file: File) -> io::Result<Source<'m>> {
        let size = file.metadata()?.len();
        Ok(Source::File { file, size })
    }

    pub fn memory(memory: &'m dyn RemoteMemory, base: RemoteAddr) -> Source<'m> {
        Source::Memory {
            memory,
            base,
            // Until the segments are known: the first page contains the headers.
            loaded: vec![(0, crate::os::page_size(), 0)],
        }
    }

    pub fn is_memory(&self) -> bool {
        matches!(self, Source::Memory { .. })
    }

    /// The address of the file's first byte, when read from memory.
    pub fn base(&self) -> Option<RemoteAddr> {
        match self {
            Source::File { .. } => None,
            Source::Memory { base, .. } => Some(*base),
        }
    }

    /// Sets what is loaded where. Before this call, only the first page of memory can be read.
    pub fn set_segments(&mut self, segments: &[ProgramHeader]) {
        if let Source::Memory { loaded, .. } = self {
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
        match self {
            Source::File { file, .. } => Ok(file.read_exact_at(buf, offset)?),
            Source::Memory {
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

    /// A table of the file, mapped when it is large. It lives only as long as it is searched, so
    /// that its pages do not stay in our memory.
    pub fn table(&self, offset: u64, len: u64) -> Result<Table, ElfError> {
        let cap = if self.is_memory() {
            MAX_REMOTE_TABLE
        } else {
            MAX_TABLE
        };
        let too_large = || ElfError::Malformed(format!("a table of {len} bytes at {offset:#x}"));
        if len > cap {
            return Err(too_large());
        }
        let length = usize::try_from(len).map_err(|_| too_large())?;
        match self {
            Source::File { file, size } if len > COPY_BELOW => {
                if offset.checked_add(len).is_none_or(|end| end > *size) {
                    return Err(too_large());
                }
                let mut options = MmapOptions::new();
                options.offset(offset).len(length);
                // SAFETY: the mapping is read-only, private and within the file as it was when we
                // opened it. If the file is truncated in the milliseconds for which the mapping
                // exists, we die of SIGBUS; that does not harm a target, whose threads the kernel
                // resumes. If the file is written to, we see other bytes: all are valid for `u8`,
                // and every use checks its bounds again.
                let map = unsafe { options.map_copy_read_only(file) }?;
                Ok(Table::Mapped(map))
            }
            _ => {
                let mut bytes = vec![0u8; length];
                self.read(offset, &mut bytes)?;
                Ok(Table::Copied(bytes))
            }
        }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { file, .. } => f.debug_tuple("File").field(file).finish(),
            Source::Memory { base, .. } => f.debug_tuple("Memory").field(base).finish(),
        }
    }
}

/// Bytes of a [`Source`] while they are searched.
pub enum Table {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl Deref for Table {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Table::Mapped(map) => map,
            Table::Copied(bytes) => bytes,
        }
    }
}
