//! CPython 3.13: the order of the values in the target's `_Py_DebugOffsets`.
//!
//! Slots: `struct _Py_DebugOffsets` in `Include/internal/pycore_runtime.h` (v3.13.0,
//! v3.13.5, v3.13.15 and v3.13.18, which agree).
//! Derived fields: the structures of the installed headers of the same tags, in normal, debug and
//! free-threaded builds; `tests/live_headers.rs` compares them.

use crate::layout::DictKeys;
use crate::minor::{Counter, Minor, Order, Source};
use crate::semantics::{
    DictFormat, Executable, FrameRoot, GilHolder, InstanceDict, InstructionPointer, IntFormat,
    LineTable, Semantics, StrFormat,
};

pub(crate) const MINOR: Minor = Minor {
    major: 3,
    minor: 13,
    source: Source::DebugOffsets(Order {
        slots: SLOTS,
        derived: DERIVED,
        dict_keys: DictKeys {
            dk_size: 8,
            dk_log2_index_bytes: Some(9),
            dk_kind: Some(10),
            dk_nentries: Some(24),
            dk_indices: 32,
            values: 8,
            values_valid: Some(3),
        },
        counters: COUNTERS,
    }),
    semantics,
};

const SLOTS: &[&str] = &[
    "version",
    "free_threaded",
    "runtime_state.size",
    "runtime_state.finalizing",
    "runtime_state.interpreters_head",
    "interpreter_state.size",
    "interpreter_state.id",
    "interpreter_state.next",
    "interpreter_state.threads_head",
    "interpreter_state.gc",
    "interpreter_state.imports_modules",
    "interpreter_state.sysdict",
    "interpreter_state.builtins",
    "interpreter_state.ceval_gil",
    "interpreter_state.gil_runtime_state",
    "interpreter_state.gil_runtime_state_enabled",
    "interpreter_state.gil_runtime_state_locked",
    "interpreter_state.gil_runtime_state_holder",
    "thread_state.size",
    "thread_state.prev",
    "thread_state.next",
    "thread_state.interp",
    "thread_state.current_frame",
    "thread_state.thread_id",
    "thread_state.native_thread_id",
    "thread_state.datastack_chunk",
    "thread_state.status",
    "interpreter_frame.size",
    "interpreter_frame.previous",
    "interpreter_frame.executable",
    "interpreter_frame.instr_ptr",
    "interpreter_frame.localsplus",
    "interpreter_frame.owner",
    "code_object.size",
    "code_object.filename",
    "code_object.name",
    "code_object.qualname",
    "code_object.linetable",
    "code_object.firstlineno",
    "code_object.argcount",
    "code_object.localsplusnames",
    "code_object.localspluskinds",
    "code_object.co_code_adaptive",
    "pyobject.size",
    "pyobject.ob_type",
    "type_object.size",
    "type_object.tp_name",
    "type_object.tp_repr",
    "type_object.tp_flags",
    "tuple_object.size",
    "tuple_object.ob_item",
    "tuple_object.ob_size",
    "list_object.size",
    "list_object.ob_item",
    "list_object.ob_size",
    "dict_object.size",
    "dict_object.ma_keys",
    "dict_object.ma_values",
    "float_object.size",
    "float_object.ob_fval",
    "long_object.size",
    "long_object.lv_tag",
    "long_object.ob_digit",
    "bytes_object.size",
    "bytes_object.ob_size",
    "bytes_object.ob_sval",
    "unicode_object.size",
    "unicode_object.state",
    "unicode_object.length",
    "unicode_object.asciiobject_size",
    "gc.size",
    "gc.collecting",
];

const DERIVED: &[(&str, &str, i64)] = &[
    (
        "runtime_state.main_thread",
        "runtime_state.interpreters_head",
        24,
    ),
    (
        "interpreter_frame.stacktop",
        "interpreter_frame.instr_ptr",
        8,
    ),
    ("code_object.flags", "code_object.argcount", -4),
    ("code_object.kwonlyargcount", "code_object.argcount", 8),
    ("code_object.firsttraceable", "code_object.linetable", 48),
    ("code_object.co_version", "code_object.firstlineno", 24),
    ("type_object.tp_basicsize", "type_object.tp_name", 8),
    ("type_object.tp_dictoffset", "type_object.tp_name", 264),
    ("type_object.tp_dict", "type_object.tp_name", 240),
    ("heap_type_object.size", "type_object.size", 472),
    ("heap_type_object.ht_cached_keys", "type_object.size", 464),
    ("set_object.size", "pyobject.size", 184),
    ("set_object.used", "pyobject.size", 8),
    ("set_object.mask", "pyobject.size", 16),
    ("set_object.table", "pyobject.size", 24),
    ("dict_object.ma_used", "pyobject.size", 0),
    (
        "unicode_object.compactunicodeobject_size",
        "unicode_object.asciiobject_size",
        16,
    ),
    ("module_object.size", "pyobject.size", 8),
    ("module_object.md_dict", "pyobject.size", 0),
];

/// From the headers of v3.13.0, v3.13.5, v3.13.15 and v3.13.18 (the last two are equal), for x86-64.
/// The interpreter's size alone does not distinguish a debug build of 3.13.0 from a normal one of
/// 3.13.15.
const COUNTERS: &[Counter] = &[
    // Normal.
    Counter {
        sizes: &[(283_320, 194_968), (283_376, 194_976), (283_408, 194_984)],
        slots: &[
            7272, 7264, 7344, 7400, 7656, 7640, 7648, 16, 7752, 0, 7768, 7760,
        ],
        next_func_version: 17_000,
    },
    // Debug.
    Counter {
        sizes: &[(299_336, 194_984), (299_392, 194_992), (299_424, 195_000)],
        slots: &[
            7272, 7264, 7344, 7400, 7656, 7640, 7648, 16, 7752, 0, 7768, 7760,
        ],
        next_func_version: 17_016,
    },
    // Free-threaded.
    Counter {
        sizes: &[(328_256, 215_616), (328_320, 215_616), (328_384, 215_616)],
        slots: &[
            7272, 7264, 7344, 7400, 7664, 7648, 7656, 16, 7760, 0, 7784, 7776,
        ],
        next_func_version: 20_092,
    },
    // Free-threaded and debug.
    Counter {
        sizes: &[(346_752, 218_112), (346_816, 218_112), (346_880, 218_112)],
        slots: &[
            7272, 7264, 7344, 7400, 7664, 7648, 7656, 16, 7760, 0, 7784, 7776,
        ],
        next_func_version: 20_172,
    },
];

fn semantics(free_threaded: bool) -> Semantics {
    Semantics {
        frame_root: FrameRoot::ThreadState,
        instruction_pointer: InstructionPointer::Pointer,
        line_table: LineTable::Locations,
        executable: Executable::Object,
        // FRAME_OWNED_BY_CSTACK.
        shim_owners: &[3],
        gil_holder: GilHolder::Interpreter,
        free_threaded,
        str_format: StrFormat::Pep393 {
            kind_shift: 2,
            compact_bit: 5,
            ascii_bit: 6,
        },
        int_format: IntFormat::Tagged,
        dict_format: DictFormat::CompactKinds,
        instance_dict: InstanceDict::InlineValues {
            // A free-threaded build has no GC head between them and the object.
            dict: if free_threaded { -8 } else { -24 },
        },
    }
}
