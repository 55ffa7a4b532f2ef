//! [`Candidate`]: an image that may contain an interpreter, and the addresses of its variables.

use std::fmt;

use log::debug;

use super::scan;
use crate::os::deadline::Deadline;
use crate::os::elf::ElfFile;
use crate::os::elf::error::ElfError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::process::image::ProcessImage;
use crate::os::procfs::maps::Image;
use crate::os::work_budget::WorkBudget;

/// An image with one of these symbols is taken for CPython.
const MARKS: [&str; 3] = ["_PyRuntime", "_PyThreadState_Current", "Py_GetVersion"];

/// The section of `_PyRuntime` (3.10+).
const SECTION: &str = ".PyRuntime";

/// How an interpreter's state was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootsSource {
    /// A symbol of the executable or library.
    Symbol(&'static str),
    /// The section `.PyRuntime`.
    Section,
    /// The cookie at the start of `_PyRuntime` (3.13+), found by scanning the data.
    Cookie,
    /// A pointer in the data that leads to a valid interpreter.
    Scan,
}

impl fmt::Display for RootsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootsSource::Symbol(name) => write!(f, "the symbol {name}"),
            RootsSource::Section => f.write_str("the section .PyRuntime"),
            RootsSource::Cookie => f.write_str("the cookie of its debug offsets"),
            RootsSource::Scan => f.write_str("a scan of its data"),
        }
    }
}

/// Whether a file's exported symbols or sections are those of an interpreter.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_marked(elf: &ElfFile<'_>) -> Result<bool, ElfError> {
    let exports = elf.exported_symbols(&MARKS)?;
    Ok(exports.iter().any(Option::is_some) || elf.section(SECTION).is_some())
}

/// Which symbol tables are searched.
#[derive(Clone, Copy)]
pub(crate) enum SymbolTables {
    /// The dynamic symbols.
    Exported,
    /// Also the full table, which is absent from stripped files.
    All,
}

/// An image that may contain an interpreter.
pub(crate) struct Candidate<'a> {
    pub image: &'a Image,
    elf: ElfFile<'a>,
    /// Load bias: the difference between an address in the process and one in the file.
    pub bias: u64,
    /// `_PyRuntime` (3.7+), and how it was found.
    pub runtime: Option<(RemoteAddr, RootsSource)>,
    /// `_PyThreadState_Current` (to 3.6).
    pub tstate_current: Option<RemoteAddr>,
    /// Whether its symbols or its name are those of an interpreter.
    pub is_marked: bool,
}

impl<'a> Candidate<'a> {
    /// Opens an image; `None` when its load address cannot be determined.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(
        target: &'a impl ProcessImage,
        image: &'a Image,
        deadline: Deadline,
    ) -> Result<Option<Self>, ElfError> {
        let Some(base) = image.base() else {
            return Ok(None);
        };
        let elf = match target.open_mapped(base) {
            Ok(file) => ElfFile::open(file, deadline)?,
            // The file is gone, but the parts that the loader needs are in memory.
            Err(error) => {
                debug!("{}: {error}; reading it from memory", image.path.display());
                ElfFile::from_memory(target.memory(), RemoteAddr(base.start), deadline)?
            }
        };
        let Some(bias) = elf.load_bias(base) else {
            return Ok(None);
        };
        let mut found = match elf.exported_symbols(&MARKS) {
            // A core file has the headers of its libraries and may lack the rest.
            Err(ElfError::Io(_)) if elf.is_in_memory() => vec![None; MARKS.len()],
            found => found?,
        };
        if found.iter().all(Option::is_none) && !elf.is_in_memory() {
            found = elf.symbols(&MARKS)?;
        }
        let mut addrs = found
            .into_iter()
            .map(|vaddr| Some(RemoteAddr(vaddr?.wrapping_add(bias))));
        let mut next = || addrs.next().flatten();
        let (runtime, tstate_current, get_version) = (next(), next(), next());
        let section = || Some(RemoteAddr(elf.section(SECTION)?.vaddr.wrapping_add(bias)));
        let runtime = runtime
            .map(|addr| (addr, RootsSource::Symbol("_PyRuntime")))
            .or_else(|| section().map(|addr| (addr, RootsSource::Section)));
        let is_marked = runtime.is_some()
            || tstate_current.or(get_version).is_some()
            || image.file_name().starts_with("libpython");
        Ok(Some(Candidate {
            image,
            elf,
            bias,
            runtime,
            tstate_current,
            is_marked,
        }))
    }

    /// Searches for `_PyRuntime` by its cookie (3.13+) if no symbol or section locates it.
    pub fn search_runtime(&mut self, memory: &impl RemoteMemory, budget: &WorkBudget) {
        if self.runtime.is_none() && self.tstate_current.is_none() {
            self.runtime = scan::debug_offsets(memory, self.writable_memory(), budget)
                .map(|addr| (addr, RootsSource::Cookie));
        }
    }

    /// A symbol's address in the process.
    pub fn symbol(&self, name: &str, tables: SymbolTables) -> Option<RemoteAddr> {
        let search = match tables {
            SymbolTables::Exported => ElfFile::exported_symbols,
            SymbolTables::All => ElfFile::symbols,
        };
        let vaddr = search(&self.elf, &[name]).ok()?.into_iter().next()??;
        Some(RemoteAddr(vaddr.wrapping_add(self.bias)))
    }

    /// The address of `_PyRuntime` (3.7+).
    pub fn runtime(&self) -> Option<RemoteAddr> {
        self.runtime.map(|(addr, _)| addr)
    }

    /// The address of `Py_Version` (3.11+).
    pub fn py_version(&self) -> Option<RemoteAddr> {
        self.runtime?;
        self.symbol("Py_Version", SymbolTables::Exported)
    }

    /// The image's writable data in the process, as start and size.
    pub fn writable_memory(&self) -> impl Iterator<Item = (RemoteAddr, u64)> {
        let ranges = self.elf.writable_ranges().into_iter();
        ranges.map(|range| (RemoteAddr(range.vaddr.wrapping_add(self.bias)), range.size))
    }
}
