//! A frame's arguments and local variables.
//!
//! Sources: `PyFrame_FastToLocalsWithError` in `Objects/frameobject.c` (2.7 to 3.12),
//! `Include/internal/pycore_frame.h` and `pycore_code.h` (3.11+), `pycore_stackref.h` (3.14+).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use python_offsets::semantics::Executable;

use super::object::Objects;
use super::repr::printable_name;
use super::slots::{Slot, size_of_slots};
use super::{ValueCache, ValueOptions, ValueWriter};
use crate::cpython::read::budget::Budget;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{read_i32, read_ptr};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum number of variables of one frame, more than any real function has.
const MAX_VARIABLES: u64 = 4096;
/// Maximum number of bytes of all their names.
const MAX_NAMES: usize = 256 << 10;
/// `co_flags`: the function takes `*args`.
const CO_VARARGS: i32 = 0x4;
/// `co_flags`: the function takes `**kwargs`.
const CO_VARKEYWORDS: i32 = 0x8;
/// `co_localspluskinds`: the variable is, or may be, in a cell.
const CO_FAST_CELL: u8 = 0x40;
/// `co_localspluskinds`: the variable is in a cell of an outer function.
const CO_FAST_FREE: u8 = 0x80;
/// The low bits of a `_PyStackRef` that are not part of the address.
const STACK_REF_TAG: u64 = 3;
/// The tag of an int that is stored in the reference itself.
const STACK_REF_INT: u64 = 3;

/// A variable of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub name: String,
    /// Its value, similar to Python's `repr`.
    pub value: String,
    /// The address of the object; 0 for an int that is stored in the frame itself (3.14+).
    pub addr: RemoteAddr,
    /// Whether it is an argument of the function.
    pub is_argument: bool,
}

/// The content of a slot.
enum SlotValue {
    Object(RemoteAddr),
    /// An int that is stored in the reference itself (3.14+).
    Int(i64),
}

/// The variables of a frame, before their values are read.
pub(crate) struct FrameSlots {
    slots: Rc<[Slot]>,
    /// The content of each slot.
    words: Vec<RemoteAddr>,
}

impl FrameSlots {
    /// Its approximate size in bytes.
    pub(crate) fn size(&self) -> usize {
        let words = self.words.len().saturating_mul(size_of::<RemoteAddr>());
        size_of_slots(&self.slots).saturating_add(words)
    }
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// The variables of a frame that have a value: arguments first, then the others in the order of the
    /// code object. Those of a module or a class body are in dicts and not included.
    ///
    /// `frame` is a `_PyInterpreterFrame` (3.11+) or a `PyFrameObject`, `code` its code object.
    ///
    /// # Errors
    /// When the frame or the names cannot be read, or the process is gone. An unreadable value is
    /// `<unreadable>`.
    pub fn frame_locals(
        &self,
        frame: RemoteAddr,
        code: RemoteAddr,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        let mut cache = ValueCache::default();
        let slots = self.frame_slots(frame, code, options, &mut cache)?;
        self.slot_values(&slots, options, &mut cache)
    }

    /// The names of a frame's variables, and where their values are. `frame` and `code` as in
    /// [`Objects::frame_locals`].
    ///
    /// # Errors
    /// When the frame or the names cannot be read.
    pub(crate) fn frame_slots(
        &self,
        frame: RemoteAddr,
        code: RemoteAddr,
        options: ValueOptions,
        cache: &mut ValueCache,
    ) -> Result<FrameSlots, ReadError> {
        let budget = Budget::new(self.memory, options.max_reads, options.max_bytes());
        let objects = Objects {
            memory: &budget,
            python: self.python,
        };
        let slots = cache.slots_of(code, || objects.slots(code))?;
        let first = frame.offset(self.python.layout.interpreter_frame.localsplus.into());
        let words = objects.pointers(first, slots.len())?;
        Ok(FrameSlots { slots, words })
    }

    /// Reads what [`Objects::slot_values`] will read, so that there are copies of it.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn read_ahead(
        &self,
        slots: &FrameSlots,
        options: ValueOptions,
        cache: &mut ValueCache,
    ) -> Result<(), ReadError> {
        self.written_slots(slots, options, cache, true).map(drop)
    }

    /// The variables that have a value: see [`Objects::frame_locals`].
    ///
    /// # Errors
    /// When the process is gone. An unreadable value is `<unreadable>`.
    pub(crate) fn slot_values(
        &self,
        slots: &FrameSlots,
        options: ValueOptions,
        cache: &mut ValueCache,
    ) -> Result<Vec<Local>, ReadError> {
        self.written_slots(slots, options, cache, false)
    }

    fn written_slots(
        &self,
        FrameSlots { slots, words }: &FrameSlots,
        options: ValueOptions,
        cache: &mut ValueCache,
        reads_ahead: bool,
    ) -> Result<Vec<Local>, ReadError> {
        let budget = Budget::new(self.memory, options.max_reads, options.max_bytes());
        let objects = Objects {
            memory: &budget,
            python: self.python,
        };
        let mut writer = ValueWriter::new(objects, options, cache, reads_ahead);
        let mut locals = Vec::new();
        let mut seen = HashSet::new();
        // From the end: an argument that an inner function uses is in its cell, and in Python 2 its own
        // slot still has the value that was passed.
        for (slot, word) in slots.iter().zip(words).rev() {
            let Some(content) = objects.slot_value(*word, slot.in_cell)? else {
                continue;
            };
            if !seen.insert(slot.name.as_str()) {
                continue;
            }
            let (value, addr) = match content {
                SlotValue::Object(object) => (writer.variable(&slot.name, object)?, object),
                SlotValue::Int(int) => (writer.int_variable(&slot.name, int), RemoteAddr::NULL),
            };
            let local = Local {
                name: printable_name(&slot.name),
                value,
                addr,
                is_argument: slot.argument.is_some(),
            };
            locals.push((slot.argument.unwrap_or(usize::MAX), local));
        }
        locals.reverse();
        // Up to 3.10 arguments in cells come last.
        locals.sort_by_key(|(place, _)| *place);
        Ok(locals.into_iter().map(|(_, local)| local).collect())
    }

    /// The content of a slot; `None` if the variable has no value.
    fn slot_value(&self, word: RemoteAddr, in_cell: bool) -> Result<Option<SlotValue>, ReadError> {
        let object = match self.python.semantics.executable {
            Executable::StackRef { .. } => {
                if word.0 & STACK_REF_TAG == STACK_REF_INT {
                    return Ok(Some(SlotValue::Int(word.0.cast_signed() >> 2)));
                }
                word.without_bits(STACK_REF_TAG)
            }
            Executable::Code | Executable::Object => word,
        };
        if object.is_null() {
            return Ok(None);
        }
        // Until the function's first instructions have run, an argument is not in its cell.
        if in_cell && self.is_cell(object) {
            // PyCellObject.ob_ref
            let head = self.python.layout.pyobject.size;
            let inner = match read_ptr(self.memory, object.offset(head.into())) {
                Err(error) if !error.process_is_gone() => RemoteAddr::NULL,
                other => other?,
            };
            return Ok(Some(inner)
                .filter(|inner| !inner.is_null())
                .map(SlotValue::Object));
        }
        Ok(Some(SlotValue::Object(object)))
    }

    fn is_cell(&self, object: RemoteAddr) -> bool {
        self.type_of(object)
            .and_then(|class| self.type_name(class))
            .is_ok_and(|name| name == "cell")
    }

    /// The variables of a code object.
    fn slots(&self, code: RemoteAddr) -> Result<Vec<Slot>, ReadError> {
        let layout = &self.python.layout.code_object;
        let arguments = self.argument_count(code)?;
        if let (Some(names), Some(kinds)) = (layout.localsplusnames, layout.localspluskinds) {
            let names = self.names(code, names)?;
            let kinds = self.bytes(read_ptr(self.memory, code.offset(kinds.into()))?)?;
            return Ok(names
                .into_iter()
                .zip(kinds)
                .enumerate()
                .map(|(index, (name, kind))| Slot {
                    name,
                    argument: Some(index).filter(|index| *index < arguments),
                    in_cell: kind & (CO_FAST_CELL | CO_FAST_FREE) != 0,
                })
                .collect());
        }
        let corrupt = || ReadError::corrupt("PyCodeObject", code);
        let own = self.names(code, layout.varnames.ok_or_else(corrupt)?)?;
        let arguments: HashMap<String, usize> =
            own.iter().take(arguments).cloned().zip(0..).collect();
        let mut slots = Vec::new();
        let groups = [
            (own, false),
            (
                self.names(code, layout.cellvars.ok_or_else(corrupt)?)?,
                true,
            ),
            (
                self.names(code, layout.freevars.ok_or_else(corrupt)?)?,
                true,
            ),
        ];
        for (names, in_cell) in groups {
            slots.extend(names.into_iter().map(|name| Slot {
                argument: arguments.get(&name).copied(),
                name,
                in_cell,
            }));
        }
        Ok(slots)
    }

    /// How many variables are arguments; they come first.
    fn argument_count(&self, code: RemoteAddr) -> Result<usize, ReadError> {
        let layout = &self.python.layout.code_object;
        let int = |offset: u32| read_i32(self.memory, code.offset(offset.into()));
        let keyword_only = layout.kwonlyargcount.map_or(Ok(0), int)?;
        let flags = int(layout.flags)?;
        let count = int(layout.argcount)?
            .saturating_add(keyword_only)
            .saturating_add(i32::from(flags & CO_VARARGS != 0))
            .saturating_add(i32::from(flags & CO_VARKEYWORDS != 0));
        usize::try_from(count).map_err(|_| ReadError::corrupt("PyCodeObject", code))
    }

    /// A code object's tuple of names.
    fn names(&self, code: RemoteAddr, field: u32) -> Result<Vec<String>, ReadError> {
        let layout = &self.python.layout.tuple_object;
        let tuple = read_ptr(self.memory, code.offset(field.into()))?;
        let count = read_ptr(self.memory, tuple.offset(layout.ob_size.into()))?.0;
        if count > MAX_VARIABLES {
            return Err(ReadError::corrupt("PyCodeObject", code));
        }
        let first = tuple.offset(layout.ob_item.into());
        let names = self.pointers(first, usize::try_from(count).unwrap_or(0))?;
        let mut total_len = 0;
        let names = names.into_iter().map(|name| {
            let name = self.string(name)?;
            total_len += name.len();
            if total_len > MAX_NAMES {
                return Err(ReadError::corrupt("PyCodeObject", code));
            }
            Ok(name)
        });
        names.collect()
    }
}
