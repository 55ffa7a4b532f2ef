//! [`ProcessImage`]: what finding an interpreter asks of a process, be it alive or a core file.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::TargetProcess;
use crate::os::Pid;
use crate::os::memory::RemoteMemory;
use crate::os::procfs::maps::Mapping;

/// Memory with files mapped into it, and who it belongs to.
pub trait ProcessImage {
    /// How its memory is read.
    type Memory: RemoteMemory;

    /// The process id; of a core file, the one that the process had.
    fn pid(&self) -> Pid;

    /// Its memory.
    fn memory(&self) -> &Self::Memory;

    /// The program that it runs, as a path in its own root; empty when unknown.
    fn exe_path(&self) -> PathBuf;

    /// Its mappings, in order of address.
    ///
    /// # Errors
    /// When they cannot be had (any more).
    fn maps(&self) -> io::Result<Vec<Mapping>>;

    /// Opens the file that a mapping is of: that very one, or none.
    ///
    /// # Errors
    /// When nothing leads to it.
    fn open_mapped(&self, mapping: &Mapping) -> io::Result<File>;
}

impl ProcessImage for TargetProcess {
    type Memory = crate::os::memory::live::LiveMemory;

    fn pid(&self) -> Pid {
        self.pid()
    }

    fn memory(&self) -> &Self::Memory {
        self.memory()
    }

    fn exe_path(&self) -> PathBuf {
        self.exe_path()
    }

    fn maps(&self) -> io::Result<Vec<Mapping>> {
        self.maps()
    }

    fn open_mapped(&self, mapping: &Mapping) -> io::Result<File> {
        self.open_mapped(mapping)
    }
}
