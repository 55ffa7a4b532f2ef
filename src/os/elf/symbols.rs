//! Symbol lookup: the dynamic table first, then the full one, until all are found.
//!
//! The dynamic table has a hash table. In the full one, or without a hash, the names are searched for
//! first: most files have none of them, and only those with some have their symbols read as well.

use std::ops::ControlFlow;

use goblin::container::Ctx;
use goblin::elf::dynamic::{DT_GNU_HASH, DT_HASH, DT_NULL, DT_STRSZ, DT_STRTAB, DT_SYMTAB};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD};
use goblin::elf::section_header::{SHN_UNDEF, SHT_DYNSYM, SHT_GNU_HASH, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_TLS, Sym, Symtab};

use super::ElfFile;
use super::error::ElfError;
use super::gnu_hash::GnuHash;
use super::source::{Place, number};

/// Cap on the symbols of a table; libpython has some ten thousand.
const MAX_SYMBOLS: u64 = 8 << 20;
/// Cap on the dynamic entries.
const MAX_DYNAMIC: u64 = 4096;
/// Cap on the places in a string table that have one of the wanted names. A linker stores a name once,
/// and may let it be the end of longer ones.
const MAX_PLACES: usize = 4096;

/// A symbol table and the strings that name its symbols.
struct SymbolTable {
    symbols: Place,
    strings: Place,
    hash: Option<GnuHash>,
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
            let searched = table.map(|table| self.search_table(&table?, names, &mut found));
            match searched {
                Some(Err(ElfError::Malformed(_))) | Some(Ok(())) | None => {}
                Some(Err(error)) => return Err(error),
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(found)
    }

    fn table_from_sections(&self, kind: u32) -> Option<Result<SymbolTable, ElfError>> {
        let mut sections = self.sections.iter();
        let index = sections.position(|(_, section)| section.sh_type == kind)?;
        let (_, symbols) = self.sections.get(index)?;
        let (_, strings) = self.sections.get(usize::try_from(symbols.sh_link).ok()?)?;
        let place = |section: &SectionHeader| Place {
            offset: section.sh_offset,
            size: section.sh_size,
        };
        let mut sections = self.sections.iter().map(|(_, section)| section);
        let is_hash = |section: &&SectionHeader| {
            section.sh_type == SHT_GNU_HASH
                && usize::try_from(section.sh_link).is_ok_and(|link| link == index)
        };
        let hash = sections.find(is_hash).map(|section| section.sh_offset);
        Some(self.hash_at(hash).map(|hash| SymbolTable {
            symbols: place(symbols),
            strings: place(strings),
            hash,
        }))
    }

    /// Finds the dynamic symbols as the dynamic loader does, without section headers.
    fn table_from_dynamic(&self) -> Option<Result<SymbolTable, ElfError>> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.p_type == PT_DYNAMIC)?;
        let entry_size = 2 * self.ctx.size() as u64;
        let place = Place {
            offset: segment.p_offset,
            size: segment.p_filesz.min(MAX_DYNAMIC * entry_size),
        };
        let dynamic = match self.source.table(place) {
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
        let strings = Place {
            offset: self.file_offset(value(DT_STRTAB)?)?,
            size: value(DT_STRSZ)?,
        };
        let gnu_hash = value(DT_GNU_HASH).and_then(|hash| self.file_offset(hash));
        let sysv_hash = value(DT_HASH).and_then(|hash| self.file_offset(hash));
        gnu_hash.or(sysv_hash)?;
        Some(self.hash_at(gnu_hash).and_then(|hash| {
            // The number of symbols is only in `DT_HASH`: its second word (elf(5), the System V ABI).
            let count = match (&hash, sysv_hash) {
                (Some(_), _) => MAX_SYMBOLS,
                (None, Some(hash)) => self.word_at(hash.saturating_add(4))?,
                (None, None) => return Err(ElfError::Malformed("its hash table".into())),
            };
            let size = count.min(MAX_SYMBOLS) * symbol_size(self.ctx) as u64;
            Ok(SymbolTable {
                symbols: Place {
                    offset: symbols,
                    size,
                },
                strings,
                hash,
            })
        }))
    }

    /// The hash table at a file offset, if there is one that can be used.
    fn hash_at(&self, offset: Option<u64>) -> Result<Option<GnuHash>, ElfError> {
        offset.map_or(Ok(None), |at| GnuHash::read(&self.source, at, self.ctx))
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

    fn word_at(&self, offset: u64) -> Result<u64, ElfError> {
        let mut word = [0u8; 4];
        self.source.read(offset, &mut word)?;
        Ok(number(&word, self.ctx))
    }

    /// Fills in those of `found` that are still missing.
    fn search_table(
        &self,
        table: &SymbolTable,
        names: &[&str],
        found: &mut [Option<u64>],
    ) -> Result<(), ElfError> {
        let Some(hash) = &table.hash else {
            return self.search_all(table, names, found);
        };
        let missing = names.iter().zip(found).filter(|(_, value)| value.is_none());
        for (name, value) in missing {
            *value = hash.find(&self.source, name, |index| {
                let symbol = self.symbol(table, index)?;
                let symbol = symbol.map(|symbol| (symbol.st_name as u64, address(&symbol)));
                let is_it = match symbol {
                    Some((at, Some(_))) => self.is_named(table, at, name)?,
                    _ => false,
                };
                Ok(symbol.filter(|_| is_it).and_then(|(_, address)| address))
            })?;
        }
        Ok(())
    }

    /// The symbol with this index; `None` beyond the end.
    fn symbol(&self, table: &SymbolTable, index: u64) -> Result<Option<Sym>, ElfError> {
        let mut bytes = [0; MAX_SYMBOL];
        let size = symbol_size(self.ctx);
        let distance = index.saturating_mul(size as u64);
        let is_inside = distance.saturating_add(size as u64) <= table.symbols.size;
        let Some(bytes) = bytes.get_mut(..size).filter(|_| is_inside) else {
            return Ok(None);
        };
        let at = table.symbols.offset.saturating_add(distance);
        self.source.read(at, bytes)?;
        Ok(Symtab::parse(bytes, 0, 1, self.ctx)?.get(0))
    }

    /// Whether the string at this place of the string table is this name.
    fn is_named(&self, table: &SymbolTable, at: u64, name: &str) -> Result<bool, ElfError> {
        let len = name.len() as u64 + 1;
        if at.saturating_add(len) > table.strings.size {
            return Ok(false);
        }
        let mut bytes = vec![0; name.len() + 1];
        let at = table.strings.offset.saturating_add(at);
        self.source.read(at, &mut bytes)?;
        Ok(bytes.strip_suffix(b"\0") == Some(name.as_bytes()))
    }

    /// As [`search_table`](ElfFile::search_table), without a hash table.
    fn search_all(
        &self,
        table: &SymbolTable,
        names: &[&str],
        found: &mut [Option<u64>],
    ) -> Result<(), ElfError> {
        let places = self.places_of(table.strings, names)?;
        let mut missing = found.iter().filter(|value| value.is_none()).count();
        if places.is_empty() || missing == 0 {
            return Ok(());
        }
        let size = symbol_size(self.ctx);
        self.source.search(table.symbols, size, 0, |_, piece| {
            let Ok(symbols) = Symtab::parse(piece, 0, piece.len() / size, self.ctx) else {
                return ControlFlow::Break(());
            };
            for symbol in symbols.iter() {
                let at = symbol.st_name as u64;
                let named = places.partition_point(|(place, _)| *place < at);
                let named = places.get(named..).unwrap_or_default();
                for (_, name) in named.iter().take_while(|(place, _)| *place == at) {
                    let value = found.get_mut(*name).filter(|value| value.is_none());
                    if let (Some(value), Some(address)) = (value, address(&symbol)) {
                        *value = Some(address);
                        missing -= 1;
                    }
                }
                if missing == 0 {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
    }

    /// Where the string table has one of the names, ended by a null, and the index of that name; in
    /// order.
    fn places_of(&self, strings: Place, names: &[&str]) -> Result<Vec<(u64, usize)>, ElfError> {
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut places = Vec::new();
        self.source.search(strings, 1, longest, |start, piece| {
            let nulls = piece.iter().enumerate().filter(|(_, byte)| **byte == 0);
            for (end, _) in nulls {
                let before = piece.get(..end).unwrap_or_default();
                for (index, name) in names.iter().enumerate() {
                    if before.ends_with(name.as_bytes()) {
                        places.push((start + (end - name.len()) as u64, index));
                    }
                }
                if places.len() >= MAX_PLACES {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        places.sort_unstable();
        // The overlap of two pieces is searched twice.
        places.dedup();
        Ok(places)
    }
}

/// The address of a symbol that is defined here. Thread-local ones have none that is shared.
fn address(symbol: &Sym) -> Option<u64> {
    let is_here = symbol.st_shndx != SHN_UNDEF as usize && symbol.st_type() != STT_TLS;
    is_here.then_some(symbol.st_value)
}

/// The size of a symbol of 64 bits (`Elf64_Sym` of elf(5)).
const MAX_SYMBOL: usize = 24;

/// The size of a symbol (`Elf32_Sym`, `Elf64_Sym` of elf(5)).
fn symbol_size(ctx: Ctx) -> usize {
    if ctx.is_big() { MAX_SYMBOL } else { 16 }
}
