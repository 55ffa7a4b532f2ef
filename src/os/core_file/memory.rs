//! [`CoreMemory`]: the memory in a core file, and in the mapped files for the parts that it leaves
//! out.
//!
//! The core file is read where needed and never as a whole. It is not mapped: if it is truncated
//! meanwhile or its disk fails, a mapping would end us by a signal where a read returns an error.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use log::{debug, info};
use nix::errno::Errno;

use super::error::CoreError;
use super::files::{MappedFile, Search};
use super::headers::Load;
use super::notes::FileRange;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::{MemoryError, RemoteMemory};

/// A part of the address space, and the place of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    end: u64,
    /// File offset of the first byte.
    offset: u64,
    /// Index of the mapped file, plus one; 0 for the core file.
    file: usize,
}

/// The memory of a process that has ended; see the [module](self).
#[derive(Debug)]
pub struct CoreMemory {
    core: File,
    /// The size of the core file in bytes.
    size: u64,
    /// The parts in the core file, in order of address; no two overlap.
    dumped: Vec<Piece>,
    /// The parts mapped from files, likewise.
    mapped: Vec<Piece>,
    files: Vec<MappedFile>,
    opened: Vec<OnceCell<Option<File>>>,
    search: Search,
}

/// Pieces, in order of `start`, without the parts that an earlier one covers.
fn without_overlaps(pieces: impl Iterator<Item = Piece>) -> Vec<Piece> {
    let mut reached = 0;
    let cut = pieces.filter_map(|piece| {
        let covered = reached.max(piece.start) - piece.start;
        reached = reached.max(piece.end);
        Some(Piece {
            start: piece.start + covered,
            offset: piece.offset.checked_add(covered)?,
            ..piece
        })
        .filter(|piece| piece.start < piece.end)
    });
    cut.collect()
}

/// The piece that contains an address, or else the first one after it.
fn at_or_after(pieces: &[Piece], addr: u64) -> Option<&Piece> {
    pieces.get(pieces.partition_point(|piece| piece.end <= addr))
}

fn at(pieces: &[Piece], addr: u64) -> Option<&Piece> {
    at_or_after(pieces, addr).filter(|piece| piece.start <= addr)
}

impl CoreMemory {
    /// The memory of a core file of `size` bytes; all lists are in order of address.
    pub fn new(
        core: File,
        size: u64,
        loads: &[Load],
        ranges: &[FileRange],
        files: Vec<MappedFile>,
        search: Search,
    ) -> CoreMemory {
        let dumped = loads.iter().map(|load| Piece {
            start: load.start,
            end: load.start.saturating_add(load.file_size),
            offset: load.offset,
            file: 0,
        });
        let mapped = ranges.iter().map(|range| Piece {
            start: range.start,
            end: range.end,
            offset: range.offset,
            file: range.path + 1,
        });
        CoreMemory {
            core,
            size,
            dumped: without_overlaps(dumped.filter(|piece| piece.start < piece.end)),
            mapped: without_overlaps(mapped),
            opened: files.iter().map(|_| OnceCell::new()).collect(),
            files,
            search,
        }
    }

    /// The mapped file with this index, if the very file is available.
    pub fn file(&self, index: usize) -> Option<&File> {
        let (known, opened) = (self.files.get(index)?, self.opened.get(index)?);
        let file = opened.get_or_init(|| match self.search.open(known, &DumpedMemory(self)) {
            Ok(file) => {
                debug!("{} is available", known.path.display());
                Some(file)
            }
            Err(error) => {
                info!("{}: {error}; continuing without it", known.path.display());
                None
            }
        });
        file.as_ref()
    }

    pub fn search(&self) -> &Search {
        &self.search
    }

    /// Whether the file given by the user is the program, which has this index.
    pub fn check_exe(&self, index: usize, given: &Path) -> Result<(), CoreError> {
        let known = self.files.get(index);
        known.map_or(Ok(()), |known| {
            self.search.check_exe(known, given, &DumpedMemory(self))
        })
    }

    /// Reads a part of a buffer, and returns its length.
    fn read_some(&self, addr: u64, buf: &mut [u8], with_files: bool) -> io::Result<usize> {
        let within = |end: u64, buf: &[u8]| {
            let room = usize::try_from(end - addr).unwrap_or(usize::MAX);
            room.min(buf.len())
        };
        if let Some(piece) = at(&self.dumped, addr) {
            let length = within(piece.end, buf);
            let buf = buf.get_mut(..length).unwrap_or_default();
            let offset = piece.offset.saturating_add(addr - piece.start);
            if offset.saturating_add(length as u64) > self.size {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the core file is truncated before it",
                ));
            }
            self.core.read_exact_at(buf, offset)?;
            return Ok(length);
        }
        let Some(piece) = at(&self.mapped, addr).filter(|_| with_files) else {
            return Err(Errno::EFAULT.into());
        };
        let missing = || io::Error::other("it is in a file that is not available");
        let file = self.file(piece.file - 1).ok_or_else(missing)?;
        let end = at_or_after(&self.dumped, addr).map_or(piece.end, |next| next.start);
        let length = within(end.min(piece.end), buf);
        let buf = buf.get_mut(..length).unwrap_or_default();
        file.read_exact_at(buf, piece.offset.saturating_add(addr - piece.start))?;
        Ok(length)
    }

    fn read_all(
        &self,
        addr: RemoteAddr,
        buf: &mut [u8],
        with_files: bool,
    ) -> Result<(), MemoryError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let len = rest.len();
            let here = addr.0.checked_add(done as u64);
            let read = here.map_or(Err(Errno::EFAULT.into()), |here| {
                self.read_some(here, rest, with_files)
            });
            match read {
                // Each piece has at least one byte.
                Ok(some) => done += some,
                Err(cause) => {
                    let addr = addr.offset(done as u64);
                    return Err(MemoryError { addr, len, cause });
                }
            }
        }
        Ok(())
    }
}

impl RemoteMemory for CoreMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.read_all(addr, buf, true)
    }
}

/// The contents of the core file alone, without mapped files.
pub struct DumpedMemory<'a>(&'a CoreMemory);

impl RemoteMemory for DumpedMemory<'_> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.0.read_all(addr, buf, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_segments_are_cut() {
        let piece = |start, end, offset| Piece {
            start,
            end,
            offset,
            file: 0,
        };
        let all = [
            piece(0, 10, 100),
            piece(5, 20, 200),
            piece(6, 8, 300),
            piece(30, 30, 0),
            piece(19, u64::MAX, u64::MAX),
        ];
        let cut = without_overlaps(all.into_iter());
        assert_eq!(cut, [piece(0, 10, 100), piece(10, 20, 205)]);
        assert_eq!(at(&cut, 10), cut.get(1));
        assert_eq!(at(&cut, 20), None);
    }
}
