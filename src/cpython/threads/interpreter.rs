//! The linked lists of interpreters and of their threads.

use std::collections::HashSet;

use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr, span};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum number of interpreters that a list may have; no process has more.
const MAX_INTERPRETERS: usize = 10_000;
/// Maximum number of interpreters whose threads are read. Programs have some dozens.
pub const MAX_READ: usize = 1_024;
/// Maximum number of Python threads of all interpreters together; no process has more.
const MAX_THREADS: usize = 100_000;

/// One interpreter (`PyInterpreterState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The address of its state.
    pub addr: RemoteAddr,
    /// `id`; before 3.7, which has none, its index counted from the oldest.
    pub id: i64,
    /// Its newest thread.
    pub threads_head: RemoteAddr,
}

/// One thread of one interpreter (`PyThreadState`), copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// The address of its state.
    pub addr: RemoteAddr,
    /// The interpreter of the thread.
    pub interpreter: Interpreter,
    /// The next older thread.
    next: RemoteAddr,
    /// The pointer that leads to the leaf frame: the frame itself, or a `_PyCFrame`.
    pub frame_root: RemoteAddr,
    /// The `pthread_t`.
    pub pthread_id: u64,
    /// The kernel's id of the thread when it started (3.11+).
    pub native_thread_id: Option<u64>,
}

impl ThreadState {
    /// Whether both are the same thread, by the fields that never change.
    pub fn is_same_thread(&self, other: &ThreadState) -> bool {
        self.addr == other.addr
            && self.interpreter.addr == other.interpreter.addr
            && self.pthread_id == other.pthread_id
            && self.native_thread_id == other.native_thread_id
    }
}

/// All interpreters of the process, newest first.
///
/// # Errors
/// When the list cannot be read or has a cycle.
pub fn interpreters(
    memory: &impl RemoteMemory,
    python: &Runtime,
) -> Result<Vec<Interpreter>, ReadError> {
    let layout = &python.layout.interpreter_state;
    let mut found: Vec<Interpreter> = Vec::new();
    let mut seen = HashSet::new();
    let mut addr = read_ptr(memory, python.roots.interpreters_head)?;
    while !addr.is_null() {
        if found.len() >= MAX_INTERPRETERS || !seen.insert(addr) {
            return Err(ReadError::corrupt("PyInterpreterState.next", addr));
        }
        // The structure has hundreds of KiB from 3.12 on, so only the fields are read.
        let (mut next, mut threads, mut id) = ([0; 8], [0; 8], [0; 8]);
        let mut parts: [(RemoteAddr, &mut [u8]); 3] = [
            (addr.offset(layout.next.into()), &mut next),
            (addr.offset(layout.threads_head.into()), &mut threads),
            (
                addr.offset(layout.id.unwrap_or(layout.next).into()),
                &mut id,
            ),
        ];
        memory.read_many(&mut parts)?;
        found.push(Interpreter {
            addr,
            id: layout.id.map_or(-1, |_| i64::from_le_bytes(id)),
            threads_head: RemoteAddr(u64::from_le_bytes(threads)),
        });
        addr = RemoteAddr(u64::from_le_bytes(next));
    }
    if layout.id.is_none() {
        for (id, interpreter) in found.iter_mut().rev().enumerate() {
            interpreter.id = i64::try_from(id).unwrap_or(i64::MAX);
        }
    }
    Ok(found)
}

/// The threads of an interpreter, newest first, and the error if the list ended early. `known` is the
/// number of threads of other interpreters.
pub fn threads(
    memory: &impl RemoteMemory,
    python: &Runtime,
    interpreter: Interpreter,
    known: usize,
) -> (Vec<ThreadState>, Option<ReadError>) {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut addr = interpreter.threads_head;
    while !addr.is_null() {
        if known + found.len() >= MAX_THREADS || !seen.insert(addr) {
            return (found, Some(ReadError::corrupt("PyThreadState.next", addr)));
        }
        match thread(memory, python, interpreter, addr) {
            Ok(thread) => {
                addr = thread.next;
                found.push(thread);
            }
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

/// The length of the part of a thread state that [`thread`] copies, in bytes.
pub fn thread_len(python: &Runtime) -> usize {
    let layout = &python.layout.thread_state;
    span(&[
        layout.next,
        layout.interp,
        layout.current_frame,
        layout.thread_id,
        layout.native_thread_id.unwrap_or(0),
    ])
}

/// Copies one thread state.
///
/// # Errors
/// When it cannot be read or belongs to another interpreter: the list has changed during the read.
pub fn thread(
    memory: &impl RemoteMemory,
    python: &Runtime,
    interpreter: Interpreter,
    addr: RemoteAddr,
) -> Result<ThreadState, ReadError> {
    const LARGEST: usize = 512;
    let layout = &python.layout.thread_state;
    let mut bytes = [0; LARGEST];
    let len = thread_len(python);
    let corrupt = || ReadError::corrupt("PyThreadState", addr);
    let copy = bytes.get_mut(..len).ok_or_else(corrupt)?;
    memory.read(addr, copy)?;
    let record = Record::new("PyThreadState", addr, copy);
    if record.ptr(layout.interp)? != interpreter.addr {
        return Err(corrupt());
    }
    Ok(ThreadState {
        addr,
        interpreter,
        next: record.ptr(layout.next)?,
        frame_root: record.ptr(layout.current_frame)?,
        pthread_id: record.u64(layout.thread_id)?,
        native_thread_id: layout
            .native_thread_id
            .map(|at| record.u64(at))
            .transpose()?,
    })
}
