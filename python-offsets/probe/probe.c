/* Prints where one CPython version keeps the fields of `Layout`, from that version's real headers.
 *
 * One line a field, "group.field value", in the names of src/layout.rs; a field that the version
 * lacks is not printed. Lines that begin with "semantics." state facts that the regeneration
 * test compares with src/semantics.rs.
 *
 * Structures that no installed header declares are restated below, each with the CPython file that
 * owns it. Compile with the version's include directory; generate.py and tests/live_headers.rs know
 * the exact command. With -DPROBE_DEBUG_OFFSETS the program writes the bytes of _Py_DebugOffsets to
 * standard output instead (3.13 and later).
 */
#define Py_BUILD_CORE 1
#define PY_SSIZE_T_CLEAN
/* The internal headers of 3.6 and earlier do not exist; those of 3.7 live under other names. */
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <frameobject.h>
#if PY_VERSION_HEX < 0x030B0000
#  include <code.h>
#endif
#if PY_VERSION_HEX >= 0x03080000
#  include <internal/pycore_pystate.h>
#elif PY_VERSION_HEX >= 0x03070000
#  include <internal/pystate.h>
#  include <internal/mem.h>
#endif
#if PY_VERSION_HEX >= 0x03090000
#  include <internal/pycore_interp.h>
#  include <internal/pycore_runtime.h>
#  include <internal/pycore_gc.h>
#endif
#if PY_VERSION_HEX >= 0x030A0000
#  include <internal/pycore_moduleobject.h>
#endif
#if PY_VERSION_HEX >= 0x030B0000
#  include <internal/pycore_frame.h>
#  include <internal/pycore_dict.h>
#  include <internal/pycore_code.h>
#endif
#if PY_VERSION_HEX >= 0x030C0000
#  include <internal/pycore_gil.h>
#  include <internal/pycore_long.h>
#endif
#if PY_VERSION_HEX >= 0x030D0000
#  include <internal/pycore_object.h>
#  include <internal/pycore_ceval.h>
#  include <internal/pycore_runtime_init.h>
#endif
#if PY_VERSION_HEX >= 0x030E0000
#  include <internal/pycore_debug_offsets.h>
#  include <internal/pycore_stackref.h>
#endif


#if PY_VERSION_HEX < 0x030A0000
/* Objects/moduleobject.c: the dict is the first field after the header in every version. */
typedef struct {
    PyObject_HEAD
    PyObject *md_dict;
} ModuleHead;
#else
typedef PyModuleObject ModuleHead;
#endif

#if PY_MAJOR_VERSION == 3 && PY_VERSION_HEX < 0x03060000
/* Objects/dictobject.c of 3.3 to 3.5: a table of entries, no indices. */
struct keys_object {
    Py_ssize_t dk_refcnt;
    Py_ssize_t dk_size;
    void *dk_lookup;
    Py_ssize_t dk_usable;
    void *dk_indices[1]; /* dk_entries */
};
#elif PY_MAJOR_VERSION == 3 && PY_VERSION_HEX < 0x030B0000
/* Objects/dict-common.h of 3.6 to 3.10. */
struct keys_object {
    Py_ssize_t dk_refcnt;
    Py_ssize_t dk_size;
    void *dk_lookup;
    Py_ssize_t dk_usable;
    Py_ssize_t dk_nentries;
    char dk_indices[8];
};
#elif PY_MAJOR_VERSION == 3
/* Include/internal/pycore_dict.h declares it from 3.11 on. */
#  define keys_object _dictkeysobject
#endif

#define NUM(name, value) printf("%s %lld\n", name, (long long)(value))
#define OFF(name, type, member) NUM(name, offsetof(type, member))
#define SIZE(name, type) NUM(name, sizeof(type))

static void runtime_state(void)
{
#if PY_VERSION_HEX >= 0x03070000
    SIZE("runtime_state.size", _PyRuntimeState);
    OFF("runtime_state.interpreters_head", _PyRuntimeState, interpreters.head);
#  if PY_VERSION_HEX >= 0x03080000
    OFF("runtime_state.main_thread", _PyRuntimeState, main_thread);
#  else
    OFF("runtime_state.main_thread", _PyRuntimeState, ceval.pending.main_thread);
#  endif
#  if PY_VERSION_HEX >= 0x03090000
    OFF("runtime_state.finalizing", _PyRuntimeState, _finalizing);
#  else
    OFF("runtime_state.finalizing", _PyRuntimeState, finalizing);
#  endif
#  if PY_VERSION_HEX < 0x030C0000
    OFF("runtime_state.tstate_current", _PyRuntimeState, gilstate.tstate_current);
#  endif
#  if PY_VERSION_HEX < 0x03090000
    OFF("runtime_state.gc", _PyRuntimeState, gc);
#  endif
#else
    NUM("runtime_state.size", 0);
#endif
}

static void interpreter_state(void)
{
    SIZE("interpreter_state.size", PyInterpreterState);
    OFF("interpreter_state.next", PyInterpreterState, next);
#if PY_VERSION_HEX >= 0x03070000
    OFF("interpreter_state.id", PyInterpreterState, id);
#endif
#if PY_VERSION_HEX >= 0x030B0000
    OFF("interpreter_state.threads_head", PyInterpreterState, threads.head);
#else
    OFF("interpreter_state.threads_head", PyInterpreterState, tstate_head);
#endif
#if PY_VERSION_HEX >= 0x030C0000
    OFF("interpreter_state.imports_modules", PyInterpreterState, imports.modules);
    OFF("interpreter_state.ceval_gil", PyInterpreterState, ceval.gil);
#else
    OFF("interpreter_state.imports_modules", PyInterpreterState, modules);
#endif
#if PY_VERSION_HEX >= 0x03090000
    OFF("interpreter_state.gc", PyInterpreterState, gc);
#endif
#if PY_VERSION_HEX >= 0x030E0000
    OFF("interpreter_state.code_object_generation", PyInterpreterState, _code_object_generation);
#elif PY_VERSION_HEX >= 0x030D0000
    /* 3.12 counts functions there, and code objects in a variable. */
    OFF("interpreter_state.next_func_version", PyInterpreterState, func_state.next_version);
#endif
}

static void gil_and_gc(void)
{
#if PY_VERSION_HEX >= 0x030C0000
#  ifdef Py_GIL_DISABLED
    OFF("gil_runtime_state.enabled", struct _gil_runtime_state, enabled);
#  endif
    OFF("gil_runtime_state.locked", struct _gil_runtime_state, locked);
    OFF("gil_runtime_state.last_holder", struct _gil_runtime_state, last_holder);
#else
    NUM("gil_runtime_state.locked", 0);
    NUM("gil_runtime_state.last_holder", 0);
#endif
#if PY_VERSION_HEX >= 0x03070000
    OFF("gc.collecting", struct _gc_runtime_state, collecting);
#endif
#if PY_VERSION_HEX >= 0x030F0000
    OFF("gc.frame", struct _gc_runtime_state, frame);
#endif
}

static void thread_state(void)
{
    SIZE("thread_state.size", PyThreadState);
    OFF("thread_state.next", PyThreadState, next);
    OFF("thread_state.interp", PyThreadState, interp);
#if PY_VERSION_HEX >= 0x030D0000
    OFF("thread_state.current_frame", PyThreadState, current_frame);
#elif PY_VERSION_HEX >= 0x030B0000
    OFF("thread_state.current_frame", PyThreadState, cframe);
    OFF("thread_state.cframe_current_frame", _PyCFrame, current_frame);
#else
    OFF("thread_state.current_frame", PyThreadState, frame);
#endif
#if PY_VERSION_HEX >= 0x030F0000
    OFF("thread_state.base_frame", PyThreadState, base_frame);
#endif
    OFF("thread_state.thread_id", PyThreadState, thread_id);
#if PY_VERSION_HEX >= 0x030B0000
    OFF("thread_state.native_thread_id", PyThreadState, native_thread_id);
    OFF("thread_state.datastack_chunk", PyThreadState, datastack_chunk);
#endif
#if PY_VERSION_HEX >= 0x030C0000
    OFF("thread_state.status", PyThreadState, _status);
#endif
}

static void interpreter_frame(void)
{
#if PY_VERSION_HEX >= 0x030B0000
    SIZE("interpreter_frame.size", _PyInterpreterFrame);
    OFF("interpreter_frame.previous", _PyInterpreterFrame, previous);
    OFF("interpreter_frame.localsplus", _PyInterpreterFrame, localsplus);
    OFF("interpreter_frame.owner", _PyInterpreterFrame, owner);
#  if PY_VERSION_HEX < 0x030E0000
    OFF("interpreter_frame.stacktop", _PyInterpreterFrame, stacktop);
#  endif
#  if PY_VERSION_HEX < 0x030C0000
    OFF("interpreter_frame.is_entry", _PyInterpreterFrame, is_entry);
#  endif
#  if PY_VERSION_HEX >= 0x030D0000
    OFF("interpreter_frame.executable", _PyInterpreterFrame, f_executable);
    OFF("interpreter_frame.instr_ptr", _PyInterpreterFrame, instr_ptr);
#  else
    OFF("interpreter_frame.executable", _PyInterpreterFrame, f_code);
    OFF("interpreter_frame.instr_ptr", _PyInterpreterFrame, prev_instr);
#  endif
#  if PY_VERSION_HEX >= 0x030E0000 && defined(Py_GIL_DISABLED)
    OFF("interpreter_frame.tlbc_index", _PyInterpreterFrame, tlbc_index);
#  endif
#else
    SIZE("interpreter_frame.size", PyFrameObject);
    OFF("interpreter_frame.previous", PyFrameObject, f_back);
    OFF("interpreter_frame.executable", PyFrameObject, f_code);
    OFF("interpreter_frame.instr_ptr", PyFrameObject, f_lasti);
    OFF("interpreter_frame.localsplus", PyFrameObject, f_localsplus);
#  if PY_VERSION_HEX >= 0x03040000
    OFF("interpreter_frame.generator", PyFrameObject, f_gen);
#  endif
#  if PY_VERSION_HEX >= 0x030A0000
    OFF("interpreter_frame.state", PyFrameObject, f_state);
#  elif PY_VERSION_HEX >= 0x03040000
    OFF("interpreter_frame.executing", PyFrameObject, f_executing);
#  endif
#endif
}

static void code_object(void)
{
    SIZE("code_object.size", PyCodeObject);
    OFF("code_object.filename", PyCodeObject, co_filename);
    OFF("code_object.name", PyCodeObject, co_name);
    OFF("code_object.firstlineno", PyCodeObject, co_firstlineno);
    OFF("code_object.argcount", PyCodeObject, co_argcount);
    OFF("code_object.flags", PyCodeObject, co_flags);
#if PY_MAJOR_VERSION == 3
    OFF("code_object.kwonlyargcount", PyCodeObject, co_kwonlyargcount);
#endif
#if PY_VERSION_HEX >= 0x030A0000
    OFF("code_object.linetable", PyCodeObject, co_linetable);
#else
    OFF("code_object.linetable", PyCodeObject, co_lnotab);
#endif
#if PY_VERSION_HEX >= 0x030B0000
    OFF("code_object.qualname", PyCodeObject, co_qualname);
    OFF("code_object.localsplusnames", PyCodeObject, co_localsplusnames);
    OFF("code_object.localspluskinds", PyCodeObject, co_localspluskinds);
    OFF("code_object.firsttraceable", PyCodeObject, _co_firsttraceable);
    OFF("code_object.co_code_adaptive", PyCodeObject, co_code_adaptive);
#else
    OFF("code_object.varnames", PyCodeObject, co_varnames);
    OFF("code_object.cellvars", PyCodeObject, co_cellvars);
    OFF("code_object.freevars", PyCodeObject, co_freevars);
#endif
#if PY_VERSION_HEX >= 0x030E0000 && defined(Py_GIL_DISABLED)
    OFF("code_object.co_tlbc", PyCodeObject, co_tlbc);
#endif
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
    OFF("code_object.co_version", PyCodeObject, co_version);
#endif
}

static void objects(void)
{
    SIZE("pyobject.size", PyObject);
    OFF("pyobject.ob_type", PyObject, ob_type);

    SIZE("type_object.size", PyTypeObject);
    OFF("type_object.tp_name", PyTypeObject, tp_name);
    OFF("type_object.tp_basicsize", PyTypeObject, tp_basicsize);
    OFF("type_object.tp_flags", PyTypeObject, tp_flags);
    OFF("type_object.tp_dictoffset", PyTypeObject, tp_dictoffset);
    OFF("type_object.tp_dict", PyTypeObject, tp_dict);
#if PY_MAJOR_VERSION == 3
    OFF("type_object.ht_cached_keys", PyHeapTypeObject, ht_cached_keys);
#endif

    OFF("tuple_object.ob_size", PyVarObject, ob_size);
    OFF("tuple_object.ob_item", PyTupleObject, ob_item);
    OFF("list_object.ob_size", PyVarObject, ob_size);
    OFF("list_object.ob_item", PyListObject, ob_item);
    OFF("set_object.used", PySetObject, used);
    OFF("set_object.mask", PySetObject, mask);
    OFF("set_object.table", PySetObject, table);
    OFF("float_object.ob_fval", PyFloatObject, ob_fval);
    OFF("module_object.md_dict", ModuleHead, md_dict);

#if PY_VERSION_HEX >= 0x030C0000
    OFF("long_object.lv_tag", PyLongObject, long_value.lv_tag);
    OFF("long_object.ob_digit", PyLongObject, long_value.ob_digit);
#else
    OFF("long_object.lv_tag", PyVarObject, ob_size);
    NUM("long_object.ob_digit", sizeof(PyVarObject)); /* Include/longintrepr.h: struct _longobject */
#endif

    OFF("bytes_object.ob_size", PyVarObject, ob_size);
#if PY_MAJOR_VERSION == 3
    OFF("bytes_object.ob_sval", PyBytesObject, ob_sval);
#else
    OFF("bytes_object.ob_sval", PyStringObject, ob_sval);
    OFF("long_object.ob_ival", PyIntObject, ob_ival);
#endif
}

static void dicts_and_strings(void)
{
    OFF("dict_object.ma_used", PyDictObject, ma_used);
#if PY_MAJOR_VERSION == 3
    OFF("dict_object.ma_keys", PyDictObject, ma_keys);
    OFF("dict_object.ma_values", PyDictObject, ma_values);
    OFF("dict_keys.dk_indices", struct keys_object, dk_indices);
#  if PY_VERSION_HEX >= 0x030B0000
    OFF("dict_keys.dk_size", struct keys_object, dk_log2_size);
    OFF("dict_keys.dk_log2_index_bytes", struct keys_object, dk_log2_index_bytes);
    OFF("dict_keys.dk_kind", struct keys_object, dk_kind);
    OFF("dict_keys.values", struct _dictvalues, values);
#  else
    OFF("dict_keys.dk_size", struct keys_object, dk_size);
    NUM("dict_keys.values", 0);
#  endif
#  if PY_VERSION_HEX >= 0x030D0000
    OFF("dict_keys.values_valid", struct _dictvalues, valid);
#  endif
#  if PY_VERSION_HEX >= 0x03060000
    OFF("dict_keys.dk_nentries", struct keys_object, dk_nentries);
#  endif

    OFF("unicode_object.state", PyASCIIObject, state);
    OFF("unicode_object.length", PyASCIIObject, length);
    SIZE("unicode_object.asciiobject_size", PyASCIIObject);
    SIZE("unicode_object.compactunicodeobject_size", PyCompactUnicodeObject);
    OFF("unicode_object.data", PyUnicodeObject, data);
#else
    OFF("dict_object.ma_keys", PyDictObject, ma_table);
    OFF("dict_object.ma_mask", PyDictObject, ma_mask);
    NUM("dict_keys.dk_size", 0);
    NUM("dict_keys.dk_indices", 0);
    NUM("dict_keys.values", 0);

    OFF("unicode_object.length", PyUnicodeObject, length);
    NUM("unicode_object.asciiobject_size", 0);
    NUM("unicode_object.compactunicodeobject_size", 0);
    OFF("unicode_object.data", PyUnicodeObject, str);
#endif
}

#if PY_MAJOR_VERSION == 3
/* Prints the number of the lowest bit that a bit field of PyASCIIObject.state occupies. */
#define STATE_BIT(name, member)                                                                    \
    do {                                                                                           \
        PyASCIIObject object;                                                                      \
        unsigned int state;                                                                        \
        memset(&object, 0, sizeof object);                                                         \
        object.state.member = 1;                                                                   \
        memcpy(&state, (char *)&object + offsetof(PyASCIIObject, state), sizeof state);            \
        NUM(name, __builtin_ctz(state));                                                           \
    } while (0)
#endif

static void semantics(void)
{
#if PY_MAJOR_VERSION == 3
    STATE_BIT("semantics.kind_shift", kind);
    STATE_BIT("semantics.compact_bit", compact);
    STATE_BIT("semantics.ascii_bit", ascii);
#endif
#ifdef Py_GIL_DISABLED
    NUM("semantics.free_threaded", 1);
#else
    NUM("semantics.free_threaded", 0);
#endif
#if PY_VERSION_HEX >= 0x030E0000
    NUM("semantics.shim_owner", FRAME_OWNED_BY_INTERPRETER);
    NUM("semantics.tag_mask", Py_TAG_BITS | Py_INT_TAG);
#endif
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030F0000
    NUM("semantics.shim_owner", FRAME_OWNED_BY_CSTACK);
#endif
#if PY_VERSION_HEX >= 0x030D0000
    NUM("semantics.managed_dict", MANAGED_DICT_OFFSET); /* To 3.12, code in inline functions. */
#endif
}

#if defined(PROBE_DEBUG_OFFSETS) && PY_VERSION_HEX >= 0x030E0000
static const _Py_DebugOffsets debug_offsets = _Py_DebugOffsets_INIT(_Py_Debug_Cookie);
#elif defined(PROBE_DEBUG_OFFSETS)
/* 3.13 has the table only inside the initialiser of the whole runtime, whose other parts name
 * objects of libpython: linked with unresolved symbols ignored, as nothing follows them. */
static _PyRuntimeState runtime = _PyRuntimeState_INIT(runtime, _Py_Debug_Cookie);
#  define debug_offsets runtime.debug_offsets
#endif

int main(void)
{
#ifdef PROBE_DEBUG_OFFSETS
    return fwrite(&debug_offsets, sizeof debug_offsets, 1, stdout) != 1;
#else
    printf("version %s\n", PY_VERSION);
    runtime_state();
    interpreter_state();
    gil_and_gc();
    thread_state();
    interpreter_frame();
    code_object();
    objects();
    dicts_and_strings();
    semantics();
    return 0;
#endif
}
