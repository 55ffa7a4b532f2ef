//! Whether an interpreter runs a garbage collection.

use super::interpreter::Interpreter;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{read_i32, read_ptr};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// A running garbage collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The frame in which it started, if the version has that field (3.15+).
    pub frame: Option<RemoteAddr>,
}

/// The garbage collection that the interpreter runs, if any. Always `None` before 3.7, where the flag
/// is a static variable that no symbol names.
pub fn collection(
    memory: &impl RemoteMemory,
    python: &Runtime,
    interpreter: Interpreter,
) -> Result<Option<Collection>, ReadError> {
    let Some((collecting, frame)) = fields(python, interpreter) else {
        return Ok(None);
    };
    if read_i32(memory, collecting)? == 0 {
        return Ok(None);
    }
    let frame = frame.map(|addr| read_ptr(memory, addr)).transpose()?;
    Ok(Some(Collection {
        frame: frame.filter(|frame| !frame.is_null()),
    }))
}

/// The addresses of the flag, an int, and of the pointer to the frame, as far as the version has them.
pub fn fields(
    python: &Runtime,
    interpreter: Interpreter,
) -> Option<(RemoteAddr, Option<RemoteAddr>)> {
    let gc = &python.layout.gc;
    let collecting = gc.collecting?;
    let state = match (
        python.layout.interpreter_state.gc,
        python.layout.runtime_state.gc,
    ) {
        (Some(gc), _) => interpreter.addr.offset(gc.into()),
        (None, Some(gc)) => python.roots.runtime?.offset(gc.into()),
        (None, None) => return None,
    };
    let frame = gc.frame.map(|at| state.offset(at.into()));
    Some((state.offset(collecting.into()), frame))
}
