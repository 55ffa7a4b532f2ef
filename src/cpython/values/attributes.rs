//! Attributes of modules and instances: the dict or values block that contains them.
//!
//! Sources: `_PyObject_GetDictPtr` in `Objects/object.c` (2.7 to 3.11), `Include/internal/
//! pycore_object.h` (3.11+).

use python_offsets::semantics::{InstanceDict, IntFormat, StrFormat};

use super::class::{Class, Family};
use super::dict::DictEntry;
use super::object::Objects;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum number of modules of `sys.modules` that are searched.
const MAX_MODULES: usize = 100_000;
/// Maximum number of attributes of a module or an instance that are searched.
const MAX_ATTRIBUTES: usize = 100_000;
/// Keys that are read together.
const KEYS_AT_ONCE: usize = 256;
/// Maximum size of an object in bytes; a larger one is invalid.
const MAX_INSTANCE_SIZE: u64 = 1 << 40;

impl<M: RemoteMemory> Objects<'_, M> {
    /// A module of an interpreter by its name in `sys.modules`; `None` if it was not imported.
    ///
    /// # Errors
    /// When `sys.modules` cannot be read.
    pub fn module(
        &self,
        interpreter: RemoteAddr,
        name: &str,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        match self.modules_dict(interpreter)? {
            Some(modules) => self.dict_get(modules, name, MAX_MODULES),
            None => Ok(None),
        }
    }

    /// The dict behind `sys.modules`; `None` while the interpreter starts.
    pub(crate) fn modules_dict(
        &self,
        interpreter: RemoteAddr,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        let field = self.python.layout.interpreter_state.imports_modules;
        self.optional_dict(interpreter.offset(field.into()))
    }

    /// An attribute of a module by its name.
    ///
    /// # Errors
    /// When the module's dict cannot be read.
    pub fn module_attribute(
        &self,
        module: RemoteAddr,
        name: &str,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        let field = self.python.layout.module_object.md_dict;
        match self.optional_dict(module.offset(field.into()))? {
            Some(dict) => self.dict_get(dict, name, MAX_ATTRIBUTES),
            None => Ok(None),
        }
    }

    /// The value of a string key of a dict, of which at most `cap` items are searched.
    ///
    /// # Errors
    /// When the dict cannot be read.
    pub fn dict_get(
        &self,
        dict: RemoteAddr,
        key: &str,
        cap: usize,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        let entries = self.dict_entries(&self.dict_head(dict)?, cap)?;
        self.find(&entries, key)
    }

    /// An attribute in an instance's own dict (no class attributes, no `__slots__`).
    ///
    /// # Errors
    /// When the instance or its dict cannot be read.
    pub fn instance_attribute(
        &self,
        instance: RemoteAddr,
        name: &str,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        let class = self.class(self.type_of(instance)?)?;
        self.find(
            &self.instance_entries(instance, &class, MAX_ATTRIBUTES)?,
            name,
        )
    }

    /// The value among `entries` whose key is the ASCII string `name`. Compares the keys themselves,
    /// with few reads: their hashes depend on the target's seed.
    pub(crate) fn find(
        &self,
        entries: &[DictEntry],
        name: &str,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        let len = self.ascii_start() + name.len();
        let mut bytes = Vec::new();
        for some in entries.chunks(KEYS_AT_ONCE) {
            bytes.clear();
            bytes.resize(some.len() * len, 0);
            let mut parts: Vec<(RemoteAddr, &mut [u8])> = some
                .iter()
                .map(|entry| entry.key)
                .zip(bytes.chunks_exact_mut(len))
                .collect();
            if let Err(error) = self.memory.read_many(&mut parts) {
                if error.process_is_gone() || error.is_out_of_time() {
                    return Err(error.into());
                }
                // A shorter key may be at the end of its mapping: read each key by itself.
                for (key, part) in parts {
                    match self.memory.read(key, part) {
                        Err(error) if error.is_out_of_time() => return Err(error.into()),
                        Err(_) => part.fill(0),
                        Ok(()) => {}
                    }
                }
            }
            let hit = some
                .iter()
                .zip(bytes.chunks_exact(len))
                .find(|(entry, key)| self.is_ascii_key(entry.key, key, name));
            if let Some((entry, _)) = hit {
                return Ok(Some(entry.value));
            }
        }
        Ok(None)
    }

    /// The offset of a name's characters in its object.
    fn ascii_start(&self) -> usize {
        let layout = &self.python.layout;
        match self.python.semantics.str_format {
            StrFormat::Python2 => layout.bytes_object.ob_sval as usize,
            StrFormat::Pep393 { .. } => layout.unicode_object.asciiobject_size as usize,
        }
    }

    /// Whether the object at `addr`, which starts with `bytes`, is the string `name`. The type is not
    /// checked: in dicts of names every key is a string.
    fn is_ascii_key(&self, addr: RemoteAddr, bytes: &[u8], name: &str) -> bool {
        if !bytes.ends_with(name.as_bytes()) {
            return false;
        }
        let record = Record::new("key", addr, bytes);
        let layout = &self.python.layout;
        let length = match self.python.semantics.str_format {
            StrFormat::Python2 => layout.bytes_object.ob_size,
            StrFormat::Pep393 {
                compact_bit,
                ascii_bit,
                ..
            } => {
                let flags = 1_u32.checked_shl(compact_bit.into()).unwrap_or(0)
                    | 1_u32.checked_shl(ascii_bit.into()).unwrap_or(0);
                let state = layout.unicode_object.state;
                let is_compact_ascii = state
                    .and_then(|offset| record.u32(offset).ok())
                    .is_some_and(|state| state & flags == flags);
                if !is_compact_ascii {
                    return false;
                }
                layout.unicode_object.length
            }
        };
        record.u64(length).is_ok_and(|len| len == name.len() as u64)
    }

    /// The first `cap` own attributes of an instance of `class`.
    pub(crate) fn instance_entries(
        &self,
        instance: RemoteAddr,
        class: &Class,
        cap: usize,
    ) -> Result<Vec<DictEntry>, ReadError> {
        let word = |offset: i32| read_ptr(self.memory, instance.offset_signed(offset.into()));
        let managed = class.has_managed_dict();
        let (dict, values) = match self.python.semantics.instance_dict {
            InstanceDict::ValuesBeforeObject { values, dict } if managed => {
                (word(dict)?, word(values)?)
            }
            InstanceDict::TaggedBeforeObject { dict_or_values } if managed => {
                let tagged = word(dict_or_values)?;
                if tagged.0 & 1 == 1 {
                    // CPython stores the pointer minus one as the tag.
                    (RemoteAddr::NULL, tagged.offset(1))
                } else {
                    (tagged, RemoteAddr::NULL)
                }
            }
            InstanceDict::InlineValues { dict } if managed => {
                let dict = word(dict)?;
                let inline = if dict.is_null() && class.has_inline_values() {
                    self.inline_values(instance, class)?
                } else {
                    RemoteAddr::NULL
                };
                (dict, inline)
            }
            _ => (self.unmanaged_dict(instance, class)?, RemoteAddr::NULL),
        };
        if !dict.is_null() {
            self.dict_entries(&self.dict_head(dict)?, cap)
        } else if !values.is_null()
            && let Some(keys) = self.cached_keys(class)?
        {
            self.split_entries(keys, values, cap)
        } else {
            Ok(Vec::new())
        }
    }

    /// The values inside an object (3.13+); null once they are no longer used.
    fn inline_values(&self, instance: RemoteAddr, class: &Class) -> Result<RemoteAddr, ReadError> {
        let corrupt = || ReadError::corrupt("PyTypeObject", class.addr);
        let size = u64::try_from(class.basicsize)
            .ok()
            .filter(|size| *size < MAX_INSTANCE_SIZE)
            .ok_or_else(corrupt)?;
        let values = instance.offset(size);
        let Some(valid) = self.python.layout.dict_keys.values_valid else {
            return Ok(values);
        };
        let mut flag = [0];
        self.memory.read(values.offset(valid.into()), &mut flag)?;
        Ok(if flag == [0] {
            RemoteAddr::NULL
        } else {
            values
        })
    }

    /// The dict at `tp_dictoffset`; null if there is none. A negative offset counts from the end of an
    /// object of variable size.
    fn unmanaged_dict(&self, instance: RemoteAddr, class: &Class) -> Result<RemoteAddr, ReadError> {
        let offset = match class.dictoffset {
            0 => return Ok(RemoteAddr::NULL),
            offset @ 1.. => offset,
            offset => {
                let items = self.item_count(instance, class)?;
                items
                    .checked_mul(class.itemsize)
                    .and_then(|bytes| bytes.checked_add(class.basicsize))
                    .and_then(|size| size.checked_add(7))
                    .and_then(|size| (size & !7).checked_add(offset))
                    .filter(|offset| *offset > 0)
                    .ok_or_else(|| ReadError::corrupt("PyTypeObject", class.addr))?
            }
        };
        read_ptr(self.memory, instance.offset_signed(offset))
    }

    /// The number of items in an object of variable size.
    fn item_count(&self, instance: RemoteAddr, class: &Class) -> Result<i64, ReadError> {
        // `ob_size` has the same offset in all such objects as in a tuple.
        let field = instance.offset(self.python.layout.tuple_object.ob_size.into());
        let size = read_ptr(self.memory, field)?.0;
        let is_int = self.family(class) == Family::Int;
        if is_int && self.python.semantics.int_format == IntFormat::Tagged {
            return Ok(i64::try_from(size >> 3).unwrap_or(i64::MAX));
        }
        // The sign of an int is in its size.
        size.cast_signed()
            .checked_abs()
            .ok_or_else(|| ReadError::corrupt("PyVarObject", instance))
    }
}
