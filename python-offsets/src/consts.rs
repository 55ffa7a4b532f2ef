//! Offsets and values that are the same in every version that has them, and that neither the target's
//! own table nor a data file lists. Compared with the headers of v3.11.7, v3.12.1, v3.13.0, v3.14.10 and
//! v3.15.2.

use crate::layout::Offset;

/// `FRAME_OWNED_BY_THREAD` of `enum _frameowner` (`Include/internal/pycore_frame.h`, from 3.14 on
/// `pycore_interpframe_structs.h`; 3.11+): the frame is on the thread's data stack.
pub const FRAME_OWNED_BY_THREAD: u8 = 0;

/// The `PyFrameState`s of a frame that executes or waits for a call: `FRAME_EXECUTING` and `FRAME_UNWINDING`
/// (`Include/cpython/frameobject.h` of v3.10.13).
pub const FRAME_STATES_EXECUTING: [u8; 2] = [0, 2];

/// `FRAME_OWNED_BY_GENERATOR` of `enum _frameowner`: the frame is part of a generator or coroutine.
pub const FRAME_OWNED_BY_GENERATOR: u8 = 1;

/// From `_PyCFrame.current_frame` to `_PyCFrame.previous` (`Include/cpython/pystate.h`; 3.11 and 3.12).
pub const CFRAME_PREVIOUS_AFTER_CURRENT_FRAME: Offset = 8;

/// `_PyStackChunk.data`, after `previous`, `size` and `top` (`Include/cpython/pystate.h`; 3.11+).
pub const STACK_CHUNK_DATA: Offset = 24;

/// `_PyCodeArray.entries`, pointers after the `Py_ssize_t` `size` (`Include/cpython/code.h`; 3.14+).
pub const CODE_ARRAY_ENTRIES: Offset = 8;
