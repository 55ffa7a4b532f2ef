//! A core file's notes: its threads, its signal, its command, the files that were mapped.
//!
//! The layouts are the kernel's for x86-64: `elf_prstatus` and `elf_prpsinfo` of
//! include/linux/elfcore.h with `user_regs_struct` of arch/x86/include/asm/user_64.h, `siginfo_t` of
//! include/uapi/asm-generic/siginfo.h, `NT_FILE` as fill_files_note of fs/binfmt_elf.c writes it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::CoreThread;
use super::error::CoreError;
use super::signal::Signal;
use crate::os::{Pid, Tid};

/// The most notes that are looked at. A thread has some five.
const MAX_NOTES: usize = 1 << 20;
/// The most threads; as many Python threads are listed.
const MAX_THREADS: usize = 100_000;
/// The largest list of mapped files, in bytes: the kernel writes up to 4 MiB, or 16 if told so.
const MAX_FILES: u64 = 16 << 20;
/// The largest of the other notes, in bytes.
const MAX_NOTE: u64 = 4096;
/// The most bytes of notes that are read: two segments can have the same ones, and a thousand can.
const MAX_READ: u64 = 128 << 20;
/// The longest path (`PATH_MAX` of the kernel, with what it adds to a deleted one's).
const MAX_PATH: usize = 4096 + 10;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// A part of a file that was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileRange {
    pub start: u64,
    pub end: u64,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Its place in [`Notes::paths`].
    pub path: usize,
}

/// What the notes tell.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The one that got the signal first.
    pub threads: Vec<CoreThread>,
    pub pid: Option<Pid>,
    /// The command line as far as the kernel keeps it: 79 bytes.
    pub arguments: String,
    /// What is known of the signal, before it is known whether there was one.
    pub signal: Option<Signal>,
    /// Pairs of key and value (getauxval(3)).
    pub auxv: Vec<(u64, u64)>,
    /// In order of address.
    pub files: Vec<FileRange>,
    /// The mapped files, each once.
    pub paths: Vec<PathBuf>,
    /// Whether gdb wrote the core file.
    pub is_by_gdb: bool,
    /// How many bytes of notes were read.
    read: u64,
}

impl Notes {
    /// A value of the auxiliary vector.
    pub fn aux(&self, key: u64) -> Option<u64> {
        let found = self.auxv.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| *value)
    }
}

/// Reads the notes at these places (offset and size) of a file of `size` bytes.
pub(crate) fn read(file: &File, size: u64, places: &[(u64, u64)]) -> Result<Notes, CoreError> {
    let mut notes = Notes::default();
    let mut left = MAX_NOTES;
    let mut is_cut = false;
    for (offset, length) in places {
        let end = offset.saturating_add(*length);
        is_cut |= end > size;
        let mut at = *offset;
        // Each round goes on by 12 bytes at least.
        while left > 0 && at.saturating_add(12) <= end.min(size) {
            left -= 1;
            at = notes.add(file, at, end.min(size))?;
        }
    }
    if notes.threads.is_empty() {
        return Err(match is_cut {
            true => CoreError::CutOff("notes, which tell of its threads"),
            false => CoreError::NoThreads,
        });
    }
    Ok(notes)
}

impl Notes {
    /// Takes in the note at `at` if it is of use, and returns where the next one is.
    fn add(&mut self, file: &File, at: u64, end: u64) -> Result<u64, CoreError> {
        // Sizes of name and descriptor, the type; name and descriptor, both padded to four bytes
        // (elf(5)). The names that matter fit into eight bytes.
        let mut head = [0; 20];
        let length = usize::try_from(end - at)
            .unwrap_or(head.len())
            .min(head.len());
        let known = head.get_mut(..length).unwrap_or_default();
        file.read_exact_at(known, at).map_err(CoreError::Read)?;
        let name_size = u64::from(u32_at(&head, 0));
        let length = u64::from(u32_at(&head, 4));
        let kind = u32_at(&head, 8);
        let start = (at + 12).saturating_add(name_size.next_multiple_of(4));
        let next = start.saturating_add(length.next_multiple_of(4));
        let name = head.get(12..).unwrap_or_default();
        if name_size == 4 && name.starts_with(b"GDB\0") {
            self.is_by_gdb = true;
        }
        let limit = if kind == NT_FILE { MAX_FILES } else { MAX_NOTE };
        let is_ours = name_size == 5 && name.starts_with(b"CORE\0");
        if !is_ours || length > limit || start.saturating_add(length) > end || self.read > MAX_READ
        {
            return Ok(next);
        }
        self.read += length;
        if let NT_PRSTATUS | NT_PRPSINFO | NT_AUXV | NT_SIGINFO | NT_FILE = kind {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut bytes, start)
                .map_err(CoreError::Read)?;
            match kind {
                NT_PRSTATUS if self.threads.len() < MAX_THREADS => {
                    self.threads.extend(thread(&bytes));
                }
                NT_PRPSINFO if self.pid.is_none() => self.add_process(&bytes),
                NT_AUXV if self.auxv.is_empty() => self.auxv = auxv(&bytes),
                // The first one is of the thread that got the signal.
                NT_SIGINFO if self.signal.is_none() => self.signal = Signal::from_siginfo(&bytes),
                NT_FILE if self.files.is_empty() => self.add_files(&bytes),
                _ => {}
            }
        }
        Ok(next)
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

    /// `NT_FILE`: how many, the unit of offsets; start, end and offset of each; their names.
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

/// `elf_prstatus`: `pr_cursig` at 12, `pr_pid` at 32, `pr_reg` at 112, of which `orig_ax` is the
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
        // All ones: it came to the kernel by no call.
        system_call: u32::try_from(call).ok(),
    })
    .filter(|thread| thread.tid > 0)
}

/// Up to its end mark, a key of 0.
fn auxv(bytes: &[u8]) -> Vec<(u64, u64)> {
    let pairs = bytes.chunks_exact(16);
    let pairs = pairs.map(|pair| (u64_at(pair, 0), u64_at(pair, 8)));
    pairs.take_while(|(key, _)| *key != 0).collect()
}

/// 0 beyond the end, which all that it is used for takes for "unknown".
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

pub(crate) fn i32_at(bytes: &[u8], at: usize) -> i32 {
    u32_at(bytes, at).cast_signed()
}
