//! [`Minor`]: what a data file under `versions/` says about one minor version of CPython.

use crate::layout::{DictKeys, Layout, Offset};
use crate::semantics::Semantics;

/// One minor version.
pub(crate) struct Minor {
    /// `3` in 3.12.
    pub(crate) major: u8,
    /// `12` in 3.12.
    pub(crate) minor: u8,
    /// Where the layout comes from.
    pub(crate) source: Source,
    /// What the fields mean, given whether the build is free-threaded.
    pub(crate) semantics: fn(bool) -> Semantics,
}

/// Where a version's layout comes from.
pub(crate) enum Source {
    /// Literals, by the first patch release that they hold for, ascending from 0.
    Table(&'static [(u8, Layout)]),
    /// The target's own table.
    DebugOffsets(Order),
}

/// How to read the target's own table.
pub(crate) struct Order {
    /// The 64-bit values after the cookie, in order, as `group.field`.
    pub(crate) slots: &'static [&'static str],
    /// Fields that the table lacks: name, the slot they are counted from, and the distance. All of
    /// them keep that distance in debug and free-threaded builds, whose objects have larger heads.
    pub(crate) derived: &'static [(&'static str, &'static str, i64)],
    /// The dict's keys and values blocks, which are no objects and the same in every build.
    pub(crate) dict_keys: DictKeys,
    /// Where the builds that were looked at keep `interpreter_state.next_func_version`, which the
    /// table lacks and which no slot stays at a distance of.
    pub(crate) counters: &'static [Counter],
}

/// The place of `interpreter_state.next_func_version` in one build of some releases, and how to
/// recognise that build: nothing in its table locates the interpreter state's parts differently.
pub(crate) struct Counter {
    /// The values of `runtime_state.size` and `interpreter_state.size` of those releases: options
    /// that move what the table does not name, such as debugging, change them.
    pub(crate) sizes: &'static [(u64, u64)],
    /// The values of the other slots of `interpreter_state`, in the table's order.
    pub(crate) slots: &'static [u64],
    /// The offset of `func_state.next_version`.
    pub(crate) next_func_version: Offset,
}
