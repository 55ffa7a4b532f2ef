//! [`Layout`]: the offsets that the readers use, with CPython's names.
//!
//! The groups and fields are those of `_Py_DebugOffsets` (`Include/internal/pycore_debug_offsets.h`
//! from CPython 3.13 on), so that a target's own table fills them directly. Versions before 3.13 fill
//! the same names from generated tables; a group's comment names the older structure. All values are
//! bytes from the start of the structure. A field that some version lacks is an `Option`. Before 3.13
//! the sizes of the runtime, interpreter and thread states are those of the release that the table was
//! made from: they grow at their ends within a minor version.

/// A byte offset from the start of a structure in the target.
pub type Offset = u32;

/// The offsets of one CPython build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `_PyRuntimeState` (3.7 and later; empty before).
    pub runtime_state: RuntimeState,
    /// `PyInterpreterState`.
    pub interpreter_state: InterpreterState,
    /// `struct _gil_runtime_state`, reached through `interpreter_state.ceval_gil` (3.12+).
    pub gil_runtime_state: GilRuntimeState,
    /// `struct _gc_runtime_state`.
    pub gc: Gc,
    /// `PyThreadState`.
    pub thread_state: ThreadState,
    /// `_PyInterpreterFrame` (3.11+) or `PyFrameObject` (to 3.10).
    pub interpreter_frame: InterpreterFrame,
    /// `PyCodeObject`.
    pub code_object: CodeObject,
    /// `PyObject`.
    pub pyobject: PyObject,
    /// `PyTypeObject`.
    pub type_object: TypeObject,
    /// `PyTupleObject`.
    pub tuple_object: TupleObject,
    /// `PyListObject`.
    pub list_object: ListObject,
    /// `PySetObject`.
    pub set_object: SetObject,
    /// `PyDictObject`.
    pub dict_object: DictObject,
    /// `PyDictKeysObject` (3.3+).
    pub dict_keys: DictKeys,
    /// `PyFloatObject`.
    pub float_object: FloatObject,
    /// `PyLongObject`.
    pub long_object: LongObject,
    /// `PyBytesObject`, or Python 2's `PyStringObject`.
    pub bytes_object: BytesObject,
    /// `PyUnicodeObject`.
    pub unicode_object: UnicodeObject,
    /// `PyModuleObject`.
    pub module_object: ModuleObject,
}

/// `_PyRuntimeState`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeState {
    /// `sizeof`.
    pub size: u32,
    /// `interpreters.head`: the newest interpreter. `None` before 3.7, where the static variable
    /// `interp_head` is the list.
    pub interpreters_head: Option<Offset>,
    /// `main_thread`: the `pthread_t` of the main thread (3.7+, if the table has it).
    pub main_thread: Option<Offset>,
    /// `_finalizing` / `finalizing`: the thread that ends the interpreter, or null.
    pub finalizing: Option<Offset>,
    /// `gilstate.tstate_current`: the thread that holds the GIL (3.7 to 3.11).
    pub tstate_current: Option<Offset>,
    /// `gc`: `struct _gc_runtime_state`, in the runtime in 3.7 and 3.8.
    pub gc: Option<Offset>,
}

/// `PyInterpreterState`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterpreterState {
    /// `sizeof`.
    pub size: u32,
    /// `id` (64 bits; 3.7+).
    pub id: Option<Offset>,
    /// `next`.
    pub next: Offset,
    /// `threads.head`, or `tstate_head`: the newest thread.
    pub threads_head: Offset,
    /// `imports.modules`, or `modules`: the dict behind `sys.modules`.
    pub imports_modules: Offset,
    /// `gc`: `struct _gc_runtime_state` (3.9+).
    pub gc: Option<Offset>,
    /// `ceval.gil`: pointer to the GIL that this interpreter uses (3.12+).
    pub ceval_gil: Option<Offset>,
    /// `_code_object_generation` (64 bits; 3.14+): goes up by one each time one of this interpreter's
    /// code objects is about to be deallocated, before its memory is (`code_dealloc` in
    /// `Objects/codeobject.c`). While it is unchanged, an address refers to the same code object.
    pub code_object_generation: Option<Offset>,
    /// `func_state.next_version` (32 bits; 3.13, if the target's table is that of a build whose headers
    /// are known): goes up by one with each code object that this interpreter creates (`init_code` in
    /// `Objects/codeobject.c`), and stays 0, without information, once it has wrapped. In 3.12 the field
    /// of that name counts functions only; code objects are counted, for all interpreters together, by
    /// the C variable `_Py_next_func_version`. Later versions have the more useful
    /// `code_object_generation`.
    pub next_func_version: Option<Offset>,
}

/// `struct _gil_runtime_state`, offsets from its own start (in the target's own table the last two are
/// relative to the interpreter; the parser subtracts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GilRuntimeState {
    /// `enabled` (an int; free-threaded builds only).
    pub enabled: Option<Offset>,
    /// `locked` (an int; 1 while a thread holds it).
    pub locked: Offset,
    /// `last_holder`: the thread state that holds it, or held it last.
    pub last_holder: Offset,
}

/// `struct _gc_runtime_state`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gc {
    /// `collecting` (an int), if the version has it.
    pub collecting: Option<Offset>,
    /// `frame`: the frame that runs the collection (builds that carry it).
    pub frame: Option<Offset>,
}

/// `PyThreadState`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadState {
    /// `sizeof`.
    pub size: u32,
    /// `next`: the next older thread.
    pub next: Offset,
    /// `interp`.
    pub interp: Offset,
    /// `frame` (to 3.10) or `current_frame` (3.13+). With `FrameRoot::CFrame` (3.11, 3.12) the
    /// offset of `cframe`, a pointer to a `_PyCFrame`.
    pub current_frame: Offset,
    /// `_PyCFrame.current_frame` (3.11 and 3.12).
    pub cframe_current_frame: Option<Offset>,
    /// `base_frame`: the sentinel at the root of the stack, or null (builds that carry it).
    pub base_frame: Option<Offset>,
    /// `thread_id`: the `pthread_t` (64 bits).
    pub thread_id: Offset,
    /// `native_thread_id`: the kernel id of the thread when it started (3.11+).
    pub native_thread_id: Option<Offset>,
    /// `datastack_chunk`: the newest `_PyStackChunk` (3.11+).
    pub datastack_chunk: Option<Offset>,
    /// `_status` bit field (3.12+).
    pub status: Option<Offset>,
}

/// `_PyInterpreterFrame`, or `PyFrameObject` up to 3.10.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterpreterFrame {
    /// `sizeof` (without the variable part).
    pub size: u32,
    /// `previous`, or `f_back`.
    pub previous: Offset,
    /// `f_executable`, or `f_code`.
    pub executable: Offset,
    /// `instr_ptr` (3.13+), `prev_instr` (3.11, 3.12), or the int `f_lasti` (to 3.10).
    pub instr_ptr: Offset,
    /// `localsplus`, or `f_localsplus`.
    pub localsplus: Offset,
    /// `owner` (one byte; 3.11+).
    pub owner: Option<Offset>,
    /// `stacktop` (an int; 3.11 to 3.13): the used part of the frame's stack while the frame waits for a
    /// call that the interpreter loop executes itself, and −1 while it executes or waits for C.
    pub stacktop: Option<Offset>,
    /// `is_entry` (one byte; 3.11): not 0 in a frame that C called.
    pub is_entry: Option<Offset>,
    /// `tlbc_index` (32 bits; free-threaded builds from 3.14).
    pub tlbc_index: Option<Offset>,
    /// `f_gen`: the generator or coroutine that the frame is part of, or null (3.4 to 3.10).
    pub generator: Option<Offset>,
    /// `f_executing` (one byte; 3.4 to 3.9): not 0 while the frame executes or waits for a call.
    pub executing: Option<Offset>,
    /// `f_state` (one byte, a `PyFrameState`; 3.10).
    pub state: Option<Offset>,
}

/// `PyCodeObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeObject {
    /// `sizeof` (without the variable part).
    pub size: u32,
    /// `co_filename`.
    pub filename: Offset,
    /// `co_name`.
    pub name: Offset,
    /// `co_qualname` (3.11+).
    pub qualname: Option<Offset>,
    /// `co_linetable` (3.10+), or `co_lnotab`.
    pub linetable: Offset,
    /// `co_firstlineno` (an int).
    pub firstlineno: Offset,
    /// `co_argcount` (an int; counts positional-only ones too).
    pub argcount: Offset,
    /// `co_kwonlyargcount` (an int; 3.x).
    pub kwonlyargcount: Option<Offset>,
    /// `co_flags` (an int).
    pub flags: Offset,
    /// `co_localsplusnames` (a tuple; 3.11+).
    pub localsplusnames: Option<Offset>,
    /// `co_localspluskinds` (bytes; 3.11+).
    pub localspluskinds: Option<Offset>,
    /// `_co_firsttraceable` (an int, in code units; 3.11+): a frame that a generator does not own
    /// and whose instruction is before this one is not shown, or not yet. CPython uses this to hide the
    /// shim frame that calls `__init__` (`_PyFrame_IsIncomplete`).
    pub firsttraceable: Option<Offset>,
    /// `co_varnames` (a tuple; to 3.10).
    pub varnames: Option<Offset>,
    /// `co_cellvars` (a tuple; to 3.10).
    pub cellvars: Option<Offset>,
    /// `co_freevars` (a tuple; to 3.10).
    pub freevars: Option<Offset>,
    /// `co_code_adaptive` (the instructions themselves; 3.11+).
    pub co_code_adaptive: Option<Offset>,
    /// `co_tlbc`: pointer to `_PyCodeArray` (free-threaded builds from 3.14).
    pub co_tlbc: Option<Offset>,
    /// `co_version` (32 bits; only 3.12 and 3.13, where it is needed): the value of the counter of code
    /// objects when this one was created, so less than the counter's present value; 0 after the counter
    /// has wrapped.
    pub co_version: Option<Offset>,
}

/// `PyObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PyObject {
    /// `sizeof`.
    pub size: u32,
    /// `ob_type`.
    pub ob_type: Offset,
}

/// `PyTypeObject`, and the tail of `PyHeapTypeObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeObject {
    /// `sizeof`.
    pub size: u32,
    /// `tp_name` (a C string).
    pub tp_name: Offset,
    /// `tp_basicsize` (signed, pointer-sized).
    pub tp_basicsize: Offset,
    /// `tp_flags` (unsigned long).
    pub tp_flags: Offset,
    /// `tp_dictoffset` (signed, pointer-sized).
    pub tp_dictoffset: Offset,
    /// `tp_dict`: the class's own attributes (including `__module__`); null for static types (3.12+).
    pub tp_dict: Offset,
    /// `PyHeapTypeObject.ht_cached_keys` (3.3+).
    pub ht_cached_keys: Option<Offset>,
}

/// `PyTupleObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TupleObject {
    /// `ob_size`.
    pub ob_size: Offset,
    /// `ob_item`: the items themselves.
    pub ob_item: Offset,
}

/// `PyListObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListObject {
    /// `ob_size`.
    pub ob_size: Offset,
    /// `ob_item`: pointer to the items.
    pub ob_item: Offset,
}

/// `PySetObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetObject {
    /// `used`: live entries.
    pub used: Offset,
    /// `mask`: slots minus one.
    pub mask: Offset,
    /// `table`: pointer to the entries.
    pub table: Offset,
}

/// `PyDictObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictObject {
    /// `ma_used`.
    pub ma_used: Offset,
    /// `ma_keys`; in Python 2 `ma_table`, the entries themselves.
    pub ma_keys: Offset,
    /// `ma_values` (3.3+): null unless the table is split.
    pub ma_values: Option<Offset>,
    /// `ma_mask` (Python 2): slots minus one.
    pub ma_mask: Option<Offset>,
}

/// `PyDictKeysObject` (`Objects/dict-common.h`, `Include/internal/pycore_dict.h`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictKeys {
    /// `dk_size` (pointer-sized, to 3.10) or `dk_log2_size` (one byte, 3.11+).
    pub dk_size: Offset,
    /// `dk_log2_index_bytes` (one byte; 3.11+).
    pub dk_log2_index_bytes: Option<Offset>,
    /// `dk_kind` (one byte; 3.11+).
    pub dk_kind: Option<Offset>,
    /// `dk_nentries` (pointer-sized; 3.6+).
    pub dk_nentries: Option<Offset>,
    /// `dk_indices` (3.6+), or `dk_entries` (3.3 to 3.5).
    pub dk_indices: Offset,
    /// `PyDictValues.values`, from the start of the values block (3.11+: 0 until 3.12).
    pub values: Offset,
    /// `PyDictValues.valid` (one byte; 3.13+): 0 once the inline values are no longer used.
    pub values_valid: Option<Offset>,
}

/// `PyFloatObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloatObject {
    /// `ob_fval`.
    pub ob_fval: Offset,
}

/// `PyLongObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LongObject {
    /// `long_value.lv_tag` (3.12+), or `ob_size`, whose sign is that of the number.
    pub lv_tag: Offset,
    /// `ob_digit`.
    pub ob_digit: Offset,
    /// `PyIntObject.ob_ival` (Python 2).
    pub ob_ival: Option<Offset>,
}

/// `PyBytesObject`, or Python 2's `PyStringObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BytesObject {
    /// `ob_size`.
    pub ob_size: Offset,
    /// `ob_sval`.
    pub ob_sval: Offset,
}

/// `PyUnicodeObject`, `PyCompactUnicodeObject` and `PyASCIIObject`; Python 2's `PyUnicodeObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnicodeObject {
    /// `state` (32 bits; 3.3+).
    pub state: Option<Offset>,
    /// `length` in code points.
    pub length: Offset,
    /// `sizeof(PyASCIIObject)`: where a compact ASCII string's bytes start.
    pub asciiobject_size: u32,
    /// `sizeof(PyCompactUnicodeObject)`: where any other compact string's bytes start.
    pub compactunicodeobject_size: u32,
    /// `data.any` of a string that is not compact (3.3+), or `str` (Python 2): a pointer.
    pub data: Offset,
}

/// `PyModuleObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleObject {
    /// `md_dict`.
    pub md_dict: Offset,
}
