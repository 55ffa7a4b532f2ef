//! Finding outer frames without the links between them.
//!
//! From 3.12 on a function that C called is linked to its caller through a frame on the C stack. A
//! core file may lack that: gdb's `gcore` fails at the guard page that glibc 2.42 and later put into a
//! thread's stack, and leaves the whole stack empty. But a thread's own frames are contiguous in its
//! data stack (3.11+), callers below callees: whatever there is a frame by all its fields is taken for
//! one. Frames of generators are elsewhere and cannot be found this way.
//!
//! The data stack is a list of `_PyStackChunk` (Include/cpython/pystate.h): the previous chunk, the size
//! in bytes, how many words are in use once there is a newer chunk, and the words. The first word of
//! the oldest chunk is not used (`push_chunk` in Python/pystate.c).

use std::collections::HashMap;

use python_offsets::consts::{FRAME_OWNED_BY_THREAD, STACK_CHUNK_DATA};
use python_offsets::semantics::InstructionPointer;

use super::walk::decode::{decode, frame_len};
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Offset of a chunk's words in bytes.
const HEAD: u64 = STACK_CHUNK_DATA as u64;
/// The most chunks of one thread, and the most bytes of them that are searched.
const MAX_CHUNKS: usize = 10_000;
const MAX_BYTES: u64 = 64 << 20;
/// The most frames that are added.
const MAX_FRAMES: usize = 200_000;
/// The most addresses that are tested for a code object.
const MAX_TESTED: usize = 1 << 18;
/// The most bytes between a code object and its last instruction. The longest functions are generated.
const MAX_CODE: u64 = 64 << 20;

/// Adds the missing outer frames of a stack whose chain is cut. Returns whether the stack is then whole,
/// frames of generators aside.
///
/// # Errors
/// When the data stack cannot be read.
pub fn complete(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: RemoteAddr,
    stack: &mut Vec<RawFrame>,
) -> Result<bool, ReadError> {
    // Remains of a frame on an emptied C stack.
    while stack.pop_if(|frame| frame.executable.is_null()).is_some() {}
    let known = stack.iter().rev().find(|frame| !frame.owned_by_generator);
    let (Some(known), Some(field)) = (known.copied(), python.layout.thread_state.datastack_chunk)
    else {
        return Ok(false);
    };
    let mut search = Search::new(memory, python, known.executable)?;
    let mut root = known.addr;
    let mut left = MAX_BYTES;
    let mut is_inside = false;
    let mut chunk = read_ptr(memory, thread.offset(field.into()))?;
    for _ in 0..MAX_CHUNKS {
        if chunk.is_null() {
            break;
        }
        let (mut previous, mut size, mut top) = ([0; 8], [0; 8], [0; 8]);
        memory.read_many(&mut [
            (chunk, &mut previous),
            (chunk.offset(8), &mut size),
            (chunk.offset(16), &mut top),
        ])?;
        let previous = RemoteAddr(u64::from_le_bytes(previous));
        let room = u64::from_le_bytes(size).saturating_sub(HEAD);
        let words = chunk.offset(HEAD);
        let used = if is_inside {
            u64::from_le_bytes(top).saturating_mul(8).min(room)
        } else {
            let offset = known.addr.distance_from(words);
            is_inside = offset.is_some_and(|offset| offset < room);
            offset.filter(|_| is_inside).unwrap_or(0)
        };
        if used > left {
            return Err(ReadError::too_much("the frames of a thread"));
        }
        left -= used;
        let before = stack.len();
        search.add(words, used, stack)?;
        if let Some(last) = stack.get(before..).and_then(<[_]>::last) {
            root = last.addr;
        }
        if previous.is_null() {
            return Ok(is_inside && root == words.offset(8));
        }
        chunk = previous;
    }
    Ok(false)
}

/// Distinguishes frames from other words.
struct Search<'a, M> {
    memory: &'a M,
    python: &'a Runtime,
    code_type: RemoteAddr,
    /// Addresses that were tested, and whether they are code objects.
    tested: HashMap<RemoteAddr, bool>,
}

impl<'a, M: RemoteMemory> Search<'a, M> {
    /// `code` is a code object.
    fn new(memory: &'a M, python: &'a Runtime, code: RemoteAddr) -> Result<Self, ReadError> {
        let field = python.layout.pyobject.ob_type;
        Ok(Search {
            memory,
            python,
            code_type: read_ptr(memory, code.offset(field.into()))?,
            tested: HashMap::new(),
        })
    }

    /// Adds the frames within some words of a data stack, callees first.
    fn add(
        &mut self,
        words: RemoteAddr,
        size: u64,
        stack: &mut Vec<RawFrame>,
    ) -> Result<(), ReadError> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.memory.read(words, &mut bytes)?;
        // No frame is shorter than its header.
        let length = frame_len(self.python).next_multiple_of(8);
        let mut end = bytes.len();
        while let Some(at) = end.checked_sub(length) {
            let addr = words.offset(at as u64);
            let frame = bytes.get(at..end).and_then(|bytes| {
                let record = Record::new("_PyInterpreterFrame", addr, bytes);
                self.frame(&record)
            });
            match frame {
                Some(_) if stack.len() >= MAX_FRAMES => {
                    return Err(ReadError::too_much("the frames of a thread"));
                }
                Some(frame) => {
                    stack.push(frame);
                    end = at;
                }
                None => end = end.saturating_sub(8),
            }
        }
        Ok(())
    }

    /// Decodes these bytes if they are a frame.
    fn frame(&mut self, record: &Record<'_>) -> Option<RawFrame> {
        let owner = self.python.layout.interpreter_frame.owner;
        if owner.is_some_and(|at| record.u8(at).ok() != Some(FRAME_OWNED_BY_THREAD)) {
            return None;
        }
        let (frame, _) = decode(self.python, record).ok()?;
        let frame = frame?;
        let is_frame = self.is_within(&frame) && self.is_code(frame.executable);
        is_frame.then_some(RawFrame {
            is_unlinked: false,
            ..frame
        })
    }

    /// Whether a frame's instruction is within the code that it runs.
    fn is_within(&self, frame: &RawFrame) -> bool {
        let code = &self.python.layout.code_object;
        match (
            self.python.semantics.instruction_pointer,
            code.co_code_adaptive,
        ) {
            // Before the first instruction, in 3.11 and 3.12, the pointer is one instruction before it.
            (InstructionPointer::Pointer, Some(first)) if frame.tlbc_index == 0 => {
                let first = frame.executable.offset(first.into()).offset_signed(-2);
                let distance = RemoteAddr(frame.instruction).distance_from(first);
                distance.is_some_and(|distance| distance < MAX_CODE)
            }
            _ => true,
        }
    }

    fn is_code(&mut self, addr: RemoteAddr) -> bool {
        if let Some(known) = self.tested.get(&addr) {
            return *known;
        }
        if addr.is_null() || self.tested.len() >= MAX_TESTED {
            return false;
        }
        let field = self.python.layout.pyobject.ob_type;
        let found = read_ptr(self.memory, addr.offset(field.into()));
        let is_code = found.is_ok_and(|found| found == self.code_type);
        self.tested.insert(addr, is_code);
        is_code
    }
}
