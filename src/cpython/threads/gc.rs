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
    let Some(collecting) = python.layout.gc.collecting else {
        return Ok(None);
    };
    let state = match (
        python.layout.interpreter_state.gc,
        python.layout.runtime_state.gc,
    ) {
        (Some(gc), _) => interpreter.addr.offset(gc.into()),
        (None, Some(gc)) => match python.roots.runtime {
            Some(runtime) => runtime.offset(gc.into()),
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    if read_i32(memory, state.offset(collecting.into()))? == 0 {
        return Ok(None);
    }
    let frame = python.layout.gc.frame;
    let frame = frame
        .map(|at| read_ptr(memory, state.offset(at.into())))
        .transpose()?;
    Ok(Some(Collection {
        frame: frame.filter(|frame| !frame.is_null()),
    }))
}
