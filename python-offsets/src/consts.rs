//! Layout facts that are the same in every version that has them, so that no table carries them.
//!
//! `tests/live_headers.rs` does not compile against these; each names the header that it is from. A new
//! version that changes one makes it a field of [`Layout`](crate::Layout) or a question in
//! [`Semantics`](crate::Semantics).

/// `FRAME_OWNED_BY_THREAD` of `enum _frameowner`: the frame is in the thread's data stack.
/// `Include/internal/pycore_frame.h` in 3.11 to 3.13, `pycore_interpframe_structs.h` from 3.14.
pub const FRAME_OWNED_BY_THREAD: u8 = 0;

/// `FRAME_OWNED_BY_GENERATOR` of the same `enum`: the frame is inside a generator or coroutine.
pub const FRAME_OWNED_BY_GENERATOR: u8 = 1;

/// The distance from `_PyCFrame.current_frame` to `_PyCFrame.previous`, in bytes: the two are next to
/// each other. `Include/cpython/pystate.h` of 3.11 and 3.12, the only versions with this structure.
pub const CFRAME_PREVIOUS_AFTER_CURRENT_FRAME: u64 = 8;

/// The offset of `_PyStackChunk.data`, in bytes: the structure begins with `previous`, `size` and
/// `top`, of 8 bytes each. `Include/cpython/pystate.h` from 3.11 on.
pub const STACK_CHUNK_DATA: u64 = 24;

/// The offset of entry `index` of a `_PyCodeArray`, in bytes: its `size`, then one pointer an entry.
/// `Include/internal/pycore_code.h` from 3.14 on, used by free-threaded builds.
#[must_use]
pub const fn code_array_entry(index: u32) -> u64 {
    8 + 8 * index as u64
}
