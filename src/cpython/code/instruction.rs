//! [`byte_offset`]: the position of a frame in its code.

use python_offsets::consts::CODE_ARRAY_ENTRIES;
use python_offsets::semantics::InstructionPointer;

use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr};
use crate::cpython::values::object::Objects;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Bytes of a code unit, since 3.6.
pub const CODE_UNIT: i64 = 2;
/// The longest array of thread-local bytecode copies (one for each thread that ever ran).
const MAX_TLBC: u64 = 100_000;

/// The byte offset of a frame's instruction in its code, whose own instructions start at
/// `instructions`; −1 or less before the first.
pub fn byte_offset<M: RemoteMemory>(
    objects: Objects<'_, M>,
    raw: &RawFrame,
    instructions: RemoteAddr,
) -> Result<i64, ReadError> {
    let instruction = raw.instruction.cast_signed();
    Ok(match objects.python.semantics.instruction_pointer {
        InstructionPointer::LastiBytes => instruction,
        InstructionPointer::LastiUnits => instruction.saturating_mul(CODE_UNIT),
        InstructionPointer::Pointer => {
            let start = match raw.tlbc_index {
                0 => instructions,
                index => thread_local_instructions(objects, raw.executable, index)?,
            };
            instruction.wrapping_sub(start.0.cast_signed())
        }
    })
}

/// The address of a thread's own copy of a code object's instructions: entry `index` of its
/// `_PyCodeArray` (`Include/internal/pycore_code.h`, 3.14: a size, then the pointers).
fn thread_local_instructions<M: RemoteMemory>(
    objects: Objects<'_, M>,
    code: RemoteAddr,
    index: u32,
) -> Result<RemoteAddr, ReadError> {
    let corrupt = || ReadError::corrupt("_PyCodeArray", code);
    let field = objects
        .python
        .layout
        .code_object
        .co_tlbc
        .ok_or_else(corrupt)?;
    let array = read_ptr(objects.memory, code.offset(field.into()))?;
    let mut size = [0; 8];
    objects.memory.read(array, &mut size)?;
    let size = Record::new("_PyCodeArray", array, &size).u64(0)?;
    let index = u64::from(index);
    if index >= size.min(MAX_TLBC) {
        return Err(corrupt());
    }
    let entries = u64::from(CODE_ARRAY_ENTRIES);
    read_ptr(objects.memory, array.offset(entries + index * 8))
}
