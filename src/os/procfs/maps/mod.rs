//! [`Mapping`] and [`Image`]: the mappings of a process, grouped into loaded ELF files.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::os::Pid;

/// Appended by the kernel to the name of a file that has been unlinked.
const DELETED: &str = " (deleted)";

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
    pub path: Option<PathBuf>,
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
        self.path
            .as_deref()
            .filter(|path| self.inode != 0 && path.is_absolute())
    }

    fn is_same_file(&self, other: &Mapping) -> bool {
        (self.inode, self.dev, &self.path) == (other.inode, other.dev, &other.path)
    }
}

/// The mappings of a process, in order of address.
///
/// # Errors
/// When the process has ended or may not be read. A process without memory (a kernel thread, a
/// zombie) has no mappings, which is no error.
pub fn read_mappings(pid: Pid) -> io::Result<Vec<Mapping>> {
    match proc_maps::get_process_maps(pid) {
        Ok(ranges) => Ok(ranges.iter().map(from_range).collect()),
        // proc-maps accepts UTF-8 only. A file name may be any bytes, and one such file among
        // hundreds must not hide the others.
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

/// Parses a line of `/proc/PID/maps` with a path that may not be UTF-8.
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

/// A loaded ELF file: its mappings in order of address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its path in the target's view of the file system.
    pub path: PathBuf,
    /// That path no longer leads to it.
    pub deleted: bool,
    /// At least one.
    pub mappings: Vec<Mapping>,
    /// The anonymous memory right after the last mapping: `.bss` beyond the file's last page.
    pub bss: Option<Mapping>,
}

impl Image {
    /// The mapping with the lowest address, which contains the ELF header.
    pub fn base(&self) -> Option<&Mapping> {
        self.mappings.first()
    }

    /// The file name without its directory, lossy.
    pub fn file_name(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// Groups mappings into the files that have executable mappings, in order of address. The program
/// itself need not be the first: `/proc/PID/exe` names it.
pub fn images(mappings: &[Mapping]) -> Vec<Image> {
    let mut images: Vec<Image> = Vec::new();
    for mapping in mappings {
        let Some(path) = mapping.file_path() else {
            // Anonymous memory can be between two parts of a file (a .bss in the middle, a hole).
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
            // A lower offset begins a second load of the same file (dlmopen).
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
