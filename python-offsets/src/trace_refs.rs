//! Builds with `Py_TRACE_REFS`, where every object starts with two extra pointers.
//!
//! Up to 3.12 `_PyObject_HEAD_EXTRA` (`Include/object.h`) puts `_ob_next` and `_ob_prev` in front of
//! `ob_refcnt` in such builds: from 3.8 on those configured with `--with-trace-refs`, before that all
//! with `--with-pydebug`. The offsets of a [`Layout`] in objects grow by these 16 bytes, all others are
//! unchanged; `tests/live_headers.rs` compares them with the headers. From 3.13 on the references are
//! in a separate table.

use crate::describe::{Description, LayoutSource};
use crate::layout::Offset;
use crate::semantics::InstructionPointer;

/// `_ob_next` and `_ob_prev`.
const HEAD_EXTRA: Offset = 16;

impl Description {
    /// The offset of `ob_type` in the builds with `Py_TRACE_REFS` of a version with a literal table (to
    /// 3.12); `None` if such builds have the normal layout.
    #[must_use]
    pub fn trace_refs_ob_type(&self) -> Option<Offset> {
        (self.source == LayoutSource::Table).then(|| self.layout.pyobject.ob_type + HEAD_EXTRA)
    }

    /// The same version built with `Py_TRACE_REFS`.
    #[must_use]
    // Long: one line for each field that moves.
    pub fn with_trace_refs(mut self) -> Description {
        if self.source != LayoutSource::Table {
            return self;
        }
        // Frames with a pointer to their instruction are not objects.
        let frames_are_objects = self.semantics.instruction_pointer != InstructionPointer::Pointer;
        let layout = &mut self.layout;
        let (code, types) = (&mut layout.code_object, &mut layout.type_object);
        let (frame, text) = (&mut layout.interpreter_frame, &mut layout.unicode_object);
        let of_frames: [&mut Offset; 5] = [
            &mut frame.size,
            &mut frame.previous,
            &mut frame.executable,
            &mut frame.instr_ptr,
            &mut frame.localsplus,
        ];
        if frames_are_objects {
            let optional = [&mut frame.generator, &mut frame.executing, &mut frame.state];
            of_frames
                .into_iter()
                .chain(optional.into_iter().flatten())
                .for_each(|offset| *offset += HEAD_EXTRA);
        }
        let all: [&mut Offset; 34] = [
            &mut code.size,
            &mut code.filename,
            &mut code.name,
            &mut code.linetable,
            &mut code.firstlineno,
            &mut code.argcount,
            &mut code.flags,
            &mut layout.pyobject.size,
            &mut layout.pyobject.ob_type,
            &mut types.size,
            &mut types.tp_name,
            &mut types.tp_basicsize,
            &mut types.tp_flags,
            &mut types.tp_dictoffset,
            &mut types.tp_dict,
            &mut layout.tuple_object.ob_size,
            &mut layout.tuple_object.ob_item,
            &mut layout.list_object.ob_size,
            &mut layout.list_object.ob_item,
            &mut layout.set_object.used,
            &mut layout.set_object.mask,
            &mut layout.set_object.table,
            &mut layout.dict_object.ma_used,
            &mut layout.dict_object.ma_keys,
            &mut layout.float_object.ob_fval,
            &mut layout.long_object.lv_tag,
            &mut layout.long_object.ob_digit,
            &mut layout.bytes_object.ob_size,
            &mut layout.bytes_object.ob_sval,
            &mut text.length,
            &mut text.data,
            &mut layout.module_object.md_dict,
            // Python 2's strings have no such structures, and sizes of 0 for them.
            &mut text.asciiobject_size,
            &mut text.compactunicodeobject_size,
        ];
        for offset in all.into_iter().filter(|offset| **offset != 0) {
            *offset += HEAD_EXTRA;
        }
        let some: [&mut Option<Offset>; 15] = [
            &mut code.qualname,
            &mut code.kwonlyargcount,
            &mut code.localsplusnames,
            &mut code.localspluskinds,
            &mut code.firsttraceable,
            &mut code.varnames,
            &mut code.cellvars,
            &mut code.freevars,
            &mut code.co_code_adaptive,
            &mut code.co_tlbc,
            &mut code.co_version,
            &mut types.ht_cached_keys,
            &mut layout.dict_object.ma_values,
            &mut layout.dict_object.ma_mask,
            &mut layout.long_object.ob_ival,
        ];
        for offset in some.into_iter().flatten().chain(&mut text.state) {
            *offset += HEAD_EXTRA;
        }
        self
    }
}
