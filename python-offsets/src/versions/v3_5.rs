//! CPython 3.5: the table of 3.6 with its differences. Not tested against a running 3.5.
//!
//! `Include/code.h`, `Include/pystate.h`, `Include/dictobject.h` and `Objects/dictobject.c` (dict
//! keys) of v3.5.5: the first line is among the pointers of a code object, an interpreter has neither
//! a frame evaluation function nor code extras, a dict has no version and no indices.

use crate::layout::Layout;
use crate::minor::{Minor, Source};
use crate::semantics::{DictFormat, LineTable, Semantics};

pub(crate) const MINOR: Minor = Minor {
    major: 3,
    minor: 5,
    source: Source::Table(&[(0, LAYOUT)]),
    semantics,
};

pub(super) const LAYOUT: Layout = {
    let mut layout = super::v3_6::LAYOUT;
    layout.interpreter_state.size = 104;
    layout.thread_state.size = 208;
    let code = &mut layout.code_object;
    code.size = 144;
    code.argcount = 16;
    code.kwonlyargcount = Some(20);
    code.flags = 32;
    code.varnames = Some(64);
    code.freevars = Some(72);
    code.cellvars = Some(80);
    code.filename = 96;
    code.name = 104;
    code.firstlineno = 112;
    code.linetable = 120;
    layout.dict_object.ma_keys = 24;
    layout.dict_object.ma_values = Some(32);
    layout.dict_keys.dk_nentries = None;
    layout.dict_keys.dk_indices = 32;
    layout
};

pub(super) fn semantics(_free_threaded: bool) -> Semantics {
    Semantics {
        dict_format: DictFormat::KeysTable,
        line_table: LineTable::LnotabUnsigned,
        ..super::v3_6::semantics(false)
    }
}
