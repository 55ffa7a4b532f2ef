//! [`Mapping`] and [`Image`]: what a process has mapped, and which mappings are one loaded ELF file.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::os::Pid;

/// What the kernel writes after the name of a file that no longer has that name.
const DELETED: &str = " (deleted)";

/// A range of a process's addresses, as a line of `/proc/PID/maps` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// Whether the process may read it.
    pub readable: bool,
    /// Whether the process may write it.
    pub writable: bool,
    /// Whether the process may execute it.
    pub executable: bool,
    /// The file's inode; 0 without a file.
    pub inode: u64,
    /// The file system's device, as (major, minor).
    pub dev: (u64, u64),
    /// The file or the kernel's name for it (`[heap]`), without the kernel's "(deleted)". Runs of
    /// white space in it may have been shortened, so it is for people and for a first guess.
    pub path: Option<PathBuf>,
    /// Whether the file has been deleted, or replaced by one of the same name.
    pub deleted: bool,
}

impl Mapping {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }

    /// The path when it's a file's, not a name in brackets.
    pub fn file_path(&self) -> Option<&Path> {
        self.path
            .as_deref()
            .filter(|path| self.inode != 0 && path.is_absolute())
    }

    /// Whether two mappings are of one file.
    fn is_same_file(&self, other: &Mapping) -> bool {
        (self.inode, self.dev, &self.path) == (other.inode, other.dev, &other.path)
    }
}

/// Reads the mappings of a process, in order of address.
///
/// # Errors
/// When the process is gone or may not be looked at. A process without memory (a kernel thread, a
/// zombie) has none, which is no error.
pub fn read_mappings(pid: Pid) -> io::Result<Vec<Mapping>> {
    match proc_maps::get_process_maps(pid) {
        Ok(ranges) => Ok(ranges.iter().map(from_range).collect()),
        // proc-maps wants UTF-8; a file's name may be anything, and one such file among hundreds
        // must not hide the others.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let lines = std::fs::read(format!("/proc/{pid}/maps"))?;
            lines
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| parse_line(line).ok_or_else(|| io::ErrorKind::InvalidData.into()))
                .collect()
        }
        Err(error) => Err(error),
    }
}

fn from_range(range: &proc_maps::MapRange) -> Mapping {
    let (path, deleted) = split_deleted(range.filename().map(|path| path.as_os_str().as_bytes()));
    Mapping {
        start: range.start() as u64,
        end: (range.start() as u64).saturating_add(range.size() as u64),
        offset: range.offset as u64,
        readable: range.is_read(),
        writable: range.is_write(),
        executable: range.is_exec(),
        inode: range.inode as u64,
        dev: parse_dev(&range.dev).unwrap_or_default(),
        path,
        deleted,
    }
}

/// Parses a line of `/proc/PID/maps` whose path need not be UTF-8.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let flags = text()?.as_bytes();
    let offset = text()?;
    let dev = parse_dev(text()?)?;
    let inode = text()?.parse().ok()?;
    let path = fields.next().map(<[u8]>::trim_ascii_start);
    let (path, deleted) = split_deleted(path.filter(|path| !path.is_empty()));
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        readable: flags.first() == Some(&b'r'),
        writable: flags.get(1) == Some(&b'w'),
        executable: flags.get(2) == Some(&b'x'),
        inode,
        dev,
        path,
        deleted,
    })
}

fn parse_dev(dev: &str) -> Option<(u64, u64)> {
    let (major, minor) = dev.split_once(':')?;
    Some((
        u64::from_str_radix(major, 16).ok()?,
        u64::from_str_radix(minor, 16).ok()?,
    ))
}

fn split_deleted(path: Option<&[u8]>) -> (Option<PathBuf>, bool) {
    let Some(bytes) = path else {
        return (None, false);
    };
    let (bytes, deleted) = match bytes.strip_suffix(DELETED.as_bytes()) {
        Some(stripped) => (stripped, true),
        None => (bytes, false),
    };
    (
        Some(PathBuf::from(OsString::from_vec(bytes.to_vec()))),
        deleted,
    )
}

/// One ELF file as it is loaded: its mappings in order of address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its path in the target's own view of the file system.
    pub path: PathBuf,
    /// Whether that path no longer leads to it.
    pub deleted: bool,
    /// Its mappings of the file, at least one.
    pub mappings: Vec<Mapping>,
    /// The anonymous memory that follows the last of them: `.bss` beyond the file's last page.
    pub bss: Option<Mapping>,
}

impl Image {
    /// The mapping with the lowest address, which has the ELF header.
    pub fn base(&self) -> Option<&Mapping> {
        self.mappings.first()
    }

    /// The file's name without its folders, lossy.
    pub fn file_name(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Whether an address lies in one of its mappings or in its `.bss`.
    pub fn contains(&self, addr: u64) -> bool {
        self.mappings
            .iter()
            .chain(&self.bss)
            .any(|mapping| mapping.contains(addr))
    }
}

/// Groups mappings into the files that are loaded to be executed, in order of address. The program
/// itself is the one that `/proc/PID/exe` names; nothing says that it comes first.
pub fn images(mappings: &[Mapping]) -> Vec<Image> {
    let mut images: Vec<Image> = Vec::new();
    for mapping in mappings {
        let Some(path) = mapping.file_path() else {
            // Anonymous memory may lie between two parts of a file (a .bss in the middle, a hole).
            if let Some(image) = images.last_mut()
                && mapping.inode == 0
                && mapping.readable
                && mapping.writable
                && mapping.path.is_none()
                && image.bss.is_none()
                && image
                    .mappings
                    .last()
                    .is_some_and(|last| last.end == mapping.start)
            {
                image.bss = Some(mapping.clone());
            }
            continue;
        };
        let continues = images
            .last()
            .and_then(|image| image.mappings.last())
            // A lower offset is the start of the same file loaded once more (dlmopen).
            .is_some_and(|last| last.is_same_file(mapping) && last.offset <= mapping.offset);
        if let Some(image) = images.last_mut().filter(|_| continues) {
            image.mappings.push(mapping.clone());
            image.bss = None;
        } else {
            images.push(Image {
                path: path.to_path_buf(),
                deleted: mapping.deleted,
                mappings: vec![mapping.clone()],
                bss: None,
            });
        }
    }
    images.retain(|image| image.mappings.iter().any(|mapping| mapping.executable));
    images
}

#[cfg(test)]
mod tests;
