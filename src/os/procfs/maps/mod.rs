//! [`Mapping`] and [`Image`]: the mappings of a process, grouped into loaded ELF files.

mod mapping;
mod parse;

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::expendable::{self, NoReply};
use crate::os::procfs::suspicion::may_block;
pub use mapping::Mapping;
use parse::{Lines, Paths, parse_dev, split_deleted};

/// Up to this size, proc-maps reads the list as one text. An ordinary process has 10 to 100 KiB.
const ONE_TEXT: usize = 256 << 10;
/// How long the expendable child may take to read the list; some 100 MiB are read in a second.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// The mappings of a process, in order of address.
///
/// # Errors
/// When the process has ended or may not be read; `TimedOut` when the deadline is over. A process without
/// memory (a kernel thread, a zombie) has no mappings, which is no error.
///
/// The kernel makes the file under the lock of the process's memory map, which a page fault that is never
/// served can hold. If such a fault is possible, the file is read by the expendable child.
pub fn read_mappings(pid: Pid, deadline: Deadline) -> io::Result<Vec<Mapping>> {
    if may_block(pid) {
        let path = format!("/proc/{pid}/maps");
        let limit = deadline.or_earlier(Deadline::after(READ_LIMIT));
        let mut lines = Lines::default();
        let piece = |piece: &[u8]| lines.add(piece, limit);
        match expendable::read_pieces(Path::new(&path), limit, piece) {
            Ok(result) => return result.and_then(|()| lines.finish()),
            Err(NoReply::CannotStart) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let mut file = File::open(format!("/proc/{pid}/maps"))?;
    // proc-maps reads any list as a whole, so its length is checked first.
    let mut start = vec![0; ONE_TEXT];
    if is_shorter(&mut file, &mut start, deadline)? {
        match proc_maps::get_process_maps(pid) {
            Ok(ranges) => {
                let mut paths = Paths::default();
                return Ok(ranges
                    .iter()
                    .map(|range| from_range(range, &mut paths))
                    .collect());
            }
            // It accepts UTF-8 only. A file name may be any bytes, and one such file among hundreds
            // must not hide the others.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return Err(error),
        }
    }
    drop(start);
    file.rewind()?;
    parse::parse(BufReader::new(file), deadline)
}

/// Whether a file ends before a buffer is full of its content.
fn is_shorter(file: &mut File, buf: &mut [u8], deadline: Deadline) -> io::Result<bool> {
    let mut rest = buf;
    while !rest.is_empty() {
        if deadline.is_over() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match file.read(rest) {
            Ok(0) => return Ok(true),
            Ok(len) => rest = rest.get_mut(len..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn from_range(range: &proc_maps::MapRange, paths: &mut Paths) -> Mapping {
    let path = range.filename().map(|path| path.as_os_str().as_bytes());
    let (path, deleted) = path.map_or((None, false), |path| {
        let (path, deleted) = split_deleted(path);
        (paths.intern(path), deleted)
    });
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

/// A loaded ELF file: its mappings in order of address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its path in the target's view of the file system.
    pub path: Arc<Path>,
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
        let Some(path) = mapping.path.as_ref().filter(|_| mapping.is_file()) else {
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
                path: Arc::clone(path),
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
