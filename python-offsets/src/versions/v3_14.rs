//! CPython 3.14: the order of the values in the target's `_Py_DebugOffsets`.
//!
//! Slots: `struct _Py_DebugOffsets` in `Include/internal/pycore_debug_offsets.h`
//! (v3.14.8 and v3.14.10, which agree; other projects publish the same order for interpreters and
//! frames of 3.14.0).
//! Derived fields: the structures of the installed headers of the same tags, in normal, debug and
//! free-threaded builds; `tests/live_headers.rs` compares them.

use crate::layout::DictKeys;
use crate::minor::{Minor, Order, Source};
use crate::semantics::{
    DictFormat, Executable, FrameRoot, GilHolder, InstanceDict, InstructionPointer, IntFormat,
    LineTable, Semantics, StrFormat,
};

pub(crate) const MINOR: Minor = Minor {
    major: 3,
    minor: 14,
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
        counters: &[],
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
    "interpreter_state.threads_main",
    "interpreter_state.gc",
    "interpreter_state.imports_modules",
    "interpreter_state.sysdict",
    "interpreter_state.builtins",
    "interpreter_state.ceval_gil",
    "interpreter_state.gil_runtime_state",
    "interpreter_state.gil_runtime_state_enabled",
    "interpreter_state.gil_runtime_state_locked",
    "interpreter_state.gil_runtime_state_holder",
    "interpreter_state.code_object_generation",
    "interpreter_state.tlbc_generation",
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
    "interpreter_frame.stackpointer",
    "interpreter_frame.tlbc_index",
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
    "code_object.co_tlbc",
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
    "set_object.size",
    "set_object.used",
    "set_object.table",
    "set_object.mask",
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
    "gen_object.size",
    "gen_object.gi_name",
    "gen_object.gi_iframe",
    "gen_object.gi_frame_state",
    "llist_node.next",
    "llist_node.prev",
    "debugger_support.eval_breaker",
    "debugger_support.remote_debugger_support",
    "debugger_support.remote_debugging_enabled",
    "debugger_support.debugger_pending_call",
    "debugger_support.debugger_script_path",
    "debugger_support.debugger_script_path_size",
];

const DERIVED: &[(&str, &str, i64)] = &[
    (
        "runtime_state.main_thread",
        "runtime_state.interpreters_head",
        24,
    ),
    ("code_object.flags", "code_object.argcount", -4),
    ("code_object.kwonlyargcount", "code_object.argcount", 8),
    ("code_object.firsttraceable", "code_object.linetable", 56),
    ("type_object.tp_basicsize", "type_object.tp_name", 8),
    ("type_object.tp_dictoffset", "type_object.tp_name", 264),
    ("type_object.tp_dict", "type_object.tp_name", 240),
    ("heap_type_object.size", "type_object.size", 472),
    ("heap_type_object.ht_cached_keys", "type_object.size", 464),
    ("dict_object.ma_used", "pyobject.size", 0),
    (
        "unicode_object.compactunicodeobject_size",
        "unicode_object.asciiobject_size",
        16,
    ),
    ("module_object.size", "pyobject.size", 8),
    ("module_object.md_dict", "pyobject.size", 0),
];

fn semantics(free_threaded: bool) -> Semantics {
    // `interned` has 2 bits, in free-threaded builds a byte of its own; the others follow it.
    let interned_bits = if free_threaded { 8 } else { 2 };
    let str_format = StrFormat::Pep393 {
        kind_shift: interned_bits,
        compact_bit: interned_bits + 3,
        ascii_bit: interned_bits + 4,
    };
    Semantics {
        frame_root: FrameRoot::ThreadState,
        instruction_pointer: InstructionPointer::Pointer,
        line_table: LineTable::Locations,
        executable: Executable::StackRef { tag_mask: 3 },
        // FRAME_OWNED_BY_INTERPRETER and FRAME_OWNED_BY_CSTACK.
        shim_owners: &[3, 4],
        gil_holder: GilHolder::Interpreter,
        free_threaded,
        str_format,
        int_format: IntFormat::Tagged,
        dict_format: DictFormat::CompactKinds,
        instance_dict: InstanceDict::InlineValues {
            // A free-threaded build has no GC head between them and the object.
            dict: if free_threaded { -8 } else { -24 },
        },
    }
}
