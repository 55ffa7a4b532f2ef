//! [`Minor`]: the content of a data file in `versions/`, for one minor version of CPython.

use crate::layout::{DictKeys, Layout, Offset};
use crate::semantics::Semantics;

/// One minor version.
pub(crate) struct Minor {
    /// `3` in 3.12.
    pub(crate) major: u8,
    /// `12` in 3.12.
    pub(crate) minor: u8,
    pub(crate) source: Source,
    /// The meaning of the fields; the argument is whether the build is free-threaded.
    pub(crate) semantics: fn(bool) -> Semantics,
}

/// The origin of a version's layout.
pub(crate) enum Source {
    /// Literals, each with the first patch release that has it, ascending from 0.
    Table(&'static [(u8, Layout)]),
    /// The target's own table.
    DebugOffsets(Order),
}

/// How to read the target's own table.
pub(crate) struct Order {
    /// The 64-bit values after the cookie, in order, as `group.field`.
    pub(crate) slots: &'static [&'static str],
    /// Fields that the table lacks: name, the slot they are relative to, and the distance. The
    /// distances are the same in debug and free-threaded builds, whose objects have larger heads.
    pub(crate) derived: &'static [(&'static str, &'static str, i64)],
    /// The dict's keys and values blocks, which are not objects and are the same in every build.
    pub(crate) dict_keys: DictKeys,
    /// The offset of `interpreter_state.next_func_version` in the examined builds. The table lacks it,
    /// and it has no constant distance from any slot.
    pub(crate) counters: &'static [Counter],
}

/// The offset of `interpreter_state.next_func_version` in one build of some releases, and how to
/// recognise that build: by all of its table's values for the interpreter state.
pub(crate) struct Counter {
    /// The values of `runtime_state.size` and `interpreter_state.size` in those releases. Options that
    /// move fields outside the table, such as debugging, change them.
    pub(crate) sizes: &'static [(u64, u64)],
    /// The values of the other slots of `interpreter_state`, in the table's order.
    pub(crate) slots: &'static [u64],
    /// The offset of `func_state.next_version`.
    pub(crate) next_func_version: Offset,
}
