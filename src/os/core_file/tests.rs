//! Tests on small made-up core files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::os::memory::RemoteMemory;

/// The first address of the memory of these core files.
const BASE: u64 = 0x10_0000;

fn note(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let sizes = [5, u32::try_from(bytes.len()).unwrap(), kind];
    let mut note = sizes.map(u32::to_le_bytes).concat();
    note.extend(b"CORE\0\0\0\0");
    note.truncate(20);
    note.extend(bytes);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

fn status(tid: i32, signal: u8, call: i64) -> Vec<u8> {
    let mut bytes = vec![0; 336];
    bytes[12] = signal;
    bytes[32..36].copy_from_slice(&tid.to_le_bytes());
    bytes[112 + 15 * 8..][..8].copy_from_slice(&call.to_le_bytes());
    bytes[112 + 21 * 8..][..8].copy_from_slice(&(BASE + 64).to_le_bytes());
    note(1, &bytes)
}

/// A note that maps three pages of a file at `BASE`.
fn mapped(path: &Path) -> Vec<u8> {
    let numbers = [1, 4096, BASE, BASE + 0x3000, 0];
    let mut bytes = numbers.map(u64::to_le_bytes).concat();
    bytes.extend(path.as_os_str().as_bytes());
    bytes.push(0);
    note(0x4649_4c45, &bytes)
}

/// A core file with these notes, and with `memory` at `BASE` in a segment of `size` bytes.
fn core(notes: &[Vec<u8>], memory: &[u8], size: u64) -> Vec<u8> {
    let notes = notes.concat();
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([4u8, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0u8, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let start = 64 + 2 * 56;
    let (notes_size, memory_size) = (notes.len() as u64, memory.len() as u64);
    for (kind, flags, rest) in [
        (4u32, 0u32, [start, 0, 0, notes_size, 0, 4]),
        (1, 5, [start + notes_size, BASE, 0, memory_size, size, 4096]),
    ] {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(rest.map(u64::to_le_bytes).concat());
    }
    bytes.extend(notes);
    bytes.extend(memory);
    bytes
}

fn open(bytes: &[u8], options: &CoreOptions) -> Result<CoreFile, CoreError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    CoreFile::open(file.path(), options)
}

fn read(core: &CoreFile, at: u64, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    let read = core.memory().read(RemoteAddr(at), &mut bytes);
    read.ok().map(|()| bytes)
}

/// The thread that received the signal comes first; for the others the kernel writes the same
/// number.
#[test]
fn threads_and_signal() {
    let notes = [status(7, 11, -1), status(8, 11, 202)];
    let core = open(&core(&notes, b"memory", 6), &CoreOptions::default()).unwrap();
    let (signal, tid) = core.signal().unwrap();
    assert_eq!((signal.number, tid, core.pid()), (11, 7, 7));
    let calls: Vec<_> = core.threads().iter().map(|one| one.system_call).collect();
    assert_eq!(calls, [None, Some(202)]);
    assert_eq!(core.threads()[0].fs_base, BASE + 64);
    assert_eq!(read(&core, BASE + 2, 4).unwrap(), b"mory");
    assert_eq!(read(&core, BASE + 2, 5), None);
    assert_eq!(read(&core, u64::MAX - 2, 5), None);
    assert!(!core.is_cut_off());
}

#[test]
fn a_truncated_core_is_read_up_to_its_end() {
    let mut bytes = core(&[status(7, 0, 0)], &[7; 4096], 4096);
    bytes.truncate(bytes.len() - 4000);
    let core = open(&bytes, &CoreOptions::default()).unwrap();
    assert!(core.is_cut_off() && core.signal().is_none());
    assert_eq!(read(&core, BASE, 96).unwrap(), [7; 96]);
    assert_eq!(read(&core, BASE, 97), None);
    bytes.truncate(64 + 2 * 56 + 100);
    let error = open(&bytes, &CoreOptions::default()).unwrap_err();
    assert!(matches!(error, CoreError::CutOff(_)), "{error}");
}

/// Pages left out of the core file come from the mapped file, if it is the same build.
#[test]
fn pages_left_out_are_read_from_the_mapped_file() {
    let path = std::env::current_exe().unwrap();
    let program = fs::read(&path).unwrap();
    let notes = [status(7, 0, 0), mapped(&path)];
    let same = core(&notes, &program[..4096], 0x3000);
    let found = open(&same, &CoreOptions::default()).unwrap();
    assert_eq!(
        read(&found, BASE + 4000, 5000).unwrap(),
        program[4000..9000]
    );
    assert!(found.has_file(&path));
    // Not from another root, nor for another build.
    let empty = tempfile::tempdir().unwrap();
    let elsewhere = CoreOptions {
        sysroot: Some(empty.path().to_path_buf()),
        ..CoreOptions::default()
    };
    let found = open(&same, &elsewhere).unwrap();
    assert_eq!(read(&found, BASE + 4000, 5000), None);
    let mut page = program[..4096].to_vec();
    page[64..].fill(1);
    let other = core(&notes, &page, 0x3000);
    let found = open(&other, &CoreOptions::default()).unwrap();
    assert!(!found.has_file(&path));
    assert_eq!(read(&found, BASE + 4000, 5000), None);
}

/// A core file can come from anyone: it must not make us show unrelated files.
#[test]
fn a_core_cannot_name_an_unrelated_file() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, [b's'; 12288]).unwrap();
    for page in [&[b's'; 4096][..], &[]] {
        let notes = [status(7, 0, 0), mapped(&secret)];
        let core = open(&core(&notes, page, 0x3000), &CoreOptions::default()).unwrap();
        assert_eq!(read(&core, BASE + 4096, 16), None);
    }
}

#[test]
fn opening_returns_for_any_headers() {
    let path = std::env::current_exe().unwrap();
    let sound = core(&[status(7, 11, 0), mapped(&path)], &[1; 64], 0x3000);
    let words = [0u32, 5, 0x7fff_ffff, u32::MAX];
    let mut opened = 0;
    for at in (0..sound.len() - 4).step_by(4) {
        for word in words {
            let mut bytes = sound.clone();
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            let Ok(core) = open(&bytes, &CoreOptions::default()) else {
                continue;
            };
            opened += 1;
            let _ = (
                core.maps(Deadline::NEVER),
                core.sizes(),
                read(&core, BASE, 8192),
            );
        }
    }
    assert!(opened > 100, "{opened}");
}

/// 65,535 segments or more are counted elsewhere, and the count alone must not cause an allocation.
#[test]
fn a_count_of_segments_that_the_file_cannot_have() {
    let mut bytes = core(&[status(7, 11, 0)], b"", 0);
    bytes[56..58].fill(0xff);
    let place = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&place.to_le_bytes());
    bytes.resize(bytes.len() + 64, 0);
    for (count, expected) in [(2u32, "ok"), (1 << 20, "truncated"), (u32::MAX, "damaged")] {
        let at = usize::try_from(place).unwrap() + 44;
        bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
        let result = open(&bytes, &CoreOptions::default());
        let message = result.map_or_else(|error| error.to_string(), |_| "ok".into());
        assert!(message.contains(expected), "{count}: {message}");
    }
}
