//! [`Semantics`]: what offsets cannot say about a CPython version.
//!
//! Each enum answers one question that a reader asks; a new CPython answers them anew in its data
//! file. Nothing outside this crate compares version numbers.

/// What a CPython version means by the fields that [`Layout`](crate::Layout) locates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// How a thread state leads to its innermost frame.
    pub frame_root: FrameRoot,
    /// What a frame's instruction field holds.
    pub instruction_pointer: InstructionPointer,
    /// The encoding of a code object's line table.
    pub line_table: LineTable,
    /// What a frame's executable field holds.
    pub executable: Executable,
    /// Values of `owner` whose frames are entry, shim or trampoline frames and never shown.
    pub shim_owners: &'static [u8],
    /// Which field tells who holds the GIL.
    pub gil_holder: GilHolder,
    /// Whether the build is free-threaded.
    pub free_threaded: bool,
    /// How `str` (and Python 2's `unicode`) objects are laid out.
    pub str_format: StrFormat,
    /// How `int` (and Python 2's `long`) objects are laid out.
    pub int_format: IntFormat,
    /// How `dict` objects are laid out.
    pub dict_format: DictFormat,
    /// Where an instance keeps its attributes.
    pub instance_dict: InstanceDict,
}

impl Semantics {
    /// Whether every chain of frames ends at one that is never shown (3.12+).
    #[must_use]
    pub const fn has_shims(&self) -> bool {
        !self.shim_owners.is_empty()
    }
}

/// How a thread state leads to its innermost frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRoot {
    /// `thread_state.current_frame` points to it (`frame` up to 3.10, `current_frame` from 3.13).
    ThreadState,
    /// `thread_state.current_frame` points to a `_PyCFrame` whose `current_frame` points to it
    /// (3.11 and 3.12).
    CFrame,
}

/// What a frame's instruction field holds. Every variant names the instruction that runs, or the
/// call that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionPointer {
    /// The int `f_lasti`, in bytes, −1 before the first instruction (to 3.9).
    LastiBytes,
    /// The int `f_lasti`, in code units of two bytes, −1 before the first (3.10).
    LastiUnits,
    /// A pointer into the code object's instructions (3.11+), possibly one unit before the first. To
    /// 3.12 it may rest on an inline cache entry of the instruction; those share its line. In a
    /// free-threaded build from 3.14 on it may point into the thread's own copy (`co_tlbc`).
    Pointer,
}

/// The encoding of a code object's line table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTable {
    /// `co_lnotab` with unsigned line steps (to 3.5).
    LnotabUnsigned,
    /// `co_lnotab` with signed line steps (3.6 to 3.9).
    LnotabSigned,
    /// `co_linetable` of PEP 626 (3.10).
    Pep626,
    /// The location table of PEP 657, with columns (3.11+).
    Locations,
}

/// What a frame's executable field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executable {
    /// Always a code object (to 3.12).
    Code,
    /// Any object; a frame whose object is not a code object is no Python frame (3.13+).
    Object,
    /// As `Object`, a tagged reference (`_PyStackRef`) whose bits of this mask are flags (3.14+). So
    /// are the values in `interpreter_frame.localsplus`.
    StackRef {
        /// The low bits that are not part of the address.
        tag_mask: u8,
    },
}

/// Which field tells who holds the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilHolder {
    /// The static variable `_PyThreadState_Current` (to 3.6).
    Symbol,
    /// `runtime_state.tstate_current` (3.7 to 3.11).
    Runtime,
    /// `last_holder` of the interpreter's own GIL while `locked` (3.12+); in a free-threaded build
    /// only while `enabled`.
    Interpreter,
}

/// How `str` objects are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrFormat {
    /// Python 2: `str` is [`BytesObject`](crate::layout::BytesObject); `unicode` is an array of 2
    /// or 4 bytes a code unit, by build.
    Python2,
    /// PEP 393 (3.3+): `state` holds the kind (bytes a code point) and two flags.
    Pep393 {
        /// Lowest bit of the 3-bit `kind` in `state`.
        kind_shift: u8,
        /// The bit `compact` in `state`.
        compact_bit: u8,
        /// The bit `ascii` in `state`.
        ascii_bit: u8,
    },
}

/// How `int` objects are laid out. Digits have 30 bits in 4 bytes on every 64-bit build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntFormat {
    /// `ob_size` counts the digits, its sign is the number's (to 3.11, and Python 2's `long`).
    SignedSize,
    /// `lv_tag`: digits in the bits from 3 up, sign in the low two (0 +, 1 zero, 2 −) (3.12+).
    Tagged,
}

/// How `dict` objects are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictFormat {
    /// Python 2: an open table of `{hash, key, value}` behind `ma_table`, `ma_mask + 1` slots.
    OpenTable,
    /// 3.3 to 3.5: `dk_size` entries of `{hash, key, value}` in the keys object; values apart when
    /// split.
    KeysTable,
    /// 3.6 to 3.10: indices, then `dk_nentries` entries of `{hash, key, value}`.
    Compact,
    /// 3.11+: as `Compact`; sizes are logarithms; `dk_kind` 0 has `{hash, key, value}`, others
    /// `{key, value}`.
    CompactKinds,
}

/// Where an instance keeps its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceDict {
    /// `tp_dictoffset` locates a dict pointer (to 3.10; also later when the type is not managed).
    DictOffset,
    /// 3.11: a values pointer and a dict pointer in the two words before the GC head when the type
    /// has `Py_TPFLAGS_MANAGED_DICT`.
    ValuesBeforeObject {
        /// Offset of the values pointer from the object (negative).
        values: i32,
        /// Offset of the dict pointer from the object (negative).
        dict: i32,
    },
    /// 3.12: one word before the object that is a dict pointer or, with its low bit set, values:
    /// CPython stores the values pointer less one, so the values are at the word plus one.
    TaggedBeforeObject {
        /// Offset of the word from the object (negative).
        dict_or_values: i32,
    },
    /// 3.13+: the values follow the object at `tp_basicsize` when the type has
    /// `Py_TPFLAGS_INLINE_VALUES`; the managed dict pointer stands before it. The values count while
    /// `dict_keys.values_valid` is not 0.
    InlineValues {
        /// Offset of the managed dict pointer from the object (negative).
        dict: i32,
    },
}
