//! [`ElfFile`]: the few parts of an ELF file that say where things are, read one by one.
//!
//! A library may have 30 MB, of which a lookup needs some headers and two tables. The headers are
//! read with `pread`, the tables are mapped while they are searched. Everything in the file is
//! untrusted: counts and sizes have caps and sums are checked.

pub mod source;
pub mod symbol_info;
pub mod symbols;

use std::fs::File;
use std::io;

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::header::{self, Header};
use goblin::elf::program_header::{PF_W, PF_X, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{SHF_WRITE, SectionHeader};

use super::memory::RemoteMemory;
use super::memory::address::RemoteAddr;
use super::procfs::maps::Mapping;
use source::Source;

/// No real program has more segments or sections than this; libpython has 12 and 40.
const MAX_HEADERS: usize = 4096;
/// The longest table of section names that is read, in bytes.
const MAX_NAMES: u64 = 1 << 20;
/// The longest note segment that is read, in bytes.
const MAX_NOTES: u64 = 1 << 16;

/// Why an ELF file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// It is no ELF file, or one whose headers contradict themselves.
    #[error("not a usable ELF file: {0}")]
    Malformed(String),
}

impl From<goblin::error::Error> for ElfError {
    fn from(error: goblin::error::Error) -> ElfError {
        ElfError::Malformed(error.to_string())
    }
}

/// Addresses of a file before it was loaded: add the load bias to get the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRange {
    /// First virtual address.
    pub vaddr: u64,
    /// Size in bytes.
    pub size: u64,
}

/// An ELF file whose headers have been read.
#[derive(Debug)]
pub struct ElfFile<'m> {
    source: Source<'m>,
    ctx: Ctx,
    segments: Vec<ProgramHeader>,
    /// With their names; empty when the file has been stripped of them.
    sections: Vec<(String, SectionHeader)>,
}

impl ElfFile<'static> {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not an ELF file.
    pub fn open(file: File) -> Result<ElfFile<'static>, ElfError> {
        ElfFile::parse(Source::file(file)?)
    }
}

impl<'m> ElfFile<'m> {
    /// Reads the headers of a file as it lies loaded in a process's memory, for when the file itself
    /// can't be opened any more. `base` is where its first byte is mapped. Only what is loaded can
    /// be found: `.dynsym`, but neither `.symtab` nor the sections.
    ///
    /// # Errors
    /// When the memory cannot be read or holds no ELF header.
    pub fn from_memory(
        memory: &'m dyn RemoteMemory,
        base: RemoteAddr,
    ) -> Result<ElfFile<'m>, ElfError> {
        ElfFile::parse(Source::memory(memory, base))
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

        // The sections are a help, not a need: what is wrong with them only means there are none.
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

    /// Whether it is read from the memory that it was loaded into, where only what was loaded can be
    /// found.
    pub fn is_in_memory(&self) -> bool {
        self.source.is_memory()
    }

    /// Where a section is to be loaded, if the file has section headers and such a section.
    pub fn section(&self, name: &str) -> Option<VirtualRange> {
        self.sections
            .iter()
            .find(|(section, header)| section == name && header.sh_addr != 0)
            .map(|(_, header)| VirtualRange {
                vaddr: header.sh_addr,
                size: header.sh_size,
            })
    }

    /// Where the file's writable data goes: its `.data` and `.bss` (and any other writable section,
    /// largest last), or its writable segments when it has no section headers.
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
        ranges.sort_by_key(|range| range.size);
        ranges
    }

    /// What to add (wrapping) to a virtual address of the file to get the target's address, worked
    /// out from one mapping of the file. 0 for a program that isn't position-independent. `None`
    /// when no segment of the file covers that part of it.
    pub fn load_bias(&self, mapping: &Mapping) -> Option<u64> {
        let page = super::page_size();
        let page_start = |value: u64| value & !(page - 1);
        let starts_here = |segment: &&ProgramHeader| page_start(segment.p_offset) == mapping.offset;
        // Two segments can share a page of the file, at the end of one and the start of the other;
        // each maps it. The one that starts there and has the mapping's rights is the better guess.
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

    /// The build id that the linker gave it (`NT_GNU_BUILD_ID`).
    pub fn build_id(&self) -> Option<Vec<u8>> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_NOTE)
            .find_map(|segment| {
                let size = segment.p_filesz.min(MAX_NOTES);
                let notes = self.source.table(segment.p_offset, size).ok()?;
                find_build_id(&notes, self.ctx.is_little_endian())
            })
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD)
    }
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
    let names = source.table(names.sh_offset, names.sh_size.min(MAX_NAMES))?;
    Ok(headers
        .into_iter()
        .map(|section| {
            let name = names.get(section.sh_name..).unwrap_or_default();
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            // Only a few known names are looked for; a longer one need not be kept whole.
            let name = name.get(..64).unwrap_or(name);
            (String::from_utf8_lossy(name).into_owned(), section)
        })
        .collect())
}

/// Looks for the build id among notes, each of which is three words (name size, descriptor size,
/// type), the name and the descriptor, both padded to four bytes (elf(5)).
fn find_build_id(notes: &[u8], little_endian: bool) -> Option<Vec<u8>> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().ok()?;
        Some(if little_endian {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let mut rest = notes;
    while rest.len() >= 12 {
        let name_size = word(rest.get(..4)?)? as usize;
        let size = word(rest.get(4..8)?)? as usize;
        let kind = word(rest.get(8..12)?)?;
        let name = rest.get(12..)?.get(..name_size)?;
        let at = name_size.checked_next_multiple_of(4)?.checked_add(12)?;
        let descriptor = rest.get(at..)?.get(..size)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(descriptor.to_vec());
        }
        let next = size.checked_next_multiple_of(4)?.checked_add(at)?;
        rest = rest.get(next..)?;
    }
    None
}

#[cfg(test)]
mod tests;
