//! The notes of a core file: threads, signal, command, mapped files.
//!
//! The layouts are the kernel's for x86-64: `elf_prstatus` and `elf_prpsinfo` of
//! include/linux/elfcore.h with `user_regs_struct` of arch/x86/include/asm/user_64.h, `siginfo_t`
//! of include/uapi/asm-generic/siginfo.h, `NT_FILE` as fill_files_note of fs/binfmt_elf.c writes
//! it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::CoreError;
use super::signal::Signal;
use crate::os::elf::notes::{Note, NoteIter, i32_at, u64_at};
use crate::os::{Pid, Tid};

/// Cap on the number of notes. A thread has about five.
const MAX_NOTES: usize = 1 << 20;
/// Cap on the number of threads; as many Python threads are listed.
const MAX_THREADS: usize = 100_000;
/// Cap on the list of mapped files, in bytes: the kernel writes up to 4 MiB, or 16 if configured.
const MAX_FILES: u64 = 16 << 20;
/// Cap on each other note, in bytes.
const MAX_NOTE: u64 = 4096;
/// Cap on the bytes of notes read: two segments can have the same notes, and so can a thousand.
const MAX_READ: u64 = 128 << 20;
/// Cap on a path: `PATH_MAX` of the kernel, and the suffix of a deleted file's.
const MAX_PATH: usize = 4096 + 10;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreThread {
    /// Its id; in a core file by the kernel, that in its own PID namespace.
    pub tid: Tid,
    /// The signal that it was stopped by; 0 for none.
    pub signal: i32,
    /// The address of its thread control block: its `pthread_t`, in every C library on x86-64.
    pub fs_base: u64,
    /// The number of the system call that it was in; `None` when it ran user code.
    pub system_call: Option<u32>,
}

/// A mapped part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    pub start: u64,
    pub end: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Index in [`Notes::paths`].
    pub path: usize,
}

#[derive(Debug, Default)]
pub struct Notes {
    /// The one that received the signal comes first.
    pub threads: Vec<CoreThread>,
    pub pid: Option<Pid>,
    /// The command line as far as the kernel stores it: 79 bytes.
    pub arguments: String,
    /// The signal, if there was one: without a signal this is meaningless.
    pub signal: Option<Signal>,
    /// Pairs of key and value (getauxval(3)).
    pub auxv: Vec<(u64, u64)>,
    /// In order of address.
    pub files: Vec<FileRange>,
    /// The mapped files, each once.
    pub paths: Vec<PathBuf>,
    /// Whether gdb wrote the core file.
    pub written_by_gdb: bool,
    /// The number of bytes of notes read.
    read: u64,
}

impl Notes {
    pub fn aux(&self, key: u64) -> Option<u64> {
        let found = self.auxv.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| *value)
    }
}

/// Reads the notes at these places (offset and size) of a file of `size` bytes.
pub fn read(file: &File, size: u64, places: &[(u64, u64)]) -> Result<Notes, CoreError> {
    let mut found = Notes::default();
    let mut left = MAX_NOTES;
    let mut is_cut = false;
    for (offset, length) in places {
        let end = offset.saturating_add(*length);
        is_cut |= end > size;
        let read = |at, buf: &mut [u8]| file.read_exact_at(buf, at).map_err(CoreError::Read);
        for note in NoteIter::new(*offset..end.min(size), true, read).take(left) {
            left -= 1;
            found.add(file, &note?)?;
        }
    }
    if found.threads.is_empty() {
        return Err(match is_cut {
            true => CoreError::CutOff("notes, which list its threads"),
            false => CoreError::NoThreads,
        });
    }
    Ok(found)
}

impl Notes {
    /// Reads and parses a note if it is a known one.
    fn add(&mut self, file: &File, note: &Note) -> Result<(), CoreError> {
        self.written_by_gdb |= note.is_named(b"GDB\0");
        let limit = if note.kind == NT_FILE {
            MAX_FILES
        } else {
            MAX_NOTE
        };
        let Some(place) = note.descriptor.as_ref().filter(|_| self.read <= MAX_READ) else {
            return Ok(());
        };
        let length = place.end - place.start;
        if !note.is_named(b"CORE\0") || length > limit {
            return Ok(());
        }
        self.read += length;
        if let NT_PRSTATUS | NT_PRPSINFO | NT_AUXV | NT_SIGINFO | NT_FILE = note.kind {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut bytes, place.start)
                .map_err(CoreError::Read)?;
            match note.kind {
                NT_PRSTATUS if self.threads.len() < MAX_THREADS => {
                    self.threads.extend(thread(&bytes));
                }
                NT_PRPSINFO if self.pid.is_none() => self.add_process(&bytes),
                NT_AUXV if self.auxv.is_empty() => self.auxv = auxv(&bytes),
                // The first one is that of the thread that received the signal.
                NT_SIGINFO if self.signal.is_none() => self.signal = Signal::from_siginfo(&bytes),
                NT_FILE if self.files.is_empty() => self.add_files(&bytes),
                _ => {}
            }
        }
        Ok(())
    }

    /// `elf_prpsinfo`: `pr_pid` at 24, `pr_psargs` (80 bytes) at 56.
    fn add_process(&mut self, bytes: &[u8]) {
        let Some(arguments) = bytes.get(56..136) else {
            return;
        };
        self.pid = Some(i32_at(bytes, 24)).filter(|pid| *pid > 0);
        let length = arguments.iter().position(|byte| *byte == 0);
        let text = arguments.get(..length.unwrap_or(arguments.len()));
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        self.arguments = text.trim_end().to_owned();
    }

    /// `NT_FILE`: count, unit of offsets; start, end and offset of each; their names.
    fn add_files(&mut self, bytes: &[u8]) {
        let count = usize::try_from(u64_at(bytes, 0)).unwrap_or(usize::MAX);
        let unit = u64_at(bytes, 8);
        let Some((ranges, names)) = count
            .checked_mul(24)
            .and_then(|length| bytes.get(16..)?.split_at_checked(length))
        else {
            return;
        };
        let mut names = names.split(|byte| *byte == 0);
        let mut known: std::collections::HashMap<&[u8], usize> = std::collections::HashMap::new();
        for range in ranges.chunks_exact(24) {
            let Some(name) = names.next() else { break };
            let (start, end) = (u64_at(range, 0), u64_at(range, 8));
            let Some(offset) = u64_at(range, 16).checked_mul(unit) else {
                continue;
            };
            if start >= end || !name.starts_with(b"/") || name.len() > MAX_PATH {
                continue;
            }
            let path = *known.entry(name).or_insert_with(|| {
                self.paths.push(PathBuf::from(OsStr::from_bytes(name)));
                self.paths.len() - 1
            });
            self.files.push(FileRange {
                start,
                end,
                offset,
                path,
            });
        }
        self.files.sort_by_key(|range| range.start);
    }
}

/// `elf_prstatus`: `pr_cursig` at 12, `pr_pid` at 32, `pr_reg` at 112, in which `orig_ax` is the
/// 16th and `fs_base` the 22nd register.
fn thread(bytes: &[u8]) -> Option<CoreThread> {
    const REGISTERS: usize = 112;
    if bytes.len() < REGISTERS + 27 * 8 {
        return None;
    }
    let tid: Tid = i32_at(bytes, 32);
    let signal = bytes.get(12..14)?.try_into().ok()?;
    let call = u64_at(bytes, REGISTERS + 15 * 8);
    Some(CoreThread {
        tid,
        signal: i32::from(i16::from_le_bytes(signal)),
        fs_base: u64_at(bytes, REGISTERS + 21 * 8),
        // All ones: it did not enter the kernel by a system call.
        system_call: u32::try_from(call).ok(),
    })
    .filter(|thread| thread.tid > 0)
}

/// Up to its terminator, a key of 0.
fn auxv(bytes: &[u8]) -> Vec<(u64, u64)> {
    let pairs = bytes.chunks_exact(16);
    let pairs = pairs.map(|pair| (u64_at(pair, 0), u64_at(pair, 8)));
    pairs.take_while(|(key, _)| *key != 0).collect()
}
