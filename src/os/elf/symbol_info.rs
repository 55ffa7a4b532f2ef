//! [`Quality`]: how much an ELF file tells of the functions in it.

use goblin::elf::program_header::PT_DYNAMIC;
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB};

use super::ElfFile;

/// What a file has for those who want names of native functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// `.symtab`: all functions, the static ones too. What `strip` takes away.
    pub symtab: bool,
    /// `.dynsym`: the functions that it exports.
    pub dynsym: bool,
    /// `.debug_info`: source lines and inlined functions.
    pub debug_info: bool,
    /// `.gnu_debuglink`: the name of the file that the symbols were moved to.
    pub debuglink: bool,
    /// The build id, by which the symbols are found elsewhere.
    pub build_id: Option<Vec<u8>>,
}

impl ElfFile<'_> {
    /// What the file has. Of one that is read from memory, which shows no sections, only `dynsym` and
    /// `build_id` can be told.
    pub fn quality(&self) -> Quality {
        let of_kind = |kind| {
            let mut sections = self.sections.iter();
            sections.any(|(_, section)| section.sh_type == kind && section.sh_size > 0)
        };
        let named = |name| self.sections.iter().any(|(section, _)| section == name);
        let mut segments = self.segments.iter();
        Quality {
            symtab: of_kind(SHT_SYMTAB),
            dynsym: match self.sections.as_slice() {
                [] => segments.any(|segment| segment.p_type == PT_DYNAMIC),
                _ => of_kind(SHT_DYNSYM),
            },
            // Its compressed form is older than the flag that says so.
            debug_info: named(".debug_info") || named(".zdebug_info"),
            debuglink: named(".gnu_debuglink"),
            build_id: self.build_id(),
        }
    }
}
