//! Pass 1: the addresses of a thread's frames, leaf first. No names: those are looked up later
//! ([`code`](crate::cpython::code::cache)), when the target need not wait.

use python_offsets::consts::{
    CFRAME_PREVIOUS_AFTER_CURRENT_FRAME, FRAME_OWNED_BY_GENERATOR, FRAME_OWNED_BY_THREAD,
};
use python_offsets::layout::Offset;
use python_offsets::semantics::{Executable, FrameRoot, InstructionPointer};

use super::frame_cache::{FrameCache, MAX_KEPT, NewFrames};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr};
use crate::cpython::runtime::Runtime;
use crate::cpython::threads::interpreter::ThreadState;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::Prefetch;

/// The deepest stack that is followed. Recursion limits that people set stay below this.
const MAX_FRAMES: usize = 200_000;

/// A frame as addresses: which code, at which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Where the frame stands.
    pub addr: RemoteAddr,
    /// What it runs: a code object, or from 3.13 on possibly something else.
    pub executable: RemoteAddr,
    /// `f_lasti` (sign-extended) or the instruction's address, as
    /// [`InstructionPointer`](python_offsets::semantics::InstructionPointer) says.
    pub instruction: u64,
    /// Which copy of the instructions a free-threaded build runs (0: the code object's own).
    pub tlbc_index: u32,
    /// Whether the frame lives in a generator or coroutine (3.11+; before, always false).
    pub owned_by_generator: bool,
    /// Whether the chain ends at this frame though it cannot: see [`is_unlinked`].
    pub is_unlinked: bool,
}

/// How far a chain of frames can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafState {
    /// That cannot be told.
    Unknown,
    /// The innermost frame is one that runs.
    Executing,
    /// The innermost frame ran right before, and no frame had ended when it was copied; all are on the data
    /// stack, in one piece. What C calls, and what generators are called by, stands elsewhere and is copied
    /// later: the same places may be part of another stack by then.
    NotReturned,
    /// The innermost frame waits for one that it called, which is not there.
    AwaitingCallee,
}

/// The frames of a thread from its innermost one on, without entry and shim frames, put into `chain`,
/// which has those of the last walk. `memory` is the target's through `copy`. On an error the chain
/// holds the frames that were read before it.
///
/// `races`: the thread may have run on since `innermost` was read. Frames above one that runs, by its
/// own word, are what calls left behind that have ended, and are left out. So are, from 3.14 on, frames that
/// have no executable any more.
///
/// Also returns how many frames, from the root on, are what they were.
///
/// # Errors
/// When a frame cannot be read, the chain has a loop or is too long.
pub(crate) fn walk(
    memory: &impl RemoteMemory,
    copy: &Prefetch,
    python: &Runtime,
    innermost: RemoteAddr,
    races: bool,
    chain: &mut FrameCache,
) -> Result<(LeafState, usize), ReadError> {
    let mut fresh = std::mem::take(&mut chain.fresh);
    fresh.clear();
    chain.begin(frame_len(python), races);
    let followed = follow(memory, copy, python, innermost, races, chain, &mut fresh);
    let result = match followed {
        Ok((leaf, same)) => Ok((leaf, chain.replace(same, &fresh))),
        Err(error) => {
            chain.keep_partial(&fresh);
            Err(error)
        }
    };
    if fresh.links.len() <= MAX_KEPT {
        chain.fresh = fresh;
    }
    result
}

/// Follows the frames up to one from which on they are known: how many those are.
fn follow(
    memory: &impl RemoteMemory,
    copy: &Prefetch,
    python: &Runtime,
    innermost: RemoteAddr,
    races: bool,
    chain: &FrameCache,
    fresh: &mut NewFrames,
) -> Result<(LeafState, usize), ReadError> {
    let clears_executable_on_return = clears_executable_on_return(python);
    let mut addr = innermost;
    let len = frame_len(python);
    let mut bytes = [0; LARGEST];
    let buffer = bytes
        .get_mut(..len)
        .ok_or_else(|| ReadError::corrupt("_PyInterpreterFrame", addr))?;
    // Brent's way to find a loop: each frame is compared with one before it, which is moved up at
    // every power of two. A loop is noticed within three times its length and what leads to it.
    let (mut steps, mut next_mark, mut marked) = (0, 1, RemoteAddr::NULL);
    let mut leaf = LeafState::Unknown;
    let (mut above_is_called_by_c, mut passed_shim) = (false, false);
    let mut same = None;
    while !addr.is_null() {
        let known = chain.find(addr).filter(|&place| {
            place < *same.get_or_insert_with(|| chain.count_same(copy, place + 1))
        });
        if steps + known.unwrap_or(0) >= MAX_FRAMES {
            return Err(ReadError::too_much("the frames of a thread"));
        }
        if addr == marked {
            return Err(ReadError::corrupt("_PyInterpreterFrame.previous", addr));
        }
        steps += 1;
        if steps == next_mark {
            (next_mark, marked) = (steps * 2, addr);
        }
        let record = match known.and_then(|place| chain.record(place)) {
            Some(record) => record,
            None => {
                let bytes = match memory.view(addr, len) {
                    Some(bytes) => bytes,
                    None => {
                        memory.read(addr, buffer)?;
                        &*buffer
                    }
                };
                Record::new("_PyInterpreterFrame", addr, bytes)
            }
        };
        if !above_is_called_by_c && runs(python, &record)? {
            if races {
                fresh.clear();
                leaf = LeafState::Executing;
            } else {
                fresh.is_cut |= addr != innermost;
            }
        } else if races && addr == innermost && waits(python, &record)? {
            leaf = LeafState::AwaitingCallee;
        }
        if races
            && clears_executable_on_return
            && addr == innermost
            && owned_by_thread(python, &record)?
        {
            leaf = LeafState::NotReturned;
        }
        if let Some(place) = known {
            if leaf == LeafState::NotReturned && !chain.is_plain(place, passed_shim) {
                leaf = LeafState::Unknown;
            }
            return Ok((leaf, place + 1));
        }
        let (frame, previous) = decode(python, &record)?;
        passed_shim |= frame.is_none();
        if let Some(frame) = frame.filter(|_| clears_executable_on_return) {
            if frame.executable.is_null() {
                // It has ended, and what it called, too.
                if races {
                    fresh.clear();
                    leaf = LeafState::Unknown;
                    addr = previous;
                    continue;
                }
                fresh.is_cut = true;
            }
            if leaf == LeafState::NotReturned && (passed_shim || frame.owned_by_generator) {
                leaf = LeafState::Unknown;
            }
        }
        above_is_called_by_c = frame.is_none() || is_entry(python, &record)?;
        fresh.links.push((addr, frame));
        if fresh.links.len() <= MAX_KEPT {
            fresh.frame_bytes.extend_from_slice(record.bytes());
        }
        addr = previous;
    }
    Ok((leaf, 0))
}

/// The address of a thread's innermost frame, null when it runs none.
///
/// # Errors
/// When the `_PyCFrame` of 3.11 and 3.12 cannot be read.
pub fn innermost(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: &ThreadState,
) -> Result<RemoteAddr, ReadError> {
    match python.semantics.frame_root {
        FrameRoot::ThreadState => Ok(thread.frame_root),
        FrameRoot::CFrame if thread.frame_root.is_null() => Ok(RemoteAddr::NULL),
        FrameRoot::CFrame => {
            let field = python.layout.thread_state.cframe_current_frame.unwrap_or(0);
            read_ptr(memory, thread.frame_root.offset(field.into()))
        }
    }
}

/// Whether the innermost frame was one of `stack`, or none, when a thread's newest `_PyCFrame` came
/// (3.11). Otherwise the stack is not all of it.
///
/// # Errors
/// When one of the two `_PyCFrame`s cannot be read.
pub fn c_entry_is_on_stack(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: &ThreadState,
    stack: &[RawFrame],
) -> Result<bool, ReadError> {
    let semantics = &python.semantics;
    if semantics.has_shims() || semantics.frame_root != FrameRoot::CFrame {
        return Ok(false);
    }
    let field = python.layout.thread_state.cframe_current_frame.unwrap_or(0);
    let current_frame = thread.frame_root.offset(field.into());
    let previous = read_ptr(
        memory,
        current_frame.offset(CFRAME_PREVIOUS_AFTER_CURRENT_FRAME.into()),
    )?;
    if previous.is_null() {
        return Ok(false);
    }
    let caller = read_ptr(memory, previous.offset(field.into()))?;
    Ok(caller.is_null() || stack.iter().any(|frame| frame.addr == caller))
}

/// Whether a frame says that it runs, or waits for C.
fn runs(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    let stacktop = python.layout.interpreter_frame.stacktop;
    Ok(match stacktop {
        Some(at) => record.i32(at)? < 0,
        None => false,
    })
}

/// Whether a frame says that it waits for another that it called without C.
fn waits(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    let layout = &python.layout.interpreter_frame;
    let Some(stacktop) = layout.stacktop else {
        return Ok(false);
    };
    // One that is only being made has a stack, too. It stands at its first instruction, or before.
    let instructions = python.layout.code_object.co_code_adaptive.unwrap_or(0);
    let first = record.ptr(layout.executable)?.offset(instructions.into());
    Ok(record.i32(stacktop)? >= 0 && record.ptr(layout.instr_ptr)? > first)
}

/// Whether a frame that has ended has no executable any more (3.14+: `clear_thread_frame` in Python/ceval.c).
/// That of a generator function, which ends as it makes the generator, keeps it.
pub(crate) fn clears_executable_on_return(python: &Runtime) -> bool {
    matches!(python.semantics.executable, Executable::StackRef { .. })
}

/// Whether a frame stands on its thread's data stack.
fn owned_by_thread(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    Ok(match python.layout.interpreter_frame.owner {
        Some(at) => record.u8(at)? == FRAME_OWNED_BY_THREAD,
        None => false,
    })
}

/// Whether a frame says that C called it, where versions without shims say so.
fn is_entry(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    Ok(match python.layout.interpreter_frame.is_entry {
        Some(at) => record.u8(at)? != 0,
        None => false,
    })
}

/// The most of a frame that is copied.
const LARGEST: usize = 1024;

/// How much of a frame is copied: up to the last byte that is looked at, and none beyond. The first local
/// variable comes right behind, and a frame that holds another one still stands where it stood.
pub(crate) fn frame_len(python: &Runtime) -> usize {
    let layout = &python.layout.interpreter_frame;
    let instruction = match python.semantics.instruction_pointer {
        InstructionPointer::LastiBytes | InstructionPointer::LastiUnits => 4,
        InstructionPointer::Pointer => 8,
    };
    let end = |field: Option<Offset>, len| field.map_or(0, |at| at as usize + len);
    [
        end(Some(layout.previous), 8),
        end(Some(layout.executable), 8),
        end(Some(layout.instr_ptr), instruction),
        end(layout.owner, 1),
        end(layout.stacktop, 4),
        end(layout.is_entry, 1),
        end(layout.tlbc_index, 4),
    ]
    .into_iter()
    .fold(0, usize::max)
}

/// One frame, `None` where it is a shim, and the one that called it.
#[inline]
pub(crate) fn decode(
    python: &Runtime,
    record: &Record<'_>,
) -> Result<(Option<RawFrame>, RemoteAddr), ReadError> {
    let layout = &python.layout.interpreter_frame;
    let previous = record.ptr(layout.previous)?;
    let owner = layout.owner.map(|at| record.u8(at)).transpose()?;
    if owner.is_some_and(|owner| python.semantics.shim_owners.contains(&owner)) {
        return Ok((None, previous));
    }
    let executable = record.ptr(layout.executable)?;
    let executable = match python.semantics.executable {
        Executable::Code | Executable::Object => executable,
        Executable::StackRef { tag_mask } => executable.without_bits(tag_mask.into()),
    };
    let instruction = match python.semantics.instruction_pointer {
        InstructionPointer::LastiBytes | InstructionPointer::LastiUnits => {
            i64::from(record.i32(layout.instr_ptr)?).cast_unsigned()
        }
        InstructionPointer::Pointer => record.u64(layout.instr_ptr)?,
    };
    let tlbc_index = layout.tlbc_index.map_or(Ok(0), |at| record.u32(at))?;
    let owned_by_generator = owner == Some(FRAME_OWNED_BY_GENERATOR);
    let is_unlinked = previous.is_null() && is_unlinked(python, owned_by_generator);
    let frame = RawFrame {
        addr: record.addr(),
        executable,
        instruction,
        tlbc_index,
        owned_by_generator,
        is_unlinked,
    };
    Ok((Some(frame), previous))
}

/// Whether the frame at a chain's end hangs loose. Compilers reorder the stores by which CPython
/// resumes and suspends a generator (`YIELD_VALUE`, `SEND` and `FOR_ITER_GEN` in 3.12's
/// Python/bytecodes.c): for an instruction or two its frame is the thread's innermost and yet is
/// linked to nobody. From 3.12 on every chain ends at a shim; in 3.11, which has none, it is a
/// generator's frame that is suspect, though one called from C alone looks the same. There a new
/// `_PyCFrame` is the thread's own before its `current_frame` is set, too (`_PyEval_EvalFrameDefault`
/// in Python/ceval.c): what an old one has left in its place on the C stack may be a suspended
/// generator's frame. [`c_entry_is_on_stack`] tells.
fn is_unlinked(python: &Runtime, owned_by_generator: bool) -> bool {
    owned_by_generator || python.semantics.has_shims()
}

#[cfg(test)]
mod tests;
