//! Finding outer frames without the links between them.
//!
//! From 3.12 on a function that C called is linked to its caller through a frame on the C stack. A
//! core file may lack that: gdb's `gcore` gives up on a thread's stack at the guard page that glibc 2.42
//! and later put into it, and leaves all of it empty. But a thread's own frames stand one above the
//! other in its data stack (3.11+), those of callers below: what stands there and is a frame by all its
//! fields is one. Frames of generators live elsewhere and cannot be found so.
//!
//! The data stack is a list of `_PyStackChunk` (Include/cpython/pystate.h): the older one, the size in
//! bytes, how many words of it are in use once there is a newer one, and the words. The first word of
//! the oldest is not used (`push_chunk` in Python/pystate.c).

use std::collections::HashMap;

use python_offsets::consts::{FRAME_OWNED_BY_THREAD, STACK_CHUNK_DATA};
use python_offsets::semantics::InstructionPointer;

use super::walk::{self, RawFrame};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Where a chunk's words start, in bytes.
const HEAD: u64 = STACK_CHUNK_DATA as u64;
/// The most chunks of one thread, and the most of them that is searched, in bytes.
const MAX_CHUNKS: usize = 10_000;
const MAX_BYTES: u64 = 64 << 20;
/// The most frames that are added.
const MAX_FRAMES: usize = 200_000;
/// The most words that are taken for a code object and looked at.
const MAX_TRIED: usize = 1 << 18;
/// How far an instruction may be from its code object. The longest functions are generated ones.
const MAX_CODE: u64 = 64 << 20;

/// Looks for the frames that are below the outermost one of a stack which broke off, and adds them.
/// Whether the stack is whole then, but for frames of generators.
///
/// # Errors
/// When the data stack cannot be read.
pub(crate) fn complete(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: RemoteAddr,
    stack: &mut Vec<RawFrame>,
) -> Result<bool, ReadError> {
    // What is left of a frame on an emptied C stack.
    while stack.pop_if(|frame| frame.executable.is_null()).is_some() {}
    let known = stack.iter().rev().find(|frame| !frame.owned_by_generator);
    let (Some(known), Some(field)) = (known.copied(), python.layout.thread_state.datastack_chunk)
    else {
        return Ok(false);
    };
    let mut search = Search::new(memory, python, known.executable)?;
    let mut outermost = known.addr;
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
            let place = known.addr.distance_from(words);
            is_inside = place.is_some_and(|place| place < room);
            place.filter(|_| is_inside).unwrap_or(0)
        };
        if used > left {
            return Err(ReadError::too_much("the frames of a thread"));
        }
        left -= used;
        let before = stack.len();
        search.add(words, used, stack)?;
        if let Some(last) = stack.get(before..).and_then(<[_]>::last) {
            outermost = last.addr;
        }
        if previous.is_null() {
            return Ok(is_inside && outermost == words.offset(8));
        }
        chunk = previous;
    }
    Ok(false)
}

/// What tells frames from other words.
struct Search<'a, M> {
    memory: &'a M,
    python: &'a Runtime,
    code_type: RemoteAddr,
    /// What was looked at already, and whether it is a code object.
    tried: HashMap<RemoteAddr, bool>,
}

impl<'a, M: RemoteMemory> Search<'a, M> {
    /// `code` is a code object.
    fn new(memory: &'a M, python: &'a Runtime, code: RemoteAddr) -> Result<Self, ReadError> {
        let field = python.layout.pyobject.ob_type;
        Ok(Search {
            memory,
            python,
            code_type: read_ptr(memory, code.offset(field.into()))?,
            tried: HashMap::new(),
        })
    }

    /// Adds the frames within some words of a data stack, the innermost first.
    fn add(
        &mut self,
        words: RemoteAddr,
        size: u64,
        stack: &mut Vec<RawFrame>,
    ) -> Result<(), ReadError> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.memory.read(words, &mut bytes)?;
        // No frame is shorter than what is looked at of one.
        let length = walk::frame_len(self.python).next_multiple_of(8);
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

    /// The frame that these bytes are, if they are one.
    fn frame(&mut self, record: &Record<'_>) -> Option<RawFrame> {
        let owner = self.python.layout.interpreter_frame.owner;
        if owner.is_some_and(|at| record.u8(at).ok() != Some(FRAME_OWNED_BY_THREAD)) {
            return None;
        }
        let (frame, _) = walk::decode(self.python, record).ok()?;
        let frame = frame?;
        let is_frame = self.is_within(&frame) && self.is_code(frame.executable);
        is_frame.then_some(RawFrame {
            is_unlinked: false,
            ..frame
        })
    }

    /// Whether a frame stands at an instruction of the code that it runs.
    fn is_within(&self, frame: &RawFrame) -> bool {
        let code = &self.python.layout.code_object;
        match (
            self.python.semantics.instruction_pointer,
            code.co_code_adaptive,
        ) {
            // Before its first instruction, in 3.11 and 3.12, it stands one before that.
            (InstructionPointer::Pointer, Some(first)) if frame.tlbc_index == 0 => {
                let first = frame.executable.offset(first.into()).offset_signed(-2);
                let distance = RemoteAddr(frame.instruction).distance_from(first);
                distance.is_some_and(|distance| distance < MAX_CODE)
            }
            _ => true,
        }
    }

    fn is_code(&mut self, addr: RemoteAddr) -> bool {
        if let Some(known) = self.tried.get(&addr) {
            return *known;
        }
        if addr.is_null() || self.tried.len() >= MAX_TRIED {
            return false;
        }
        let field = self.python.layout.pyobject.ob_type;
        let found = read_ptr(self.memory, addr.offset(field.into()));
        let is_code = found.is_ok_and(|found| found == self.code_type);
        self.tried.insert(addr, is_code);
        is_code
    }
}
