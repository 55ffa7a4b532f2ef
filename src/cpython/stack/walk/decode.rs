//! Decoding one frame: which bytes of it are read, and what they mean.

use python_offsets::consts::{
    FRAME_OWNED_BY_GENERATOR, FRAME_OWNED_BY_THREAD, FRAME_STATES_EXECUTING,
};
use python_offsets::layout::Offset;
use python_offsets::semantics::{Executable, InstructionPointer};

use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::Record;
use crate::cpython::runtime::Runtime;
use crate::os::memory::address::RemoteAddr;

/// How much of a frame is copied: up to the end of the last field that is used, and no more. The first
/// local variable may follow immediately, and it changes while the frame stays the same.
pub fn frame_len(python: &Runtime) -> usize {
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
        end(layout.generator, 8),
        end(layout.executing, 1),
        end(layout.state, 1),
    ]
    .into_iter()
    .fold(0, usize::max)
}

/// Decodes a frame (`None` for a shim) and the address of its caller's frame. Where there are shims it does
/// not show whether C called it: see [`FrameCache::replace`].
///
/// [`FrameCache::replace`]: crate::cpython::stack::frame_cache::FrameCache::replace
#[inline]
pub fn decode(
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
    let is_unlinked = previous.is_null()
        && (needs_caller(python, owned_by_generator) || is_suspended_generator(python, record)?);
    let frame = RawFrame {
        addr: record.addr(),
        executable,
        instruction,
        tlbc_index,
        owned_by_generator,
        is_unlinked,
        called_by_c: owner.is_none() || is_entry(python, record)?,
    };
    Ok((Some(frame), previous))
}

/// Whether a frame cannot be the root end of a chain.
///
/// Compilers reorder the stores by which CPython resumes and suspends a generator (`YIELD_VALUE`, `SEND`
/// and `FOR_ITER_GEN` in 3.12's Python/bytecodes.c): for an instruction or two its frame is the current
/// one and has no caller link. From 3.12 on every chain ends at a shim. 3.11 has no shims; there a
/// generator's frame at the root is suspect, though one called from C alone looks the same. There a new
/// `_PyCFrame` becomes the thread's before its `current_frame` is set, too (`_PyEval_EvalFrameDefault`
/// in Python/ceval.c): what an old one left at its place on the C stack may be a suspended
/// generator's frame. `first_c_entry_is_on_stack` distinguishes these.
fn needs_caller(python: &Runtime, owned_by_generator: bool) -> bool {
    owned_by_generator || python.semantics.has_shims()
}

/// Whether a frame is part of a generator that is not running (3.4 to 3.10). Up to 3.10 `f_back` of such a
/// frame is null: it is set before the frame is marked as executing, and cleared after it is not so any more
/// (`gen_send_ex` in Objects/genobject.c). In a generator that C called outside of all frames it is null, too,
/// but that frame executes. So a chain that ends here was copied while the generator was resumed or suspended.
fn is_suspended_generator(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    let layout = &python.layout.interpreter_frame;
    let Some(generator) = layout.generator else {
        return Ok(false);
    };
    let executes = match (layout.executing, layout.state) {
        (Some(at), _) => record.u8(at)? != 0,
        (None, Some(at)) => FRAME_STATES_EXECUTING.contains(&record.u8(at)?),
        (None, None) => true,
    };
    Ok(!executes && !record.ptr(generator)?.is_null())
}

/// Whether a frame is marked as executing, or waits for C.
pub fn is_executing(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    Ok(match python.layout.interpreter_frame.stacktop {
        Some(at) => record.i32(at)? < 0,
        None => false,
    })
}

/// Whether a frame is marked as waiting for a callee that it called without C.
pub fn is_awaiting_callee(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    let layout = &python.layout.interpreter_frame;
    let Some(stacktop) = layout.stacktop else {
        return Ok(false);
    };
    // A frame that is being set up has a stack top, too; its instruction is the first one or before it.
    let instructions = python.layout.code_object.co_code_adaptive.unwrap_or(0);
    let first = record.ptr(layout.executable)?.offset(instructions.into());
    Ok(record.i32(stacktop)? >= 0 && record.ptr(layout.instr_ptr)? > first)
}

/// Whether a frame that returns loses its executable (3.14+: `clear_thread_frame` in Python/ceval.c). The
/// frame of a generator function, which ends as it creates the generator, does not.
pub fn clears_executable_on_return(python: &Runtime) -> bool {
    matches!(python.semantics.executable, Executable::StackRef { .. })
}

/// Whether a chain may end too early without a sign, at the frame of a generator that is just resumed (before 3.11):
/// 2.7 has no sign, and from 3.4 on the link to the caller is copied a moment before the state.
pub fn may_hide_missing_root(python: &Runtime) -> bool {
    python.layout.interpreter_frame.owner.is_none()
}

/// Whether a frame is on its thread's data stack.
pub fn owned_by_thread(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    Ok(match python.layout.interpreter_frame.owner {
        Some(at) => record.u8(at)? == FRAME_OWNED_BY_THREAD,
        None => false,
    })
}

/// Whether a frame is marked as called by C, where versions without shims have that field.
pub fn is_entry(python: &Runtime, record: &Record<'_>) -> Result<bool, ReadError> {
    Ok(match python.layout.interpreter_frame.is_entry {
        Some(at) => record.u8(at)? != 0,
        None => false,
    })
}
