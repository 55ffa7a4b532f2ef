//! Values with items: tuple, list, dict, set.

use super::class::Family;
use super::object::Objects;
use super::secrets::value_name;
use super::{CUT, KnownClass, ValueWriter};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{RecordBuffer, span};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::text::secrets::command::Next;

/// Maximum number of slots of a set that are searched.
const MAX_SET_SLOTS: u64 = 1 << 16;
/// Maximum length of a bytes key that is used as a name.
const MAX_KEY_BYTES: usize = 300;
/// Slots of a set that are read together.
const SET_CHUNK: u64 = 512;
/// The placeholder of a removed item in a Python 2 set (`set_init` in `Objects/setobject.c`).
const DUMMY: &str = "<dummy key>";

impl<M: RemoteMemory> ValueWriter<'_, '_, M> {
    pub(crate) fn list(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        let layout = &self.objects.python.layout.list_object;
        let mut buffer = RecordBuffer::default();
        let len = span(&[layout.ob_size, layout.ob_item]);
        let head = buffer.read(self.objects.memory, "PyListObject", object, len)?;
        let total = head.u64(layout.ob_size)?;
        let items = self.objects.pointers(
            head.ptr(layout.ob_item)?,
            self.shown_count("PyListObject", object, total)?,
        )?;
        self.inside(object, ("[", "]"), |writer| {
            writer.items(&items, total, &[])
        })
    }

    /// A tuple; `names` are those of a named tuple's items.
    pub(crate) fn tuple(&mut self, object: RemoteAddr, names: &[String]) -> Result<(), ReadError> {
        let (items, total) = self.tuple_items(object)?;
        // As in `(1,)`.
        let close = if total == 1 { ",)" } else { ")" };
        self.inside(object, ("(", close), |writer| {
            writer.items(&items, total, names)
        })
    }

    /// The first items of a tuple, and its length.
    pub(crate) fn tuple_items(
        &self,
        object: RemoteAddr,
    ) -> Result<(Vec<RemoteAddr>, u64), ReadError> {
        let layout = &self.objects.python.layout.tuple_object;
        let mut buffer = RecordBuffer::default();
        let len = layout.ob_size as usize + 8;
        let head = buffer.read(self.objects.memory, "PyTupleObject", object, len)?;
        let total = head.u64(layout.ob_size)?;
        let count = self.shown_count("PyTupleObject", object, total)?;
        let first = object.offset(layout.ob_item.into());
        Ok((self.objects.pointers(first, count)?, total))
    }

    /// How many of `total` items are shown.
    fn shown_count(
        &self,
        what: &'static str,
        object: RemoteAddr,
        total: u64,
    ) -> Result<usize, ReadError> {
        if total > 1 << 60 {
            return Err(ReadError::corrupt(what, object));
        }
        let max = self.options.max_items;
        Ok(usize::try_from(total).map_or(max, |total| total.min(max)))
    }

    /// Items separated by commas, and `…` for those that are not shown. `names`: what is known of them.
    pub(crate) fn items(
        &mut self,
        items: &[RemoteAddr],
        total: u64,
        names: &[String],
    ) -> Result<(), ReadError> {
        // A header or an option as a pair: `(b'authorization', b'Bearer ...')`.
        let pair_name = match items {
            [name, _] if total == 2 && names.is_empty() => self.key_name(*name)?,
            _ => None,
        };
        let named: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(items.iter().copied())
            .collect();
        let names_secret = self.name_a_secret(&named)?;
        let mut announced = Next::default();
        for (index, item) in items.iter().enumerate() {
            if self.full {
                return Ok(());
            }
            if index > 0 {
                self.push(", ");
            }
            let name = match names.get(index) {
                Some(name) => Some(value_name(name, names_secret)),
                None => pair_name.as_deref().filter(|_| index == 1),
            };
            announced = self.argument(announced, |writer| writer.named(name, *item))?;
        }
        self.rest(items.len(), total);
        Ok(())
    }

    /// Marks that there are more items than the `shown` ones.
    fn rest(&mut self, shown: usize, total: u64) {
        if total > shown as u64 {
            self.push(if shown == 0 { CUT } else { ", …" });
        }
    }

    pub(crate) fn dict(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        let items = self.objects.dict_items(object, self.options.max_items)?;
        let total = self.objects.dict_len(object)?;
        let names_secret = self.keys_name_a_secret(&items)?;
        self.inside(object, ("{", "}"), |writer| {
            for (index, (key, value)) in items.iter().enumerate() {
                if writer.full {
                    return Ok(());
                }
                if index > 0 {
                    writer.push(", ");
                }
                writer.value(*key)?;
                writer.push(": ");
                let name = writer.key_name(*key)?;
                let name = name.as_deref().map(|name| value_name(name, names_secret));
                writer.named(name, *value)?;
            }
            writer.rest(items.len(), total);
            Ok(())
        })
    }

    /// The name that a key gives to its value: its text if it is a string.
    pub(crate) fn key_name(&mut self, key: RemoteAddr) -> Result<Option<String>, ReadError> {
        if self.reads_ahead {
            // Of an attribute, the name is all that is read of the key.
            let (left, full) = (self.left, self.full);
            let result = self.value(key);
            (self.left, self.full) = (left, full);
            return result.map(|()| None);
        }
        match self.try_key_name(key) {
            Err(error) if error.process_is_gone() => Err(error),
            // The name is unknown, so the value may be a secret.
            Err(_) => Ok(Some("unreadable_secret".to_owned())),
            name => name,
        }
    }

    pub(crate) fn try_key_name(&mut self, key: RemoteAddr) -> Result<Option<String>, ReadError> {
        let known = self.class_of(key)?;
        Ok(match known.family {
            Family::Str if self.objects.is_python2() => Some(self.objects.python2_unicode(key)?),
            Family::Str => Some(self.objects.string(key)?),
            // Python 2's names, and the headers of ASGI.
            Family::Bytes => {
                let bytes = self.objects.bytes_prefix(key, MAX_KEY_BYTES)?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            // `("db", "password")` names one, too.
            Family::Tuple => return self.name_in_tuple(key),
            _ => None,
        })
    }

    /// A set or a frozenset.
    pub(crate) fn set(&mut self, object: RemoteAddr, known: &KnownClass) -> Result<(), ReadError> {
        let (items, total) = self.objects.set_items(object, self.options.max_items)?;
        let is_set = known.is_builtin("set");
        let name = known.short_name.as_str();
        let (open, close) = match (is_set, total, self.objects.is_python2()) {
            (_, 0, _) => ("(", ")"),
            (_, _, true) => ("([", "])"),
            (true, _, false) => ("{", "}"),
            (false, _, false) => ("({", "})"),
        };
        if open != "{" {
            self.push(name);
        }
        self.inside(object, (open, close), |writer| {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    writer.push(", ");
                }
                writer.value(*item)?;
            }
            writer.rest(items.len(), total);
            Ok(())
        })
    }
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// An array of pointers.
    pub(in crate::cpython) fn pointers(
        &self,
        first: RemoteAddr,
        count: usize,
    ) -> Result<Vec<RemoteAddr>, ReadError> {
        let mut bytes = vec![0; count.saturating_mul(8)];
        self.memory.read(first, &mut bytes)?;
        let words = bytes.as_chunks::<8>().0;
        Ok(words
            .iter()
            .map(|word| RemoteAddr(u64::from_le_bytes(*word)))
            .collect())
    }

    /// The first `cap` items of a set in the table's order, and its recorded length.
    fn set_items(
        &self,
        object: RemoteAddr,
        cap: usize,
    ) -> Result<(Vec<RemoteAddr>, u64), ReadError> {
        let layout = &self.python.layout.set_object;
        let mut buffer = RecordBuffer::default();
        let len = span(&[layout.used, layout.mask, layout.table]);
        let head = buffer.read(self.memory, "PySetObject", object, len)?;
        let total = head.u64(layout.used)?;
        let table = head.ptr(layout.table)?;
        let slots = head.u64(layout.mask)?.saturating_add(1).min(MAX_SET_SLOTS);
        let wanted = cap.min(usize::try_from(total).unwrap_or(usize::MAX));
        let mut items = Vec::new();
        let mut slot = 0;
        while slot < slots && items.len() < wanted {
            let count = SET_CHUNK.min(slots - slot);
            let words = usize::try_from(count * 2).unwrap_or(0);
            let words = self.pointers(table.offset(slot * 16), words)?;
            for pair in words.as_chunks::<2>().0 {
                let item = self.set_item(*pair);
                items.extend(item.filter(|_| items.len() < wanted));
            }
            slot += count;
        }
        Ok((items, total))
    }

    /// The item in a slot: `{key, hash}`, in Python 2 `{hash, key}`.
    fn set_item(&self, [first, second]: [RemoteAddr; 2]) -> Option<RemoteAddr> {
        if self.is_python2() {
            let live = !second.is_null() && self.string(second).is_ok_and(|text| text != DUMMY);
            return live.then_some(second);
        }
        // The hash -1 marks a slot whose item was removed.
        (!first.is_null() && second.0 != u64::MAX).then_some(first)
    }
}
