//! Converts the bytes of a target's `_Py_DebugOffsets` to a validated [`Layout`].
//!
//! From CPython 3.13 on `_PyRuntime` starts with a table of 64-bit values after an 8-byte cookie
//! (3.13: `Include/internal/pycore_runtime.h`; 3.14+: `pycore_debug_offsets.h`). The order of the values
//! is a list of names in the version's data file. The table comes from the target, so each value is
//! checked before it is added to an address: it must be inside its structure, aligned, and not overlap
//! the others.

use crate::error::OffsetsError;
use crate::layout::{
    BytesObject, CodeObject, DictObject, FloatObject, Gc, GilRuntimeState, InterpreterFrame,
    InterpreterState, Layout, ListObject, LongObject, ModuleObject, Offset, PyObject, RuntimeState,
    SetObject, ThreadState, TupleObject, TypeObject, UnicodeObject,
};
use crate::minor::Order;
use crate::registry::LONGEST_ORDER;
use crate::table::{SLOT, Structure, Table};
use crate::version::PythonVersion;

const COOKIE: &[u8; 8] = b"xdebugpy";

/// How many bytes [`describe`](crate::describe) needs from the start of `_PyRuntime`: the cookie and
/// the longest table of any version.
pub const DEBUG_OFFSETS_LEN: usize = SLOT + LONGEST_ORDER * SLOT;

/// The largest `sizeof` accepted for the runtime and interpreter states (they were 0.4 MB in 3.15).
const MAX_STATE: u64 = 4 << 20;
/// The largest `sizeof` accepted for any other structure.
const MAX_STRUCT: u64 = 64 << 10;

/// The version of a table, if `bytes` start with the cookie and a CPython version.
#[must_use]
pub fn peek_debug_offsets(bytes: &[u8]) -> Option<PythonVersion> {
    let hex = u32::try_from(header(bytes)?).ok()?;
    PythonVersion::from_hex(hex)
}

/// The raw version after the cookie.
fn header(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(COOKIE)?;
    Some(u64::from_le_bytes(*rest.first_chunk()?))
}

/// Reads the table of `version`, whose values are in this `order`.
///
/// Returns the layout and whether the build is free-threaded.
pub(crate) fn parse(
    bytes: &[u8],
    version: PythonVersion,
    order: &Order,
) -> Result<(Layout, bool), OffsetsError> {
    if !bytes.starts_with(COOKIE) {
        return Err(OffsetsError::BadCookie);
    }
    let need = SLOT + order.slots.len() * SLOT;
    if bytes.len() < need {
        return Err(OffsetsError::Truncated {
            len: bytes.len(),
            need,
        });
    }
    let table = Table { bytes, order };
    let found = table.required("version")?;
    if found >> 16 != u64::from(version.major) << 8 | u64::from(version.minor) {
        return Err(OffsetsError::VersionMismatch {
            expected: version,
            found,
        });
    }
    let free_threaded = match table.required("free_threaded")? {
        0 => false,
        1 => true,
        value => {
            return Err(OffsetsError::OutOfBounds {
                field: "free_threaded",
                value,
            });
        }
    };
    Ok((table.layout(free_threaded)?, free_threaded))
}

impl Table<'_> {
    // Long: one line for each field.
    fn layout(self, free_threaded: bool) -> Result<Layout, OffsetsError> {
        let mut runtime = self.structure("runtime_state.size", MAX_STATE)?;
        let mut interpreter = self.structure("interpreter_state.size", MAX_STATE)?;
        let mut gc = self.structure("gc.size", MAX_STRUCT)?;
        let mut thread = self.structure("thread_state.size", MAX_STRUCT)?;
        let mut frame = self.structure("interpreter_frame.size", MAX_STRUCT)?;
        let mut object = self.structure("pyobject.size", MAX_STRUCT)?;
        let mut tuple = self.structure("tuple_object.size", MAX_STRUCT)?;
        let mut list = self.structure("list_object.size", MAX_STRUCT)?;
        let mut set = self.structure("set_object.size", MAX_STRUCT)?;
        let mut dict = self.structure("dict_object.size", MAX_STRUCT)?;
        let mut float = self.structure("float_object.size", MAX_STRUCT)?;
        let mut long = self.structure("long_object.size", MAX_STRUCT)?;
        let mut bytes = self.structure("bytes_object.size", MAX_STRUCT)?;
        let mut module = self.structure("module_object.size", MAX_STRUCT)?;
        Ok(Layout {
            runtime_state: RuntimeState {
                size: runtime.size,
                interpreters_head: Some(runtime.pointer("runtime_state.interpreters_head")?),
                main_thread: runtime.optional("runtime_state.main_thread", 8)?,
                finalizing: Some(runtime.pointer("runtime_state.finalizing")?),
                tstate_current: None,
                gc: None,
            },
            gil_runtime_state: self.gil(&mut interpreter, free_threaded)?,
            interpreter_state: InterpreterState {
                size: interpreter.size,
                id: Some(interpreter.pointer("interpreter_state.id")?),
                next: interpreter.pointer("interpreter_state.next")?,
                threads_head: interpreter.pointer("interpreter_state.threads_head")?,
                imports_modules: interpreter.pointer("interpreter_state.imports_modules")?,
                gc: Some(interpreter.pointer("interpreter_state.gc")?),
                ceval_gil: Some(interpreter.pointer("interpreter_state.ceval_gil")?),
                code_object_generation: interpreter
                    .optional("interpreter_state.code_object_generation", 8)?,
                next_func_version: self.next_func_version()?,
            },
            gc: Gc {
                collecting: Some(gc.field("gc.collecting", 4)?),
                frame: gc.optional("gc.frame", 8)?,
            },
            thread_state: ThreadState {
                size: thread.size,
                next: thread.pointer("thread_state.next")?,
                interp: thread.pointer("thread_state.interp")?,
                current_frame: thread.pointer("thread_state.current_frame")?,
                cframe_current_frame: None,
                base_frame: thread.optional("thread_state.base_frame", 8)?,
                thread_id: thread.pointer("thread_state.thread_id")?,
                native_thread_id: Some(thread.pointer("thread_state.native_thread_id")?),
                datastack_chunk: Some(thread.pointer("thread_state.datastack_chunk")?),
                status: Some(thread.field("thread_state.status", 4)?),
            },
            interpreter_frame: InterpreterFrame {
                size: frame.size,
                previous: frame.pointer("interpreter_frame.previous")?,
                executable: frame.pointer("interpreter_frame.executable")?,
                instr_ptr: frame.pointer("interpreter_frame.instr_ptr")?,
                localsplus: frame.pointer("interpreter_frame.localsplus")?,
                owner: Some(frame.field("interpreter_frame.owner", 1)?),
                stacktop: frame.optional("interpreter_frame.stacktop", 4)?,
                is_entry: None,
                generator: None,
                executing: None,
                state: None,
                tlbc_index: frame.if_free_threaded(
                    "interpreter_frame.tlbc_index",
                    4,
                    free_threaded,
                )?,
            },
            code_object: self.code_object(free_threaded)?,
            pyobject: PyObject {
                size: object.size,
                ob_type: object.pointer("pyobject.ob_type")?,
            },
            type_object: self.type_object()?,
            tuple_object: TupleObject {
                ob_size: tuple.pointer("tuple_object.ob_size")?,
                ob_item: tuple.pointer("tuple_object.ob_item")?,
            },
            list_object: ListObject {
                ob_size: list.pointer("list_object.ob_size")?,
                ob_item: list.pointer("list_object.ob_item")?,
            },
            set_object: SetObject {
                used: set.pointer("set_object.used")?,
                mask: set.pointer("set_object.mask")?,
                table: set.pointer("set_object.table")?,
            },
            dict_object: DictObject {
                ma_used: dict.pointer("dict_object.ma_used")?,
                ma_keys: dict.pointer("dict_object.ma_keys")?,
                ma_values: Some(dict.pointer("dict_object.ma_values")?),
                ma_mask: None,
            },
            dict_keys: self.order.dict_keys.clone(),
            float_object: FloatObject {
                ob_fval: float.pointer("float_object.ob_fval")?,
            },
            long_object: LongObject {
                lv_tag: long.pointer("long_object.lv_tag")?,
                ob_digit: long.field("long_object.ob_digit", 4)?,
                ob_ival: None,
            },
            bytes_object: BytesObject {
                ob_size: bytes.pointer("bytes_object.ob_size")?,
                ob_sval: bytes.field("bytes_object.ob_sval", 1)?,
            },
            unicode_object: self.unicode_object()?,
            module_object: ModuleObject {
                md_dict: module.pointer("module_object.md_dict")?,
            },
        })
    }

    /// The offset of the counter of code objects, if it is known for this build.
    fn next_func_version(self) -> Result<Option<Offset>, OffsetsError> {
        let size = "interpreter_state.size";
        let sizes = (self.required("runtime_state.size")?, self.required(size)?);
        let slots = self.order.slots.iter();
        let others: Vec<u64> = slots
            .filter(|slot| slot.starts_with("interpreter_state.") && **slot != size)
            .map(|slot| self.required(slot))
            .collect::<Result<_, _>>()?;
        let mut known = self.order.counters.iter();
        let known = known.find(|known| known.sizes.contains(&sizes) && known.slots == others);
        Ok(known.map(|known| known.next_func_version))
    }

    /// In the table `locked` and `holder` are relative to the interpreter, `enabled` to the GIL.
    fn gil(
        self,
        interpreter: &mut Structure<'_>,
        free_threaded: bool,
    ) -> Result<GilRuntimeState, OffsetsError> {
        let start = self.required("interpreter_state.gil_runtime_state")?;
        let enabled = free_threaded
            .then(|| self.required("interpreter_state.gil_runtime_state_enabled"))
            .transpose()?;
        let mut from_start = |field, width| {
            let offset: Offset = interpreter.field(field, width)?;
            u64::from(offset)
                .checked_sub(start)
                .and_then(|relative| u32::try_from(relative).ok())
                .filter(|relative| u64::from(*relative) < MAX_STRUCT)
                .ok_or(OffsetsError::OutOfBounds {
                    field,
                    value: offset.into(),
                })
        };
        let locked = from_start("interpreter_state.gil_runtime_state_locked", 4)?;
        let last_holder = from_start("interpreter_state.gil_runtime_state_holder", 8)?;
        let enabled = enabled
            .map(|value| {
                u32::try_from(value)
                    .ok()
                    .filter(|offset| value < MAX_STRUCT && offset % 4 == 0)
                    .ok_or(OffsetsError::OutOfBounds {
                        field: "interpreter_state.gil_runtime_state_enabled",
                        value,
                    })
            })
            .transpose()?;
        Ok(GilRuntimeState {
            enabled,
            locked,
            last_holder,
        })
    }

    fn code_object(self, free_threaded: bool) -> Result<CodeObject, OffsetsError> {
        let mut code = self.structure("code_object.size", MAX_STRUCT)?;
        Ok(CodeObject {
            size: code.size,
            filename: code.pointer("code_object.filename")?,
            name: code.pointer("code_object.name")?,
            qualname: Some(code.pointer("code_object.qualname")?),
            linetable: code.pointer("code_object.linetable")?,
            firstlineno: code.field("code_object.firstlineno", 4)?,
            argcount: code.field("code_object.argcount", 4)?,
            kwonlyargcount: Some(code.field("code_object.kwonlyargcount", 4)?),
            flags: code.field("code_object.flags", 4)?,
            localsplusnames: Some(code.pointer("code_object.localsplusnames")?),
            localspluskinds: Some(code.pointer("code_object.localspluskinds")?),
            firsttraceable: Some(code.field("code_object.firsttraceable", 4)?),
            varnames: None,
            cellvars: None,
            freevars: None,
            co_code_adaptive: Some(code.field("code_object.co_code_adaptive", 2)?),
            co_tlbc: code.if_free_threaded("code_object.co_tlbc", 8, free_threaded)?,
            co_version: code.optional("code_object.co_version", 4)?,
        })
    }

    fn type_object(self) -> Result<TypeObject, OffsetsError> {
        let mut of_type = self.structure("type_object.size", MAX_STRUCT)?;
        let mut heap_type = self.structure("heap_type_object.size", MAX_STRUCT)?;
        Ok(TypeObject {
            size: of_type.size,
            tp_name: of_type.pointer("type_object.tp_name")?,
            tp_basicsize: of_type.pointer("type_object.tp_basicsize")?,
            tp_flags: of_type.pointer("type_object.tp_flags")?,
            tp_dictoffset: of_type.pointer("type_object.tp_dictoffset")?,
            tp_dict: of_type.pointer("type_object.tp_dict")?,
            ht_cached_keys: Some(heap_type.pointer("heap_type_object.ht_cached_keys")?),
        })
    }

    /// A string starts with `PyASCIIObject`, which starts `PyCompactUnicodeObject`, which starts the
    /// structure with the pointer of a string that is not compact.
    fn unicode_object(self) -> Result<UnicodeObject, OffsetsError> {
        let mut ascii = self.structure("unicode_object.asciiobject_size", MAX_STRUCT)?;
        let compact = self.structure("unicode_object.compactunicodeobject_size", MAX_STRUCT)?;
        let mut whole = self.structure("unicode_object.size", MAX_STRUCT)?;
        Ok(UnicodeObject {
            state: Some(ascii.field("unicode_object.state", 4)?),
            length: ascii.pointer("unicode_object.length")?,
            asciiobject_size: whole.pointer("unicode_object.asciiobject_size")?,
            compactunicodeobject_size: compact.size,
            data: whole.pointer("unicode_object.compactunicodeobject_size")?,
        })
    }
}
