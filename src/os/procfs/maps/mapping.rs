//! [`Mapping`]: a range of a process's addresses, and the file in it.

use std::path::Path;
use std::sync::Arc;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    /// The file's inode; 0 without a file.
    pub inode: u64,
    /// The device of the file system, as (major, minor).
    pub dev: (u64, u64),
    /// The file, or the kernel's name for the mapping (`[heap]`), without "(deleted)". Runs of
    /// whitespace may be shortened, so use it for display and as a first guess only.
    pub path: Option<Arc<Path>>,
    /// The file has been unlinked, or replaced by another of the same name.
    pub deleted: bool,
}

impl Mapping {
    pub fn size(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub fn contains(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }

    /// The path of a file, not a name in brackets.
    pub fn file_path(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.is_file())
    }

    pub fn is_file(&self) -> bool {
        self.inode != 0 && self.path.as_ref().is_some_and(|path| path.is_absolute())
    }

    pub fn is_same_file(&self, other: &Mapping) -> bool {
        (self.inode, self.dev, &self.path) == (other.inode, other.dev, &other.path)
    }
}
