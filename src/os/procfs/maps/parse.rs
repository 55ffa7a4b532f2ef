//! [`parse`]: the lines of `/proc/PID/maps`, one by one as they are read.
//!
//! A process can have 65,530 mappings (`vm.max_map_count`) of a file whose path has 4,096 bytes: 240 MiB
//! of text. So the text is never in memory as a whole, whoever reads it, and equal paths are stored once.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::mapping::Mapping;
use crate::os::deadline::Deadline;

/// Appended by the kernel to the name of a file that has been unlinked.
const DELETED: &[u8] = b" (deleted)";
/// Cap on a line. The kernel limits a path to a page, in which a newline has four characters
/// (`seq_file_path` of fs/seq_file.c).
const MAX_LINE: usize = 64 << 10;
/// Cap on the mappings: far above `vm.max_map_count` of any machine in practice.
const MAX_MAPPINGS: usize = 1 << 20;
/// Cap on the total length of all different paths. A mapping beyond it has no path.
const MAX_PATHS: usize = 16 << 20;
/// The deadline is asked once per so many lines, which take some 100 µs.
const LINES_PER_CHECK: usize = 64;

/// Parses all lines.
///
/// # Errors
/// `TimedOut` when the deadline is over, `InvalidData` for a line that is not one of the kernel's.
pub fn parse(mut text: impl BufRead, deadline: Deadline) -> io::Result<Vec<Mapping>> {
    let mut lines = Lines::default();
    loop {
        let piece = text.fill_buf();
        let len = match piece {
            Ok([]) => return lines.finish(),
            Ok(piece) => {
                lines.add(piece, deadline)?;
                piece.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        text.consume(len);
    }
}

/// The mappings of all lines so far.
#[derive(Default)]
pub struct Lines {
    mappings: Vec<Mapping>,
    paths: Paths,
    /// The start of a line.
    rest: Vec<u8>,
}

impl Lines {
    /// Parses another piece of the text, which may begin and end anywhere in a line.
    ///
    /// # Errors
    /// As for [`parse`].
    pub fn add(&mut self, piece: &[u8], deadline: Deadline) -> io::Result<()> {
        for line in piece.split_inclusive(|&byte| byte == b'\n') {
            if self.mappings.len().is_multiple_of(LINES_PER_CHECK) && deadline.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match line.strip_suffix(b"\n") {
                Some(line) if self.rest.is_empty() => self.line(line)?,
                Some(end) => {
                    let mut line = std::mem::take(&mut self.rest);
                    line.extend_from_slice(end);
                    self.line(&line)?;
                    line.clear();
                    self.rest = line;
                }
                None => self.rest.extend_from_slice(line),
            }
            if self.rest.len() > MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    /// All mappings, when there is no more text.
    ///
    /// # Errors
    /// As for [`parse`].
    pub fn finish(mut self) -> io::Result<Vec<Mapping>> {
        let last = std::mem::take(&mut self.rest);
        if !last.is_empty() {
            self.line(&last)?;
        }
        Ok(self.mappings)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let (mut mapping, path) = parse_line(line).ok_or(io::ErrorKind::InvalidData)?;
        if self.mappings.len() >= MAX_MAPPINGS {
            return Err(io::Error::other("it has more than a million mappings"));
        }
        mapping.path = path.and_then(|path| self.paths.intern(path));
        self.mappings.push(mapping);
        Ok(())
    }
}

/// The paths that are known: one allocation for each, however many mappings have it.
#[derive(Default)]
pub struct Paths {
    known: HashSet<Arc<Path>>,
    /// The one of the previous mapping, which mostly has the same.
    last: Option<Arc<Path>>,
    length: usize,
}

impl Paths {
    /// `None` when there is no room for another one.
    pub fn intern(&mut self, path: &[u8]) -> Option<Arc<Path>> {
        let path = Path::new(OsStr::from_bytes(path));
        if let Some(last) = self
            .last
            .as_ref()
            .filter(|last| last.as_os_str() == path.as_os_str())
        {
            return Some(Arc::clone(last));
        }
        let known = match self.known.get(path) {
            Some(known) => Arc::clone(known),
            None => {
                let length = self.length.saturating_add(path.as_os_str().len());
                if length > MAX_PATHS {
                    return None;
                }
                self.length = length;
                let new: Arc<Path> = path.into();
                self.known.insert(Arc::clone(&new));
                new
            }
        };
        self.last = Some(Arc::clone(&known));
        Some(known)
    }
}

/// Parses a line; the path is returned apart, without "(deleted)".
pub fn parse_line(line: &[u8]) -> Option<(Mapping, Option<&[u8]>)> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let flags = text()?.as_bytes();
    let offset = text()?;
    let dev = parse_dev(text()?)?;
    let inode = text()?.parse().ok()?;
    let path = fields.next().map(<[u8]>::trim_ascii_start);
    let path = path.filter(|path| !path.is_empty());
    let (path, deleted) = path.map_or((None, false), |path| {
        let (path, deleted) = split_deleted(path);
        (Some(path), deleted)
    });
    let mapping = Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        readable: flags.first() == Some(&b'r'),
        writable: flags.get(1) == Some(&b'w'),
        executable: flags.get(2) == Some(&b'x'),
        inode,
        dev,
        path: None,
        deleted,
    };
    Some((mapping, path))
}

pub fn parse_dev(dev: &str) -> Option<(u64, u64)> {
    let (major, minor) = dev.split_once(':')?;
    Some((
        u64::from_str_radix(major, 16).ok()?,
        u64::from_str_radix(minor, 16).ok()?,
    ))
}

/// A path without the kernel's "(deleted)", and whether it had that.
pub fn split_deleted(path: &[u8]) -> (&[u8], bool) {
    match path.strip_suffix(DELETED) {
        Some(stripped) => (stripped, true),
        None => (path, false),
    }
}
