//! Symbol lookup: the dynamic table first, then the full one, until all are found.

use goblin::container::Ctx;
use goblin::elf::dynamic::{DT_GNU_HASH, DT_HASH, DT_NULL, DT_STRSZ, DT_STRTAB, DT_SYMTAB};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD};
use goblin::elf::section_header::{SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_TLS, Symtab};

use super::ElfFile;
use super::error::ElfError;
use super::source::Table;

/// Cap on the symbols of a table; libpython has some ten thousand.
const MAX_SYMBOLS: u64 = 8 << 20;
/// Cap on the length of a hash chain.
const MAX_CHAIN: u64 = 1 << 16;
/// Cap on the dynamic entries.
const MAX_DYNAMIC: u64 = 4096;

/// A symbol table and the strings that name its symbols.
struct SymbolTable {
    symbols: Table,
    strings: Table,
}

impl ElfFile<'_> {
    /// The virtual addresses of defined symbols, in the order of `names`; `None` for a missing one.
    /// Searches `.dynsym` first, which every file has that exports symbols, and `.symtab` only for
    /// those still missing.
    ///
    /// # Errors
    /// When a table cannot be read. A malformed table counts as absent.
    pub fn symbols(&self, names: &[&str]) -> Result<Vec<Option<u64>>, ElfError> {
        self.search(&[SHT_DYNSYM, SHT_SYMTAB], names)
    }

    /// As [`symbols`](ElfFile::symbols), but for exported symbols only: the full table of an
    /// unstripped library has tens of thousands and is not read.
    ///
    /// # Errors
    /// When the table cannot be read. A malformed table counts as absent.
    pub fn exported_symbols(&self, names: &[&str]) -> Result<Vec<Option<u64>>, ElfError> {
        self.search(&[SHT_DYNSYM], names)
    }

    fn search(&self, kinds: &[u32], names: &[&str]) -> Result<Vec<Option<u64>>, ElfError> {
        let mut found = vec![None; names.len()];
        for kind in kinds {
            let table = match self.table_from_sections(*kind) {
                None if *kind == SHT_DYNSYM => self.table_from_dynamic(),
                table => table,
            };
            match table {
                Some(Ok(table)) => table.search(self.ctx, names, &mut found),
                Some(Err(ElfError::Io(error))) => return Err(ElfError::Io(error)),
                Some(Err(ElfError::Malformed(_))) | None => {}
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(found)
    }

    fn table_from_sections(&self, kind: u32) -> Option<Result<SymbolTable, ElfError>> {
        let (_, symbols) = self
            .sections
            .iter()
            .find(|(_, section)| section.sh_type == kind)?;
        let (_, strings) = self.sections.get(usize::try_from(symbols.sh_link).ok()?)?;
        let load = |section: &SectionHeader| self.source.table(section.sh_offset, section.sh_size);
        Some(load(symbols).and_then(|symbols| {
            Ok(SymbolTable {
                symbols,
                strings: load(strings)?,
            })
        }))
    }

    /// Finds the dynamic symbols as the dynamic loader does, without section headers.
    fn table_from_dynamic(&self) -> Option<Result<SymbolTable, ElfError>> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.p_type == PT_DYNAMIC)?;
        let entry_size = 2 * self.ctx.size() as u64;
        let size = segment.p_filesz.min(MAX_DYNAMIC * entry_size);
        let dynamic = match self.source.table(segment.p_offset, size) {
            Ok(table) => table,
            Err(error) => return Some(Err(error)),
        };
        let value = |tag: u64| {
            dynamic
                .chunks_exact(2 * self.ctx.size())
                .map(|entry| entry.split_at(self.ctx.size()))
                .map(|(tag, value)| (number(tag, self.ctx), number(value, self.ctx)))
                .take_while(|(found, _)| *found != DT_NULL)
                .find(|(found, _)| *found == tag)
                .map(|(_, value)| value)
        };
        let symbols = self.file_offset(value(DT_SYMTAB)?)?;
        let strings = self.file_offset(value(DT_STRTAB)?)?;
        let strings_size = value(DT_STRSZ)?;
        let count = match (value(DT_HASH), value(DT_GNU_HASH)) {
            (Some(hash), _) => self.count_by_hash(self.file_offset(hash)?),
            (None, Some(hash)) => self.count_by_gnu_hash(self.file_offset(hash)?),
            (None, None) => return None,
        };
        Some(count.and_then(|count| {
            let size = count.min(MAX_SYMBOLS) * symbol_size(self.ctx) as u64;
            Ok(SymbolTable {
                symbols: self.source.table(symbols, size)?,
                strings: self.source.table(strings, strings_size)?,
            })
        }))
    }

    /// The file offset of a virtual address.
    fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let loads = || self.segments.iter().filter(|s| s.p_type == PT_LOAD);
        let offset_of = |vaddr: u64| {
            loads().find_map(|segment| {
                let into = vaddr.checked_sub(segment.p_vaddr)?;
                (into < segment.p_filesz).then(|| segment.p_offset.checked_add(into))?
            })
        };
        offset_of(vaddr).or_else(|| {
            // glibc relocates these addresses in memory.
            let first = loads().find(|segment| segment.p_offset == 0)?;
            let base = self.source.base()?;
            offset_of(vaddr.wrapping_sub(base.0).wrapping_add(first.p_vaddr))
        })
    }

    /// The number of symbols from `DT_HASH`: its second word (elf(5), the System V ABI).
    fn count_by_hash(&self, hash: u64) -> Result<u64, ElfError> {
        self.word_at(hash, 1)
    }

    /// The number of symbols from `DT_GNU_HASH`, which does not store it: one more than the last
    /// symbol of the chain that the highest bucket starts. The table is four words (buckets, first
    /// hashed symbol, Bloom words, Bloom shift), the Bloom filter in words of the file's class, the
    /// buckets, and a word for each hashed symbol, odd at the end of a chain.
    fn count_by_gnu_hash(&self, hash: u64) -> Result<u64, ElfError> {
        let buckets = self.word_at(hash, 0)?.min(MAX_SYMBOLS);
        let first = self.word_at(hash, 1)?;
        let bloom = self.word_at(hash, 2)?.min(MAX_SYMBOLS);
        let buckets_at = hash
            .checked_add(16 + bloom * self.ctx.size() as u64)
            .ok_or_else(|| ElfError::Malformed("the offset of its hash table".into()))?;
        let table = self.source.table(buckets_at, buckets * 4)?;
        let last = table
            .chunks_exact(4)
            .map(|word| number(word, self.ctx))
            .max();
        let Some(mut last) = last.filter(|last| *last >= first) else {
            // No symbol is hashed, so none is exported; those before are imports.
            return Ok(first);
        };
        let chains = buckets_at.saturating_add(buckets * 4);
        for _ in 0..MAX_CHAIN {
            if self.word_at(chains, last - first)? & 1 == 1 {
                break;
            }
            last += 1;
        }
        Ok(last + 1)
    }

    fn word_at(&self, offset: u64, index: u64) -> Result<u64, ElfError> {
        let mut word = [0u8; 4];
        self.source
            .read(offset.saturating_add(index.saturating_mul(4)), &mut word)?;
        Ok(number(&word, self.ctx))
    }
}

impl SymbolTable {
    /// Fills in those of `found` that are still missing.
    fn search(&self, ctx: Ctx, names: &[&str], found: &mut [Option<u64>]) {
        let count = self.symbols.len() / symbol_size(ctx);
        let Ok(table) = Symtab::parse(&self.symbols, 0, count, ctx) else {
            return;
        };
        let mut missing = found.iter().filter(|value| value.is_none()).count();
        for symbol in table.iter() {
            if missing == 0 {
                break;
            }
            // Imported symbols have no address here, and thread-local ones have none that is
            // shared.
            if symbol.st_shndx == SHN_UNDEF as usize || symbol.st_type() == STT_TLS {
                continue;
            }
            let Some(text) = self.strings.get(symbol.st_name..) else {
                continue;
            };
            for (name, value) in names.iter().zip(found.iter_mut()) {
                if value.is_none()
                    && text.starts_with(name.as_bytes())
                    && text.get(name.len()) == Some(&0)
                {
                    *value = Some(symbol.st_value);
                    missing -= 1;
                }
            }
        }
    }
}

/// The size of a symbol (`Elf32_Sym`, `Elf64_Sym` of elf(5)).
fn symbol_size(ctx: Ctx) -> usize {
    if ctx.is_big() { 24 } else { 16 }
}

/// A number of four or eight bytes in the file's byte order.
fn number(bytes: &[u8], ctx: Ctx) -> u64 {
    let join = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
    if ctx.is_little_endian() {
        bytes.iter().rev().fold(0, join)
    } else {
        bytes.iter().fold(0, join)
    }
}
