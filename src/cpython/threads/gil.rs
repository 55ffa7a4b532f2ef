//! Who holds the GIL, and who collects garbage.

use std::collections::HashMap;

use python_offsets::semantics::GilHolder;

use super::interpreter::{Interpreter, interpreters};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_i32, read_ptr, span};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// The thread state that holds the interpreter's GIL now, or `None` when nobody does or the build
/// runs without one. `lock` is what [`lock_of`] found.
///
/// # Errors
/// When the fields cannot be read.
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

/// Whether a thread state holds its interpreter's GIL at this moment; `None` where that cannot be told:
/// the build runs without one, or it is not known where it is. One read.
///
/// # Errors
/// When the fields cannot be read.
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
            // They stand at its start, side by side.
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

/// The `_gil_runtime_state` that an interpreter uses: its own, or the main interpreter's. It stays the same
/// for as long as the interpreter is there (`init_interp_create_gil` in Python/pylifecycle.c, 3.12 on).
/// `None` where there is one for all interpreters, or where it is not known.
///
/// # Errors
/// When the field cannot be read.
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

/// An interpreter, and by whose GIL its threads take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterGil {
    /// The interpreter's id.
    pub id: i64,
    /// The id of the oldest interpreter that has the same GIL: its own if it shares with nobody, mostly
    /// the main one's if it does. `None` when it runs without one (a free-threaded build).
    pub gil: Option<i64>,
}

/// The interpreters, oldest first, each with its GIL.
///
/// # Errors
/// When the list or a GIL cannot be read.
pub fn interpreter_gils(
    memory: &impl RemoteMemory,
    python: &Runtime,
) -> Result<Vec<InterpreterGil>, ReadError> {
    let mut owners = HashMap::new();
    let found = interpreters(memory, python)?;
    let gils = found.into_iter().rev().map(|interpreter| {
        let id = interpreter.id;
        let lock = match python.semantics.gil_holder {
            // There is one for all of them.
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

/// Whether a GIL is used at all: in a free-threaded build it may be switched on and off.
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

/// A garbage collection that runs in an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The frame in which it started, where the version keeps that (3.15).
    pub frame: Option<RemoteAddr>,
}

/// The garbage collection that the interpreter runs, if any. Never one before 3.7, where the flag is
/// a static variable without a name.
///
/// # Errors
/// When the flag cannot be read.
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
