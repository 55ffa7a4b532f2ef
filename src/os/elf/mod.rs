//! [`ElfFile`]: addresses, symbols and build id of an ELF file, read on demand.
//!
//! A library may have 30 MB, of which a lookup needs some headers and parts of two tables. The file is
//! untrusted: it is read in pieces and never mapped, counts and sizes have caps, sums are checked, and
//! all of it has one deadline.

pub mod error;
pub mod gnu_hash;
pub mod notes;
pub mod source;
pub mod symbol_info;
pub mod symbols;

use std::fs::File;

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::header::{self, Header};
use goblin::elf::program_header::{PF_W, PF_X, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{SHF_WRITE, SectionHeader};

use super::deadline::Deadline;
use super::memory::RemoteMemory;
use super::memory::address::RemoteAddr;
use super::procfs::maps::Mapping;
use error::ElfError;
use notes::{Note, NoteIter};
use source::{Place, Source};

/// Cap on segments and sections; libpython has 12 and 40.
const MAX_HEADERS: usize = 4096;
/// Cap on the table of section names, in bytes.
const MAX_NAMES: u64 = 1 << 20;
/// Cap on a note segment, in bytes.
const MAX_NOTES: u64 = 1 << 16;
/// The type of a build id note (elf(5)).
const NT_GNU_BUILD_ID: u32 = 3;

/// A range of addresses before loading: add the load bias to get the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRange {
    pub vaddr: u64,
    pub size: u64,
}

#[derive(Debug)]
pub struct ElfFile<'m> {
    source: Source<'m>,
    ctx: Ctx,
    segments: Vec<ProgramHeader>,
    /// With their names; empty when the file has no section headers.
    sections: Vec<(String, SectionHeader)>,
}

impl ElfFile<'static> {
    /// Reads the headers of a file. After the deadline this and all later reads fail.
    ///
    /// # Errors
    /// When it cannot be read or is no ELF file.
    pub fn open(file: File, deadline: Deadline) -> Result<ElfFile<'static>, ElfError> {
        ElfFile::parse(Source::file(file, deadline)?)
    }
}

impl<'m> ElfFile<'m> {
    /// Reads the headers of a file as loaded in a process's memory, for when the file itself cannot
    /// be opened. `base` is where its first byte is mapped. Only loaded parts can be found:
    /// `.dynsym`, but neither `.symtab` nor the sections.
    ///
    /// # Errors
    /// When the memory cannot be read or does not contain an ELF header.
    pub fn from_memory(
        memory: &'m dyn RemoteMemory,
        base: RemoteAddr,
        deadline: Deadline,
    ) -> Result<ElfFile<'m>, ElfError> {
        ElfFile::parse(Source::memory(memory, base, deadline))
    }

    fn parse(mut source: Source<'m>) -> Result<ElfFile<'m>, ElfError> {
        let mut bytes = vec![0u8; header::header64::SIZEOF_EHDR];
        source.read(0, &mut bytes)?;
        let header = Elf::parse_header(&bytes)?;
        let ctx = Ctx::new(header.container()?, header.endianness()?);

        let count = usize::from(header.e_phnum);
        if count > MAX_HEADERS {
            return Err(ElfError::Malformed(format!("{count} program headers")));
        }
        let mut bytes = vec![0u8; count * ProgramHeader::size(ctx)];
        source.read(header.e_phoff, &mut bytes)?;
        let segments = ProgramHeader::parse(&bytes, 0, count, ctx)?;
        source.set_segments(&segments);

        // Sections are optional: errors in them only mean that there are none.
        let sections = if source.is_memory() {
            Vec::new()
        } else {
            read_sections(&source, &header, ctx).unwrap_or_default()
        };
        Ok(ElfFile {
            source,
            ctx,
            segments,
            sections,
        })
    }

    /// Whether it is read from the memory that it was loaded into, where only loaded parts can be
    /// found.
    pub fn is_in_memory(&self) -> bool {
        self.source.is_memory()
    }

    /// The address range of a section, if the file has section headers and such a section.
    pub fn section(&self, name: &str) -> Option<VirtualRange> {
        self.sections
            .iter()
            .find(|(section, header)| section == name && header.sh_addr != 0)
            .map(|(_, header)| VirtualRange {
                vaddr: header.sh_addr,
                size: header.sh_size,
            })
    }

    /// The ranges of writable data: `.data` and `.bss` (and any other writable section, largest
    /// last), or the writable segments when there are no section headers. No two overlap.
    pub fn writable_ranges(&self) -> Vec<VirtualRange> {
        let mut ranges: Vec<VirtualRange> = self
            .sections
            .iter()
            .filter(|(_, section)| {
                section.sh_flags & u64::from(SHF_WRITE) != 0 && section.sh_addr != 0
            })
            .map(|(_, section)| VirtualRange {
                vaddr: section.sh_addr,
                size: section.sh_size,
            })
            .collect();
        if ranges.is_empty() {
            ranges = self
                .loads()
                .filter(|segment| segment.p_flags & PF_W != 0)
                .map(|segment| VirtualRange {
                    vaddr: segment.p_vaddr,
                    size: segment.p_memsz,
                })
                .collect();
        }
        let mut ranges = merged(ranges);
        ranges.sort_by_key(|range| range.size);
        ranges
    }

    /// The difference (wrapping) between the target's addresses and the file's virtual addresses,
    /// derived from one mapping of the file. 0 for a program that is not position-independent.
    /// `None` when no segment of the file covers the mapping's offset.
    pub fn load_bias(&self, mapping: &Mapping) -> Option<u64> {
        let page = super::page_size();
        let page_start = |value: u64| value & !(page - 1);
        let starts_here = |segment: &&ProgramHeader| page_start(segment.p_offset) == mapping.offset;
        // Two segments can share a page of the file, at the end of one and the start of the other;
        // each maps it. The one that starts there and has the mapping's permissions is the better
        // match.
        let segment = self
            .loads()
            .filter(starts_here)
            .find(|segment| (segment.p_flags & PF_X != 0) == mapping.executable)
            .or_else(|| self.loads().find(starts_here))
            .or_else(|| {
                self.loads().find(|segment| {
                    let end = segment.p_offset.saturating_add(segment.p_filesz);
                    (page_start(segment.p_offset)..end).contains(&mapping.offset)
                })
            })?;
        let into_segment = mapping.offset.wrapping_sub(page_start(segment.p_offset));
        let vaddr = page_start(segment.p_vaddr).wrapping_add(into_segment);
        Some(mapping.start.wrapping_sub(vaddr))
    }

    /// The build id written by the linker (`NT_GNU_BUILD_ID`).
    pub fn build_id(&self) -> Option<Vec<u8>> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_NOTE)
            .find_map(|segment| {
                let start = segment.p_offset;
                let end = start.saturating_add(segment.p_filesz.min(MAX_NOTES));
                let read = |at, buf: &mut [u8]| self.source.read(at, buf);
                let mut notes =
                    NoteIter::new(start..end, self.ctx.is_little_endian(), read).flatten();
                let is_build_id =
                    |note: &Note| note.kind == NT_GNU_BUILD_ID && note.is_named(b"GNU\0");
                let place = notes.find(is_build_id)?.descriptor?;
                let mut build_id = vec![0; usize::try_from(place.end - place.start).ok()?];
                self.source.read(place.start, &mut build_id).ok()?;
                Some(build_id)
            })
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD)
    }
}

/// Ranges without overlaps: thousands of sections may describe the same memory. Those that only touch
/// stay apart, so that a small one is still searched before a large one next to it.
fn merged(mut ranges: Vec<VirtualRange>) -> Vec<VirtualRange> {
    ranges.sort_by_key(|range| range.vaddr);
    let mut merged: Vec<VirtualRange> = Vec::new();
    for range in ranges {
        let end = range.vaddr.saturating_add(range.size);
        match merged.last_mut() {
            Some(last) if range.vaddr < last.vaddr.saturating_add(last.size) => {
                last.size = last.size.max(end - last.vaddr);
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn read_sections(
    source: &Source<'_>,
    header: &Header,
    ctx: Ctx,
) -> Result<Vec<(String, SectionHeader)>, ElfError> {
    let count = usize::from(header.e_shnum);
    if header.e_shoff == 0 || count == 0 || count > MAX_HEADERS {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0u8; count * SectionHeader::size(ctx)];
    source.read(header.e_shoff, &mut bytes)?;
    let headers = SectionHeader::parse_from(&bytes, 0, count, ctx)?;
    let Some(names) = headers.get(usize::from(header.e_shstrndx)) else {
        return Ok(Vec::new());
    };
    let names = source.table(Place {
        offset: names.sh_offset,
        size: names.sh_size.min(MAX_NAMES),
    })?;
    Ok(headers
        .into_iter()
        .map(|section| {
            let name = names.get(section.sh_name..).unwrap_or_default();
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            // Only a few known names are searched for; longer ones can be cut.
            let name = name.get(..64).unwrap_or(name);
            (String::from_utf8_lossy(name).into_owned(), section)
        })
        .collect())
}

#[cfg(test)]
mod tests;
