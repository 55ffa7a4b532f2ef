//! [`SymbolInfo`]: which symbols and debug information an ELF file has.

use goblin::elf::program_header::PT_DYNAMIC;
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB};

use super::ElfFile;

/// What is available for naming native functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolInfo {
    /// `.symtab`: all functions, including static ones. Removed by `strip`.
    pub symtab: bool,
    /// `.dynsym`: the exported functions.
    pub dynsym: bool,
    /// `.debug_info`: source lines and inlined functions.
    pub debug_info: bool,
    /// `.gnu_debuglink`: the name of the file that has the symbols.
    pub debuglink: bool,
    /// The build id, by which the symbols are found elsewhere.
    pub build_id: Option<Vec<u8>>,
}

impl ElfFile<'_> {
    /// From memory, where sections are not visible, only `dynsym` and `build_id` are known.
    pub fn symbol_info(&self) -> SymbolInfo {
        let of_kind = |kind| {
            let mut sections = self.sections.iter();
            sections.any(|(_, section)| section.sh_type == kind && section.sh_size > 0)
        };
        let named = |name| self.sections.iter().any(|(section, _)| section == name);
        let mut segments = self.segments.iter();
        SymbolInfo {
            symtab: of_kind(SHT_SYMTAB),
            dynsym: match self.sections.as_slice() {
                [] => segments.any(|segment| segment.p_type == PT_DYNAMIC),
                _ => of_kind(SHT_DYNSYM),
            },
            // The old compressed form has a name of its own.
            debug_info: named(".debug_info") || named(".zdebug_info"),
            debuglink: named(".gnu_debuglink"),
            build_id: self.build_id(),
        }
    }
}
