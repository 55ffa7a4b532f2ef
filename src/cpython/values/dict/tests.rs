//! Every table format from byte arrays, with holes and with hostile sizes.

// A test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::io;

use python_offsets::layout::DictKeys;
use python_offsets::{PythonVersion, describe};

use super::*;
use crate::cpython::runtime::{Runtime, RuntimeAddresses};
use crate::os::memory::MemoryError;

/// Memory that consists of these words; everything else is unmapped.
#[derive(Default)]
struct Words {
    words: Vec<(u64, u64)>,
    longest: RefCell<usize>,
}

impl Words {
    fn put(&mut self, addr: u64, words: &[u64]) {
        let addrs = (addr..).step_by(8);
        self.words.extend(addrs.zip(words.iter().copied()));
    }
}

impl RemoteMemory for Words {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let longest = (*self.longest.borrow()).max(buf.len());
        *self.longest.borrow_mut() = longest;
        for (at, byte) in (addr.0..).zip(buf.iter_mut()) {
            let word = self.words.iter().find(|(start, _)| *start == at & !7);
            let (_, word) = word.ok_or_else(|| MemoryError {
                addr,
                len: 1,
                cause: io::Error::other("unmapped"),
            })?;
            *byte = word.to_le_bytes()[usize::try_from(at & 7).unwrap()];
        }
        Ok(())
    }
}

fn python(major: u8, minor: u8) -> Runtime {
    let version = PythonVersion::new(major, minor, 1);
    let description = describe(version, None).unwrap();
    Runtime {
        version,
        layout: description.layout,
        semantics: description.semantics,
        layout_source: description.source,
        roots: RuntimeAddresses {
            interpreters_head: RemoteAddr::NULL,
            runtime: None,
            tstate_current: None,
            finalizing: None,
            next_func_version: None,
            unicode_unit: 4,
        },
    }
}

const DICT: u64 = 0x1000;
const KEYS: u64 = 0x2000;
const VALUES: u64 = 0x3000;

/// A dict object: `ma_used`, keys and values where the layout has them.
fn put_dict(memory: &mut Words, python: &Runtime, used: u64, values: u64) {
    let layout = &python.layout.dict_object;
    memory.put(DICT, &[0; 8]);
    memory.words.retain(|(addr, _)| {
        ![
            Some(layout.ma_used),
            Some(layout.ma_keys),
            layout.ma_values,
            layout.ma_mask,
        ]
        .iter()
        .flatten()
        .any(|field| DICT + u64::from(*field) == *addr)
    });
    memory.put(DICT + u64::from(layout.ma_used), &[used]);
    memory.put(DICT + u64::from(layout.ma_keys), &[KEYS]);
    if let Some(field) = layout.ma_values {
        memory.put(DICT + u64::from(field), &[values]);
    }
    if let Some(field) = layout.ma_mask {
        memory.put(DICT + u64::from(field), &[7]);
    }
}

fn items(memory: &Words, python: &Runtime, cap: usize) -> Result<Vec<(u64, u64)>, ReadError> {
    let objects = Objects { memory, python };
    let items = objects.dict_items(RemoteAddr(DICT), cap)?;
    Ok(items.iter().map(|(key, value)| (key.0, value.0)).collect())
}

#[test]
fn a_python_2_table_has_holes_and_dummies() {
    let python = python(2, 7);
    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, 0);
    // hash, key, value: free, dummy, live, free, live, free...
    memory.put(KEYS, &[0, 0, 0, 9, 5, 0, 1, 10, 11, 0, 0, 0, 2, 20, 21]);
    memory.put(KEYS + 15 * 8, &[0; 9]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(10, 11), (20, 21)]);
    assert_eq!(items(&memory, &python, 1).unwrap(), [(10, 11)]);
}

/// 3.3 to 3.5, for which the tests have no interpreter: entries directly after a header of four words.
fn keys_table() -> Runtime {
    let mut python = python(3, 6);
    python.semantics.dict_format = DictFormat::KeysTable;
    python.layout.dict_keys = DictKeys {
        dk_size: 8,
        dk_indices: 32,
        ..DictKeys::default()
    };
    python
}

#[test]
fn a_keys_table_is_combined_or_split() {
    let python = keys_table();
    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, 0);
    memory.put(KEYS, &[1, 4, 0, 0]);
    memory.put(KEYS + 32, &[1, 10, 11, 0, 0, 0, 0, 0, 0, 2, 20, 21]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(10, 11), (20, 21)]);

    let mut memory = Words::default();
    put_dict(&mut memory, &python, 1, VALUES);
    memory.put(KEYS, &[1, 4, 0, 0]);
    memory.put(KEYS + 32, &[1, 10, 0, 0, 0, 0, 0, 0, 0, 2, 20, 0]);
    memory.put(VALUES, &[12, 0, 0, 0]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(10, 12)]);
}

#[test]
fn a_compact_table_follows_its_indices() {
    let python = python(3, 6);
    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, 0);
    // dk_refcnt, dk_size, dk_lookup, dk_usable, dk_nentries; 256 indices of two bytes.
    memory.put(KEYS, &[1, 256, 0, 0, 3]);
    memory.put(KEYS + 40 + 512, &[1, 10, 11, 2, 20, 0, 3, 30, 31]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(10, 11), (30, 31)]);
}

/// `dk_refcnt`; log2 sizes, kind and version; `dk_usable`, `dk_nentries`; 8 indices of one byte.
fn put_kinds(memory: &mut Words, kind: u64, nentries: u64) {
    memory.put(KEYS, &[1, 3 | 3 << 8 | kind << 16, 0, nentries, 0]);
}

#[test]
fn a_kinds_table_has_hashes_or_none() {
    let python = python(3, 11);
    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, 0);
    put_kinds(&mut memory, 0, 2);
    memory.put(KEYS + 40, &[1, 10, 11, 2, 20, 21]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(10, 11), (20, 21)]);

    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, 0);
    put_kinds(&mut memory, 1, 3);
    memory.put(KEYS + 40, &[10, 11, 0, 0, 20, 21]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(10, 11), (20, 21)]);
}

#[test]
fn a_split_table_has_its_own_order() {
    // 3.11 and 3.12 have it in front of the values, backwards: size 8, 2 used, slots 1 and 0.
    let mut python = python(3, 11);
    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, VALUES);
    put_kinds(&mut memory, 2, 2);
    memory.put(KEYS + 40, &[10, 0, 20, 0]);
    memory.put(VALUES - 8, &[u64::from_be_bytes([8, 2, 1, 0, 0, 0, 0, 0])]);
    memory.put(VALUES, &[12, 22]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(20, 22), (10, 12)]);

    // 3.13+ has it behind them: capacity 3, 2 used, slots 1 and 0.
    python.layout.dict_keys.values = 8;
    let mut memory = Words::default();
    put_dict(&mut memory, &python, 2, VALUES);
    put_kinds(&mut memory, 2, 2);
    memory.put(KEYS + 40, &[10, 0, 20, 0]);
    memory.put(VALUES, &[0x0101_0203, 12, 22, 0, 0x0001]);
    assert_eq!(items(&memory, &python, 9).unwrap(), [(20, 22), (10, 12)]);
    assert_eq!(items(&memory, &python, 1).unwrap(), [(20, 22)]);
}

#[test]
fn impossible_sizes_are_refused_and_large_ones_bounded() {
    let python = python(3, 6);
    let mut memory = Words::default();
    put_dict(&mut memory, &python, u64::MAX, 0);
    memory.put(KEYS, &[1, u64::MAX, 0, 0, 3]);
    assert!(matches!(
        items(&memory, &python, 9),
        Err(ReadError::Corrupt { .. })
    ));

    let mut memory = Words::default();
    put_dict(&mut memory, &python, u64::MAX, 0);
    memory.put(KEYS, &[1, 1 << 39, 0, 0, 1 << 39]);
    assert!(items(&memory, &python, usize::MAX).is_err());
    assert!(*memory.longest.borrow() <= MAX_CHUNK * 24);
}

/// Memory for which there is no time left.
struct OutOfTime;

impl RemoteMemory for OutOfTime {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        Err(MemoryError::out_of_time(addr, buf.len()))
    }
}

/// `threading` was taken for a module that the program does not have when there was no time for its name, and the
/// threads had no names until the next import.
#[test]
fn a_key_that_was_not_read_in_time_is_not_missing() {
    let python = python(3, 8);
    let entry = DictEntry {
        slot: 0,
        key: RemoteAddr(KEYS),
        value: RemoteAddr(VALUES),
    };
    let objects = Objects {
        memory: &OutOfTime,
        python: &python,
    };
    let found = objects.find(&[entry], "threading");
    assert!(matches!(found, Err(ReadError::OutOfTime)), "{found:?}");
    // One that cannot be read at all is another.
    let memory = Words::default();
    let objects = Objects {
        memory: &memory,
        python: &python,
    };
    assert!(objects.find(&[entry], "threading").unwrap().is_none());
}
