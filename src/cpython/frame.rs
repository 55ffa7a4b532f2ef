//! [`RawFrame`]: a frame as addresses, before its names are resolved.

use crate::os::memory::address::RemoteAddr;

/// The longest stack that is cached from one sample to the next.
pub const MAX_CACHED_FRAMES: usize = 20_000;

/// A frame as addresses: which code, at which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// The frame's address.
    pub addr: RemoteAddr,
    /// A code object, or from 3.13 on possibly another object.
    pub executable: RemoteAddr,
    /// `f_lasti` (sign-extended) or the address of the instruction, depending on
    /// [`InstructionPointer`](python_offsets::semantics::InstructionPointer).
    pub instruction: u64,
    /// Which copy of the instructions a free-threaded build runs (0: the code object's own).
    pub tlbc_index: u32,
    /// Whether the frame is part of a generator or coroutine (3.11+; always false before).
    pub owned_by_generator: bool,
    /// Whether this is the root end of a chain that lacks its caller link. While a generator is being
    /// resumed, its frame is the current frame for one or two instructions before `previous` is set.
    pub is_unlinked: bool,
    /// Whether C called it, and not the interpreter's loop that also runs its caller: then the C stack has
    /// a loop of its own for it and the frames that it calls without C. Up to 3.10 all frames are such.
    pub called_by_c: bool,
}
