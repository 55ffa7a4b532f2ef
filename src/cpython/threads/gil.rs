//! Which thread holds the GIL.

use std::collections::HashMap;

use python_offsets::semantics::GilHolder;

use super::interpreter::{Interpreter, interpreters};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_i32, read_ptr, span};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// The thread state that holds the interpreter's GIL; `None` if no thread does or the build runs
/// without one. `lock` is the result of [`lock_of`].
pub fn holder(
    memory: &impl RemoteMemory,
    python: &Runtime,
    lock: Option<RemoteAddr>,
) -> Result<Option<RemoteAddr>, ReadError> {
    let holder = match python.semantics.gil_holder {
        GilHolder::Symbol | GilHolder::Runtime => match python.roots.tstate_current {
            Some(variable) => read_ptr(memory, variable)?,
            None => RemoteAddr::NULL,
        },
        GilHolder::Interpreter => {
            let Some(lock) = lock else {
                return Ok(None);
            };
            let layout = &python.layout.gil_runtime_state;
            if let Some(enabled) = layout.enabled
                && read_i32(memory, lock.offset(enabled.into()))? == 0
            {
                return Ok(None);
            }
            if read_i32(memory, lock.offset(layout.locked.into()))? != 1 {
                return Ok(None);
            }
            read_ptr(memory, lock.offset(layout.last_holder.into()))?
        }
    };
    Ok(Some(holder).filter(|holder| !holder.is_null()))
}

/// Whether a thread state holds its interpreter's GIL; `None` if that is unknown: the build runs
/// without one, or its address is unknown. One read.
pub fn holds(
    memory: &impl RemoteMemory,
    python: &Runtime,
    lock: Option<RemoteAddr>,
    thread: RemoteAddr,
) -> Result<Option<bool>, ReadError> {
    let holder = match python.semantics.gil_holder {
        GilHolder::Symbol | GilHolder::Runtime if python.roots.tstate_current.is_none() => {
            return Ok(None);
        }
        GilHolder::Symbol | GilHolder::Runtime => holder(memory, python, lock)?,
        GilHolder::Interpreter => {
            let (Some(lock), false) = (lock, python.semantics.free_threaded) else {
                return Ok(None);
            };
            let layout = &python.layout.gil_runtime_state;
            // Both fields are at the start of the structure, next to each other.
            let mut bytes = [0; 64];
            let bytes = bytes
                .get_mut(..span(&[layout.last_holder, layout.locked]))
                .ok_or_else(|| ReadError::corrupt("_gil_runtime_state", lock))?;
            memory.read(lock, bytes)?;
            let record = Record::new("_gil_runtime_state", lock, bytes);
            let is_locked = record.i32(layout.locked)? == 1;
            is_locked.then_some(record.ptr(layout.last_holder)?)
        }
    };
    Ok(Some(holder == Some(thread)))
}

/// The `_gil_runtime_state` that an interpreter uses: its own, or that of the main interpreter. It
/// never changes during an interpreter's life (`init_interp_create_gil` in Python/pylifecycle.c,
/// 3.12+). `None` if all interpreters share one, or if it is unknown.
pub fn lock_of(
    memory: &impl RemoteMemory,
    python: &Runtime,
    interpreter: Interpreter,
) -> Result<Option<RemoteAddr>, ReadError> {
    let Some(ceval_gil) = python.layout.interpreter_state.ceval_gil else {
        return Ok(None);
    };
    let lock = read_ptr(memory, interpreter.addr.offset(ceval_gil.into()))?;
    Ok(Some(lock).filter(|lock| !lock.is_null()))
}

/// An interpreter and the GIL that its threads use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterGil {
    pub id: i64,
    /// The id of the oldest interpreter that uses the same GIL: its own if the GIL is not shared,
    /// usually that of the main interpreter if it is. `None` in a free-threaded build without GIL.
    pub gil: Option<i64>,
}

/// The interpreters, oldest first, each with its GIL.
pub fn interpreter_gils(
    memory: &impl RemoteMemory,
    python: &Runtime,
) -> Result<Vec<InterpreterGil>, ReadError> {
    let mut owners = HashMap::new();
    let found = interpreters(memory, python)?;
    let gils = found.into_iter().rev().map(|interpreter| {
        let id = interpreter.id;
        let lock = match python.semantics.gil_holder {
            // All interpreters share one GIL.
            GilHolder::Symbol | GilHolder::Runtime => Some(RemoteAddr::NULL),
            GilHolder::Interpreter => lock_of(memory, python, interpreter)?,
        };
        let gil = match lock {
            Some(gil) if is_enabled(memory, python, gil)? => Some(*owners.entry(gil).or_insert(id)),
            _ => None,
        };
        Ok(InterpreterGil { id, gil })
    });
    gils.collect()
}

/// Whether a GIL is in use: a free-threaded build can switch it on and off.
fn is_enabled(
    memory: &impl RemoteMemory,
    python: &Runtime,
    gil: RemoteAddr,
) -> Result<bool, ReadError> {
    Ok(match python.layout.gil_runtime_state.enabled {
        Some(enabled) => read_i32(memory, gil.offset(enabled.into()))? != 0,
        None => true,
    })
}
