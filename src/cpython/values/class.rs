//! [`Class`]: the fields of a type object that describe its instances.

use super::object::Objects;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{RecordBuffer, read_ptr, span};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum number of a class's attributes that are searched for its module's name.
const MAX_CLASS_ATTRIBUTES: usize = 4096;

/// The fields of a `PyTypeObject` that are needed to read its instances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    pub addr: RemoteAddr,
    flags: u64,
    pub basicsize: i64,
    pub itemsize: i64,
    pub dictoffset: i64,
    pub base: RemoteAddr,
    /// Null for static types (3.12+).
    pub dict: RemoteAddr,
    name: RemoteAddr,
}

/// The built-in type that a type is or derives from: bits of `tp_flags`, the same in all versions
/// (2.7+, `Include/object.h`). Subclasses have the structure of their base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Python 2's `int`.
    ShortInt,
    /// `int`, or Python 2's `long`.
    Int,
    List,
    Tuple,
    /// `bytes`, or Python 2's `str`.
    Bytes,
    /// `str`, or Python 2's `unicode`.
    Str,
    Dict,
    Exception,
    Type,
    Other,
}

impl Class {
    /// `Py_TPFLAGS_INLINE_VALUES` (3.13+): the values are inside the object.
    pub fn has_inline_values(&self) -> bool {
        self.flags & 1 << 2 != 0
    }

    /// `Py_TPFLAGS_MANAGED_DICT` (3.11+): the dict pointer is in front of the object.
    pub fn has_managed_dict(&self) -> bool {
        self.flags & 1 << 4 != 0
    }

    /// `Py_TPFLAGS_HEAPTYPE`: created at run time, nearly always by a `class` statement.
    pub fn is_heap_type(&self) -> bool {
        self.flags & 1 << 9 != 0
    }

    pub fn family(&self) -> Family {
        const FAMILIES: [(u32, Family); 8] = [
            (24, Family::Int),
            (25, Family::List),
            (26, Family::Tuple),
            (27, Family::Bytes),
            (28, Family::Str),
            (29, Family::Dict),
            (30, Family::Exception),
            (31, Family::Type),
        ];
        FAMILIES
            .iter()
            .find(|(bit, _)| self.flags & 1 << bit != 0)
            .map_or(Family::Other, |(_, family)| *family)
    }

    /// `Py_TPFLAGS_INT_SUBCLASS` of Python 2; newer versions give the bit other meanings.
    fn is_short_int(&self) -> bool {
        self.flags & 1 << 23 != 0
    }
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// Reads a type object.
    pub(crate) fn class(&self, addr: RemoteAddr) -> Result<Class, ReadError> {
        let layout = &self.python.layout.type_object;
        // In every version tp_itemsize directly follows tp_basicsize.
        let itemsize = layout.tp_basicsize + 8;
        let len = span(&[
            layout.tp_name,
            itemsize,
            layout.tp_flags,
            layout.tp_dictoffset,
            layout.tp_dict,
        ]);
        let mut buffer = RecordBuffer::default();
        let head = buffer.read(self.memory, "PyTypeObject", addr, len)?;
        Ok(Class {
            addr,
            flags: head.u64(layout.tp_flags)?,
            basicsize: head.i64(layout.tp_basicsize)?,
            itemsize: head.i64(itemsize)?,
            dictoffset: head.i64(layout.tp_dictoffset)?,
            // In every version tp_base directly precedes tp_dict.
            base: head.ptr(layout.tp_dict.saturating_sub(8))?,
            dict: head.ptr(layout.tp_dict)?,
            name: head.ptr(layout.tp_name)?,
        })
    }

    /// The family of a class, with Python 2's short ints.
    pub(crate) fn family(&self, class: &Class) -> Family {
        match class.family() {
            Family::Other if self.is_python2() && class.is_short_int() => Family::ShortInt,
            family => family,
        }
    }

    /// Whether the layout is that of Python 2: only there a short int has its own value field.
    pub(crate) fn is_python2(&self) -> bool {
        self.python.layout.long_object.ob_ival.is_some()
    }

    /// `tp_name`: the bare name for a class from a `class` statement, else usually with its module.
    pub(crate) fn class_short_name(&self, class: &Class) -> Result<String, ReadError> {
        self.c_string(class.name)
    }

    /// A class's name with its module: `app.Config`, `collections.deque`, `int`.
    pub(crate) fn class_name(&self, class: &Class) -> Result<String, ReadError> {
        let mut name = self.class_short_name(class)?;
        // Python 2 includes the module of its built-in exceptions, Python 3 does not.
        if let Some(bare) = name.strip_prefix("exceptions.") {
            name = bare.to_owned();
        }
        if !class.is_heap_type() || name.contains('.') || class.dict.is_null() {
            return Ok(name);
        }
        let module = self.dict_get(class.dict, "__module__", MAX_CLASS_ATTRIBUTES);
        Ok(match module {
            // A class can have any object under that name; then the bare name is used.
            Ok(Some(module)) if self.is_string(module)? => {
                let module = self.string(module)?;
                if module == "builtins" || module == "__builtin__" {
                    name
                } else {
                    format!("{module}.{name}")
                }
            }
            _ => name,
        })
    }

    /// Whether an object has the type of names: `str`.
    pub(crate) fn is_string(&self, object: RemoteAddr) -> Result<bool, ReadError> {
        let wanted = if self.is_python2() {
            Family::Bytes
        } else {
            Family::Str
        };
        Ok(self.family(&self.class(self.type_of(object)?)?) == wanted)
    }

    /// The class's `PyHeapTypeObject.ht_cached_keys`: the names of its instances' attributes.
    pub(crate) fn cached_keys(&self, class: &Class) -> Result<Option<RemoteAddr>, ReadError> {
        let Some(offset) = self.python.layout.type_object.ht_cached_keys else {
            return Ok(None);
        };
        let keys = read_ptr(self.memory, class.addr.offset(offset.into()))?;
        Ok(Some(keys).filter(|keys| !keys.is_null()))
    }
}
