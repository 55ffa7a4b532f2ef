//! The ELF headers of a core file: its memory segments, and the places of its notes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{self, EM_X86_64, ET_CORE, ET_DYN, ET_EXEC, ET_REL, Header};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf64;

use super::error::CoreError;

/// Cap on the segments: `vm.max_map_count` is 65,530 by default, a million at most in practice.
const MAX_SEGMENTS: u64 = 1 << 20;
/// `e_phnum` when there are more segments than it can express (elf(5)): section 0 has the count.
const PN_XNUM: u16 = 0xffff;
/// The offset of `sh_info` in an `Elf64_Shdr` (elf(5)).
const SH_INFO: u64 = 44;

/// A memory segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// The offset of its bytes in the core file.
    pub offset: u64,
    /// How many of its bytes the core file has, or claims to have.
    pub file_size: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
}

#[derive(Debug, Default)]
pub struct Headers {
    /// In order of address.
    pub loads: Vec<Load>,
    /// The places of notes in the file: offset and size.
    pub notes: Vec<(u64, u64)>,
    /// The size that the headers imply for the file.
    pub whole_size: u64,
}

pub fn read(file: &File, size: u64) -> Result<Headers, CoreError> {
    let header = file_header(file, size)?;
    let ctx = Ctx::new(Container::Big, Endian::Little);
    let count = segment_count(file, size, &header)?;
    let entry = ProgramHeader::size(ctx) as u64;
    if u64::from(header.e_phentsize) != entry {
        return Err(CoreError::Damaged(format!(
            "its program headers have {} bytes each",
            header.e_phentsize
        )));
    }
    // At most 2^26, and contained in the file: a small file cannot cause a large allocation.
    let length = count * entry;
    let end = header.e_phoff.checked_add(length);
    if end.is_none_or(|end| end > size) {
        return Err(CoreError::CutOff("program headers"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, header.e_phoff)
        .map_err(CoreError::Read)?;
    let count = usize::try_from(count).unwrap_or_default();
    let segments = ProgramHeader::parse(&bytes, 0, count, ctx)
        .map_err(|error| CoreError::Damaged(error.to_string()))?;
    let mut headers = Headers::default();
    for segment in segments {
        let end = segment.p_offset.saturating_add(segment.p_filesz);
        match segment.p_type {
            PT_NOTE => headers.notes.push((segment.p_offset, segment.p_filesz)),
            PT_LOAD => headers.loads.push(Load {
                start: segment.p_vaddr,
                end: segment.p_vaddr.saturating_add(segment.p_memsz),
                offset: segment.p_offset,
                file_size: segment.p_filesz.min(segment.p_memsz),
                readable: segment.p_flags & PF_R != 0,
                writable: segment.p_flags & PF_W != 0,
                executable: segment.p_flags & PF_X != 0,
            }),
            _ => continue,
        }
        headers.whole_size = headers.whole_size.max(end);
    }
    headers.loads.sort_by_key(|load| load.start);
    Ok(headers)
}

fn file_header(file: &File, size: u64) -> Result<Header, CoreError> {
    if size == 0 {
        return Err(CoreError::Empty);
    }
    let mut bytes = [0; header::header64::SIZEOF_EHDR];
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
    let known = bytes.get_mut(..length).unwrap_or_default();
    file.read_exact_at(known, 0).map_err(CoreError::Read)?;
    if let Some(error) = other_format(known) {
        return Err(error);
    }
    if known.get(..4) != Some(b"\x7fELF") {
        return Err(CoreError::NotElf);
    }
    if length < bytes.len() {
        return Err(CoreError::CutOff("first header"));
    }
    // EI_CLASS, EI_DATA: 32 or 64 bits, least significant byte first or last (elf(5)).
    let [_, _, _, _, class, data, ..] = bytes;
    if class != 2 || data != 1 {
        let what = match (class, data) {
            (1, _) => "a 32-bit process",
            (2, 2) => "a big-endian machine",
            _ => return Err(CoreError::Damaged("an ELF file of unknown class".into())),
        };
        return Err(CoreError::Foreign(what.into()));
    }
    let header = *elf64::header::Header::from_bytes(&bytes);
    let header = Header::from(header);
    match header.e_type {
        ET_CORE => {}
        ET_EXEC => return Err(CoreError::NotACore("a program")),
        ET_DYN => return Err(CoreError::NotACore("a program or a library")),
        ET_REL => return Err(CoreError::NotACore("an object file")),
        _ => return Err(CoreError::Damaged("an ELF file of unknown type".into())),
    }
    if header.e_machine != EM_X86_64 {
        let machine = header::machine_to_str(header.e_machine);
        return Err(CoreError::Foreign(format!("another machine ({machine})")));
    }
    Ok(header)
}

/// Other formats that are often mistaken for a core file, by their first bytes.
fn other_format(bytes: &[u8]) -> Option<CoreError> {
    let formats: [(&[u8], CoreError); 5] = [
        (b"\x28\xb5\x2f\xfd", CoreError::Compressed("zstd")),
        (b"\x04\x22\x4d\x18", CoreError::Compressed("lz4")),
        (b"\xfd7zXZ\0", CoreError::Compressed("xz")),
        (b"\x1f\x8b", CoreError::Compressed("gzip")),
        (b"ProblemType:", CoreError::Apport),
    ];
    let found = formats
        .into_iter()
        .find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, error)| error)
}

fn segment_count(file: &File, size: u64, header: &Header) -> Result<u64, CoreError> {
    let count = if header.e_phnum == PN_XNUM {
        let at = header.e_shoff.checked_add(SH_INFO);
        let at = at.filter(|at| at.checked_add(4).is_some_and(|end| end <= size));
        let at = at.ok_or(CoreError::CutOff("number of segments"))?;
        let mut count = [0; 4];
        file.read_exact_at(&mut count, at)
            .map_err(CoreError::Read)?;
        u64::from(u32::from_le_bytes(count))
    } else {
        u64::from(header.e_phnum)
    };
    if count > MAX_SEGMENTS {
        return Err(CoreError::Damaged(format!("{count} segments")));
    }
    Ok(count)
}
