//! [`Semantics`]: the differences between CPython versions that offsets do not express.
//!
//! Each enum is one such difference, and each version's data file has its values. No code outside this
//! crate compares version numbers.

/// The meaning of the fields of a [`Layout`](crate::Layout) in one CPython version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// How a thread state leads to its leaf frame.
    pub frame_root: FrameRoot,
    /// The type of a frame's instruction field.
    pub instruction_pointer: InstructionPointer,
    /// The encoding of a code object's line table.
    pub line_table: LineTable,
    /// The type of a frame's executable field.
    pub executable: Executable,
    /// Values of `owner` of entry, shim and trampoline frames, which are never shown.
    pub shim_owners: &'static [u8],
    /// The field with the thread that holds the GIL.
    pub gil_holder: GilHolder,
    /// Whether the build is free-threaded.
    pub free_threaded: bool,
    /// The layout of `str` (and Python 2's `unicode`) objects.
    pub str_format: StrFormat,
    /// The layout of `int` (and Python 2's `long`) objects.
    pub int_format: IntFormat,
    /// The layout of `dict` objects.
    pub dict_format: DictFormat,
    /// Where an instance stores its attributes.
    pub instance_dict: InstanceDict,
}

impl Semantics {
    /// Whether every chain of frames ends at one of [`shim_owners`](Semantics::shim_owners) (3.12+).
    #[must_use]
    pub const fn has_shims(&self) -> bool {
        !self.shim_owners.is_empty()
    }
}

/// How a thread state leads to its leaf frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRoot {
    /// `thread_state.current_frame` points to it (`frame` up to 3.10, `current_frame` from 3.13).
    ThreadState,
    /// `thread_state.current_frame` points to a `_PyCFrame` whose `current_frame` points to it
    /// (3.11 and 3.12).
    CFrame,
}

/// The type of a frame's instruction field. Every variant is the instruction that is executed, or the
/// call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionPointer {
    /// The int `f_lasti`, in bytes, −1 before the first instruction (to 3.9).
    LastiBytes,
    /// The int `f_lasti`, in code units of two bytes, −1 before the first (3.10).
    LastiUnits,
    /// A pointer into the code object's instructions (3.11+), possibly one unit before the first. Up to
    /// 3.12 it may point to an inline cache entry of the instruction; those have the same line. In a
    /// free-threaded build (3.14+) it may point into the thread's own copy (`co_tlbc`).
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

/// The type of a frame's executable field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executable {
    /// Always a code object (to 3.12).
    Code,
    /// Any object; a frame whose object is not a code object is not a Python frame (3.13+).
    Object,
    /// As `Object`, but a tagged reference (`_PyStackRef`), with flags in the bits of this mask (3.14+).
    /// The values in `interpreter_frame.localsplus` have the same form.
    StackRef {
        /// The low bits that are not part of the address.
        tag_mask: u8,
    },
}

/// The field with the thread that holds the GIL.
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

/// The layout of `str` objects.
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

/// The layout of `int` objects. Digits have 30 bits in 4 bytes on every 64-bit build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntFormat {
    /// `ob_size` is the number of digits, its sign that of the int (to 3.11, and Python 2's `long`).
    SignedSize,
    /// `lv_tag`: digits in the bits from 3 up, sign in the low two (0 +, 1 zero, 2 −) (3.12+).
    Tagged,
}

/// The layout of `dict` objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictFormat {
    /// Python 2: an open table of `{hash, key, value}` behind `ma_table`, `ma_mask + 1` slots.
    OpenTable,
    /// 3.3 to 3.5: `dk_size` entries of `{hash, key, value}` in the keys object; in a split table the
    /// values are in a separate array.
    KeysTable,
    /// 3.6 to 3.10: indices, then `dk_nentries` entries of `{hash, key, value}`.
    Compact,
    /// 3.11+: as `Compact`; sizes are logarithms; `dk_kind` 0 has `{hash, key, value}`, others
    /// `{key, value}`.
    CompactKinds,
}

/// Where an instance stores its attributes.
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
    /// 3.12: one word before the object: a dict pointer or, with its low bit set, the address of the
    /// values minus one.
    TaggedBeforeObject {
        /// Offset of the word from the object (negative).
        dict_or_values: i32,
    },
    /// 3.13+: the values follow the object at `tp_basicsize` when the type has
    /// `Py_TPFLAGS_INLINE_VALUES`; the managed dict pointer is in front of it. The values are used while
    /// `dict_keys.values_valid` is not 0.
    InlineValues {
        /// Offset of the managed dict pointer from the object (negative).
        dict: i32,
    },
}
