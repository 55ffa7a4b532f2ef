//! Core files that were cut off or changed are survived.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::accuracy::alone;
use crate::support::cores::{crash, kernel_dumps};
use crate::support::for_each_kind;
use pyspy_rs::FrameTable;
use pyspy_rs::Secrets;
use pyspy_rs::internals::{CoreFile, CoreOptions, PythonCore, ValueOptions, capture_from_core};

/// All that a dump reads, in this process. Whatever the file holds, it ends, with a result or an error.
fn read_all(core: &Path) -> Result<usize, String> {
    let core = CoreFile::open(core, &CoreOptions::default()).map_err(|e| e.to_string())?;
    let mut core = PythonCore::find(core).map_err(|e| e.to_string())?;
    let mut frames = FrameTable::default();
    let options = ValueOptions::level(1, Secrets::Hidden);
    let inspect = |core: &PythonCore, frame: &_| core.frame_locals(frame, options).is_ok();
    let snapshot = capture_from_core(&mut core, &mut frames, inspect).map_err(|e| e.to_string())?;
    Ok(snapshot.traces.iter().map(|trace| trace.frames.len()).sum())
}

/// A file of which some is changed and then put back.
struct Changed<'a> {
    file: &'a File,
    at: u64,
    before: Vec<u8>,
}

impl<'a> Changed<'a> {
    fn new(file: &'a File, at: u64, bytes: &[u8]) -> Self {
        let mut before = vec![0; bytes.len()];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(bytes, at).unwrap();
        Changed { file, at, before }
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.file.write_all_at(&self.before, self.at).unwrap();
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let mut words = line.unwrap().split_whitespace();
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn cut_and_changed_cores_are_survived() {
    if !kernel_dumps() {
        return;
    }
    for_each_kind("core-hostile", |python| {
        // The other tests here measure shares of CPU time.
        let _alone = alone();
        let dumped = crash(python);
        let whole = read_all(&dumped.core);
        assert!(whole.is_ok(), "{whole:?}");
        let before = peak_kib();
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(&dumped.core)
            .unwrap();
        let size = file.seek(SeekFrom::End(0)).unwrap();
        let mut head = vec![0; 64 << 10];
        file.read_exact_at(&mut head, 0).unwrap();
        let notes = u64::from_le_bytes(head[64 + 8..64 + 16].try_into().unwrap());
        let words = [
            0u64,
            1,
            0xffff,
            1 << 12,
            1 << 31,
            1 << 40,
            u64::MAX - 7,
            u64::MAX,
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 8) % below
        };
        let mut survived = 0;
        for round in 0..120 {
            // In turn: a header, a note, some memory; a word of 4 or 8 bytes.
            let at = match round % 4 {
                0 | 1 => random(notes),
                2 => notes + random(12 << 10),
                _ => random(size - 8),
            } & !3;
            let word = match random(4) {
                0 => random(size),
                _ => words[usize::try_from(random(8)).unwrap()],
            };
            let length = if random(2) == 0 { 4 } else { 8 };
            let _changed = Changed::new(&file, at, &word.to_le_bytes()[..length]);
            survived += usize::from(read_all(&dumped.core).is_ok());
        }
        assert!(survived > 20, "{survived} of 120 could be read");
        // From the end on, so that each cut is of the same file.
        let mut lengths: Vec<u64> = (1..12).map(|part| size / 12 * part).collect();
        lengths.extend([
            1,
            63,
            64,
            100,
            notes,
            notes + 200,
            notes + 3000,
            notes + 9000,
        ]);
        lengths.sort_unstable();
        for length in lengths.into_iter().rev() {
            file.set_len(length).unwrap();
            let read = read_all(&dumped.core);
            assert!(length > notes + 400 || read.is_err(), "{length}: {read:?}");
        }
        let grown = peak_kib().saturating_sub(before);
        assert!(grown < 300 << 10, "{grown} KiB were taken");
        file.flush().unwrap();
    });
}
