//! Lists of threads that change while they are read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::HashMap;

use python_offsets::layout::Offset;
use python_offsets::{Description, LayoutSource, PythonVersion, describe};

use super::*;
use crate::cpython::runtime::RuntimeAddresses;
use crate::os::memory::MemoryError;

const ROOT: u64 = 0x1000;
const INTERPRETER: u64 = 0x10_0000;
const NEWEST: u64 = 0x2000;
const MAIN: u64 = 0x4000;

/// Words by address, and zeros elsewhere. One of them reads as zero as often as asked.
struct Changing {
    words: HashMap<u64, u64>,
    missing: u64,
    times: Cell<u32>,
    /// How often the root was read.
    lists: Cell<u32>,
}

impl RemoteMemory for Changing {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let range = addr.0..addr.0 + buf.len() as u64;
        if range.contains(&ROOT) {
            self.lists.set(self.lists.get() + 1);
        }
        for (at, byte) in range.clone().zip(buf) {
            let word = self.words.get(&(at & !7)).copied().unwrap_or(0);
            *byte = word.to_le_bytes()[(at & 7) as usize];
            if at & !7 == self.missing && self.times.get() > 0 {
                *byte = 0;
            }
        }
        if range.contains(&self.missing) {
            self.times.set(self.times.get().saturating_sub(1));
        }
        Ok(())
    }
}

/// A main thread and a newer one.
fn two_threads() -> (StackReader, Changing) {
    let version = PythonVersion::parse("3.12.0").unwrap();
    let Description {
        layout, semantics, ..
    } = describe(version, None).unwrap();
    let (state, interpreter) = (&layout.thread_state, &layout.interpreter_state);
    let field = |addr: u64, offset: Offset| addr + u64::from(offset);
    let next = field(NEWEST, state.next);
    let words = HashMap::from([
        (ROOT, INTERPRETER),
        (field(INTERPRETER, interpreter.threads_head), NEWEST),
        (next, MAIN),
        (field(NEWEST, state.interp), INTERPRETER),
        (field(MAIN, state.interp), INTERPRETER),
    ]);
    let memory = Changing {
        words,
        missing: next,
        times: Cell::new(0),
        lists: Cell::new(0),
    };
    let python = Runtime {
        version,
        layout,
        semantics,
        layout_source: LayoutSource::Table,
        roots: RuntimeAddresses {
            interpreters_head: RemoteAddr(ROOT),
            runtime: None,
            tstate_current: None,
            finalizing: None,
            next_func_version: None,
            unicode_unit: 4,
        },
    };
    (StackReader::new(python), memory)
}

fn list(reader: &mut StackReader, memory: &Changing) -> Vec<u64> {
    let list = reader.threads(memory, Vec::new).unwrap();
    assert!(list.errors.is_empty());
    list.threads.iter().map(|one| one.state.addr.0).collect()
}

/// One of a thousand dumps of a program that starts threads all the time found no thread at all: the state
/// of one that had just ended was freed while it was read.
#[test]
fn a_list_that_a_freed_state_ended_is_read_again() {
    let (mut reader, memory) = two_threads();
    memory.times.set(1);
    assert_eq!(list(&mut reader, &memory), [NEWEST, MAIN]);

    // The true end is known by now: once is enough, unless it is another one.
    let before = memory.lists.get();
    assert_eq!(list(&mut reader, &memory), [NEWEST, MAIN]);
    assert_eq!(memory.lists.get(), before + 1);
    memory.times.set(1);
    assert_eq!(list(&mut reader, &memory), [NEWEST, MAIN]);
    // A list that stays short is the list.
    memory.times.set(u32::MAX);
    assert_eq!(list(&mut reader, &memory), [NEWEST]);
}
