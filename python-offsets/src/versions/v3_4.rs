//! CPython 3.4: the table of 3.5 with its differences. Not tested against a running 3.4.
//!
//! `Include/pystate.h` and `Include/object.h` of v3.4.8: no coroutine wrapper in a thread state; no
//! `@` operator and no asynchronous methods among a heap type's slots.

use crate::layout::Layout;
use crate::minor::{Minor, Source};

pub(crate) const MINOR: Minor = Minor {
    major: 3,
    minor: 4,
    source: Source::Table(&[(0, LAYOUT)]),
    semantics: super::v3_5::semantics,
};

pub(super) const LAYOUT: Layout = {
    let mut layout = super::v3_5::LAYOUT;
    layout.thread_state.size = 192;
    layout.type_object.ht_cached_keys = Some(816);
    layout
};
