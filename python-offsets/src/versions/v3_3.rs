//! CPython 3.3: the table of 3.4 with its differences. Not tested against a running 3.3.
//!
//! `Include/pystate.h` and `Include/object.h` of v3.3.7: threads are linked one way and count
//! ticks; an interpreter has no copy of the builtins; types have no `tp_finalize`. `Include/frameobject.h`:
//! frames have neither `f_gen` nor `f_executing`.

use crate::layout::Layout;
use crate::minor::{Minor, Source};

pub(crate) const MINOR: Minor = Minor {
    major: 3,
    minor: 3,
    source: Source::Table(&[(0, LAYOUT)]),
    semantics: super::v3_5::semantics,
};

pub(super) const LAYOUT: Layout = {
    let mut layout = super::v3_4::LAYOUT;
    layout.interpreter_state.size = 96;
    let thread = &mut layout.thread_state;
    thread.size = 168;
    thread.next = 0;
    thread.interp = 8;
    thread.current_frame = 16;
    thread.thread_id = 144;
    layout.interpreter_frame.generator = None;
    layout.interpreter_frame.executing = None;
    layout.type_object.size = 392;
    layout.type_object.ht_cached_keys = Some(808);
    layout
};
