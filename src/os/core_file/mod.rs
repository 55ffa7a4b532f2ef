//! [`CoreFile`]: a process as recorded in a core file.
//!
//! Core files are written by the kernel, when a signal ends a process, and by gdb's `gcore`. Both
//! are ELF files: segments of memory, and notes on threads, signal and mapped files. Everything in
//! them is untrusted; a core file may have been made to attack its reader.

pub mod command;
pub mod error;
pub mod files;
pub mod headers;
pub mod memory;
pub mod notes;
pub mod signal;
pub mod syscall_names;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::deadline::Deadline;
use super::memory::address::RemoteAddr;
use super::process::image::ProcessImage;
use super::procfs::maps::Mapping;
use super::procfs::paths::open_regular;
use super::{Pid, Tid};
use crate::text::secrets::command::CommandLine;
use files::{CoreOptions, MappedFile, Search};
use headers::Load;
use notes::{CoreThread, Notes};

use error::CoreError;
use memory::CoreMemory;
use signal::{Origin, Signal};

/// Keys of the auxiliary vector (getauxval(3)): the addresses of the program headers and of the
/// first instruction of the program.
const AT_PHDR: u64 = 3;
const AT_ENTRY: u64 = 9;

/// Cap on the total length of the paths of mappings, in bytes. One long path can belong to each of
/// a million segments.
const MAX_PATHS: usize = 64 << 20;
/// Cap on the mappings that count as code of a file, which are searched for an interpreter. A
/// process with 300 libraries has about 300.
const MAX_CODE: usize = 20_000;

/// The program that wrote a core file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The kernel, or the program that it piped the core to.
    Kernel,
    /// gdb; the process may have lived on.
    Gdb,
}

/// An opened core file.
#[derive(Debug)]
pub struct CoreFile {
    memory: CoreMemory,
    mappings: Vec<Mapping>,
    threads: Vec<CoreThread>,
    pid: Pid,
    exe: PathBuf,
    command: CommandLine,
    signal: Option<Signal>,
    writer: Writer,
    size: u64,
    whole_size: u64,
}

impl CoreFile {
    /// Opens a core file: reads its headers and notes, not its memory.
    pub fn open(path: &Path, options: &CoreOptions) -> Result<CoreFile, CoreError> {
        let file = open_regular(path).map_err(CoreError::Open)?;
        let size = file.metadata().map_err(CoreError::Read)?.len();
        let headers = headers::read(&file, size)?;
        let notes = notes::read(&file, size, &headers.notes)?;
        let exe_index = exe_index(&notes);
        let exe = exe_index.and_then(|index| notes.paths.get(index));
        let exe = exe.map_or_else(PathBuf::new, |path| split_deleted(path).0);
        let search = Search::new(options, &exe, notes.written_by_gdb)?;
        let mapped = mapped_files(&notes, exe_index);
        let memory = CoreMemory::new(file, size, &headers.loads, &notes.files, mapped, search);
        if let (Some(index), Some(given)) = (exe_index, &options.exe) {
            memory.check_exe(index, given)?;
        }
        let Some(first) = notes.threads.first() else {
            return Err(CoreError::NoThreads);
        };
        let command = command::read(&memory, &notes).unwrap_or_else(|| {
            // The kernel separates the arguments by spaces, whatever is in them.
            let words = notes.arguments.split_whitespace();
            words.map(str::to_owned).collect()
        });
        let command = CommandLine::new(command);
        Ok(CoreFile {
            mappings: mappings(&headers.loads, &notes),
            pid: notes.pid.unwrap_or(first.tid),
            exe,
            command,
            signal: killed_by(first, notes.signal),
            writer: match notes.written_by_gdb {
                true => Writer::Gdb,
                false => Writer::Kernel,
            },
            size,
            whole_size: headers.whole_size,
            memory,
            threads: notes.threads,
        })
    }

    /// Its threads; the one that received the signal comes first.
    pub fn threads(&self) -> &[CoreThread] {
        &self.threads
    }

    /// Its arguments, which it may have changed. Empty when they are unknown.
    pub fn command_line(&self) -> &CommandLine {
        &self.command
    }

    /// The signal that ended it, and the thread that received it; `None` when no signal did, as in
    /// a core by gdb of a living process.
    pub fn signal(&self) -> Option<(Signal, Tid)> {
        self.signal
            .zip(self.threads.first().map(|thread| thread.tid))
    }

    /// The program that wrote it.
    pub fn writer(&self) -> Writer {
        self.writer
    }

    /// Its size in bytes, and the size that its headers imply.
    pub fn sizes(&self) -> (u64, u64) {
        (self.size, self.whole_size.max(self.size))
    }

    /// Whether it is shorter than its headers imply.
    pub fn is_cut_off(&self) -> bool {
        self.whole_size > self.size
    }

    /// Whether a mapped file is available, in the same build.
    pub fn has_file(&self, path: &Path) -> bool {
        let mut mappings = self.mappings.iter();
        let mapping = mappings.find(|mapping| mapping.file_path() == Some(path));
        mapping.is_some_and(|mapping| self.open_mapped(mapping).is_ok())
    }
}

impl ProcessImage for CoreFile {
    type Memory = CoreMemory;

    fn pid(&self) -> Pid {
        self.pid
    }

    fn memory(&self) -> &CoreMemory {
        &self.memory
    }

    fn exe_path(&self) -> PathBuf {
        self.exe.clone()
    }

    fn maps(&self, _deadline: Deadline) -> io::Result<Vec<Mapping>> {
        Ok(self.mappings.clone())
    }

    /// Below the folder that was given as the root of the process. Its files may have changed since.
    fn root_path(&self, path: &Path) -> PathBuf {
        self.memory.search().root_path(path)
    }

    fn tasks(&self) -> Vec<(Tid, Tid)> {
        let tids = self.threads.iter().map(|thread| thread.tid);
        tids.map(|tid| (tid, tid)).collect()
    }

    fn open_mapped(&self, mapping: &Mapping) -> io::Result<File> {
        let index = usize::try_from(mapping.inode).ok();
        let file = index.and_then(|index| self.memory.file(index.checked_sub(1)?));
        match file {
            Some(file) => file.try_clone(),
            None => Err(io::Error::other("this build of it is not available")),
        }
    }
}

/// The signal of the first thread, if it was stopped by one.
fn killed_by(first: &CoreThread, known: Option<Signal>) -> Option<Signal> {
    // Without the note, or with one of another signal, only the number is known.
    let plain = Signal {
        number: first.signal,
        code: 0x80,
        origin: Origin::Kernel,
    };
    let signal = known.filter(|known| known.number == first.signal);
    (first.signal > 0).then(|| signal.unwrap_or(plain))
}

/// Which of the mapped files is the program.
fn exe_index(notes: &Notes) -> Option<usize> {
    [AT_PHDR, AT_ENTRY].into_iter().find_map(|key| {
        let addr = notes.aux(key)?;
        let mut files = notes.files.iter();
        let range = files.find(|range| (range.start..range.end).contains(&addr))?;
        Some(range.path)
    })
}

fn split_deleted(path: &Path) -> (PathBuf, bool) {
    // Appended by the kernel to the name of a file that has been unlinked.
    let text = path
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"));
    match text {
        Some(text) => (PathBuf::from(text), true),
        None => (path.to_path_buf(), false),
    }
}

fn mapped_files(notes: &Notes, exe_index: Option<usize>) -> Vec<MappedFile> {
    let paths = notes.paths.iter().enumerate();
    let mut files: Vec<MappedFile> = paths
        .map(|(index, path)| MappedFile {
            path: split_deleted(path).0,
            base: None,
            is_exe: exe_index == Some(index),
        })
        .collect();
    for range in notes.files.iter().rev().filter(|range| range.offset == 0) {
        if let Some(file) = files.get_mut(range.path) {
            file.base = Some(RemoteAddr(range.start));
        }
    }
    files
}

/// The mappings as `/proc/PID/maps` would have shown them. A core file has no inodes, so `inode` is
/// the index of the file, plus one.
fn mappings(loads: &[Load], notes: &Notes) -> Vec<Mapping> {
    let split = |path: &PathBuf| {
        let (path, deleted) = split_deleted(path);
        (Arc::from(path), deleted)
    };
    let paths: Vec<(Arc<Path>, bool)> = notes.paths.iter().map(split).collect();
    let files = &notes.files;
    let (mut text, mut code) = (0, 0);
    let mut of_file = |mut mapping: Mapping, range: &notes::FileRange| {
        let known = paths.get(range.path).filter(|_| text < MAX_PATHS);
        let Some((path, deleted)) = known.cloned() else {
            return mapping;
        };
        text += path.as_os_str().len();
        code += usize::from(mapping.executable);
        mapping.executable &= code <= MAX_CODE;
        mapping.offset = range.offset.saturating_add(mapping.start - range.start);
        mapping.inode = range.path as u64 + 1;
        mapping.path = Some(path);
        mapping.deleted = deleted;
        mapping
    };
    let anonymous = |start, end| Mapping {
        start,
        end,
        offset: 0,
        readable: true,
        writable: false,
        // gdb leaves out mappings that cannot have been written to: code and constants.
        executable: true,
        inode: 0,
        dev: (0, 0),
        path: None,
        deleted: false,
    };
    let mut all = Vec::with_capacity(loads.len());
    for load in loads {
        let mapping = Mapping {
            readable: load.readable,
            writable: load.writable,
            executable: load.executable,
            ..anonymous(load.start, load.end)
        };
        let before = files.partition_point(|range| range.start <= load.start);
        let range = before.checked_sub(1).and_then(|at| files.get(at));
        all.push(match range.filter(|range| load.start < range.end) {
            Some(range) => of_file(mapping, range),
            None => mapping,
        });
    }
    for range in files {
        let after = loads.partition_point(|load| load.start < range.start);
        if loads.get(after).is_none_or(|load| load.start >= range.end) {
            all.push(of_file(anonymous(range.start, range.end), range));
        }
    }
    all.sort_by_key(|mapping| mapping.start);
    all
}

#[cfg(test)]
mod tests;
