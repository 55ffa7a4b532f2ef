//! Reads a `dict` of any version as a list of keys and values.
//!
//! Sources: `Include/dictobject.h` and `Objects/dictobject.c` (2.7), `Objects/dict-common.h` (3.6 to
//! 3.10), `Include/internal/pycore_dict.h` (3.11+).

use python_offsets::semantics::DictFormat;

use super::object::Objects;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{RecordBuffer, read_ptr, span};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// `{hash, key, value}`.
const HASHED_ENTRY: u64 = 24;
/// `{key, value}`.
const UNICODE_ENTRY: u64 = 16;
/// Maximum number of slots of one dict that are searched. A table of almost only dummies is legal.
const MAX_SLOTS: u64 = 1 << 20;
/// Slots that are read together.
const MAX_CHUNK: usize = 4096;
/// Maximum number of values of a split table. From 3.11 on CPython allows 30; before, no class written
/// by hand has as many attributes.
const MAX_SPLIT: u64 = 4096;
/// Maximum size of a table: 2^40 slots would need terabytes.
const MAX_LOG2: u8 = 40;

/// One live entry of a dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DictEntry {
    /// The slot. From 3.6 on, a slot of a keys object is filled only once.
    pub slot: u64,
    pub key: RemoteAddr,
    pub value: RemoteAddr,
}

/// The fields of a dict that change when its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DictHead {
    /// `ma_used`: live entries.
    pub used: u64,
    /// `ma_keys`, or Python 2's `ma_table`.
    pub keys: RemoteAddr,
    /// Null unless the table is split.
    values: RemoteAddr,
    /// Slots of a Python 2 table.
    open_slots: u64,
}

/// The array of entries of a keys object.
struct Entries {
    first: RemoteAddr,
    slots: u64,
    size: u64,
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// The recorded number of items.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn dict_len(&self, dict: RemoteAddr) -> Result<u64, ReadError> {
        Ok(self.dict_head(dict)?.used)
    }

    /// The first `cap` items of a dict as addresses of keys and values, in insertion order in 3.6+.
    ///
    /// # Errors
    /// When it cannot be read or is not a dict.
    pub fn dict_items(
        &self,
        dict: RemoteAddr,
        cap: usize,
    ) -> Result<Vec<(RemoteAddr, RemoteAddr)>, ReadError> {
        let entries = self.dict_entries(&self.dict_head(dict)?, cap)?;
        Ok(entries
            .iter()
            .map(|entry| (entry.key, entry.value))
            .collect())
    }

    pub(crate) fn dict_head(&self, dict: RemoteAddr) -> Result<DictHead, ReadError> {
        let layout = &self.python.layout.dict_object;
        let len = span(&[
            layout.ma_used,
            layout.ma_keys,
            layout.ma_values.unwrap_or(0),
            layout.ma_mask.unwrap_or(0),
        ]);
        let mut buffer = RecordBuffer::default();
        let head = buffer.read(self.memory, "PyDictObject", dict, len)?;
        let mask = layout.ma_mask.map_or(Ok(0), |mask| head.u64(mask))?;
        Ok(DictHead {
            used: head.u64(layout.ma_used)?,
            keys: head.ptr(layout.ma_keys)?,
            values: layout
                .ma_values
                .map_or(Ok(RemoteAddr::NULL), |values| head.ptr(values))?,
            open_slots: mask.saturating_add(1),
        })
    }

    pub(crate) fn dict_entries(
        &self,
        head: &DictHead,
        cap: usize,
    ) -> Result<Vec<DictEntry>, ReadError> {
        let entries = match self.python.semantics.dict_format {
            DictFormat::OpenTable => Entries {
                first: head.keys,
                slots: head.open_slots,
                size: HASHED_ENTRY,
            },
            _ => self.keys_entries(head.keys)?,
        };
        if !head.values.is_null() {
            return self.split_table(&entries, head.values, cap);
        }
        // Python 2 and 3.3 to 3.5 have holes among the entries: `used` is the number to find.
        let wanted = cap.min(usize::try_from(head.used).unwrap_or(usize::MAX));
        self.combined_table(&entries, wanted)
    }

    /// The attributes in a values block of an instance whose class has the shared keys `keys`.
    pub(crate) fn split_entries(
        &self,
        keys: RemoteAddr,
        values: RemoteAddr,
        cap: usize,
    ) -> Result<Vec<DictEntry>, ReadError> {
        let entries = self.keys_entries(keys)?;
        self.split_table(&entries, values, cap)
    }

    /// Reads the header of a `PyDictKeysObject`.
    fn keys_entries(&self, keys: RemoteAddr) -> Result<Entries, ReadError> {
        let layout = &self.python.layout.dict_keys;
        let corrupt = || ReadError::corrupt("PyDictKeysObject", keys);
        let len = span(&[
            layout.dk_size,
            layout.dk_nentries.unwrap_or(0),
            layout.dk_kind.unwrap_or(0),
            layout.dk_log2_index_bytes.unwrap_or(0),
        ]);
        let mut buffer = RecordBuffer::default();
        let head = buffer.read(self.memory, "PyDictKeysObject", keys, len)?;
        let first = keys.offset(layout.dk_indices.into());
        if self.python.semantics.dict_format == DictFormat::CompactKinds {
            let log2_size = head.u8(layout.dk_size)?;
            let log2_index_bytes = head.u8(layout.dk_log2_index_bytes.ok_or_else(corrupt)?)?;
            let slots = head.u64(layout.dk_nentries.ok_or_else(corrupt)?)?;
            // An index has at most 8 bytes, and there are no more entries than indices.
            if log2_size > MAX_LOG2 || log2_index_bytes > MAX_LOG2 + 3 || slots > 1 << log2_size {
                return Err(corrupt());
            }
            let size = match head.u8(layout.dk_kind.ok_or_else(corrupt)?)? {
                0 => HASHED_ENTRY,
                1 | 2 => UNICODE_ENTRY,
                _ => return Err(corrupt()),
            };
            return Ok(Entries {
                first: first.offset(1 << log2_index_bytes),
                slots,
                size,
            });
        }
        let dk_size = head.u64(layout.dk_size)?;
        if dk_size > 1 << MAX_LOG2 {
            return Err(corrupt());
        }
        let (first, slots) = match layout.dk_nentries {
            None => (first, dk_size),
            Some(nentries) => {
                let slots = head.u64(nentries)?;
                if slots > dk_size {
                    return Err(corrupt());
                }
                (first.offset(dk_size * index_width(dk_size)), slots)
            }
        };
        Ok(Entries {
            first,
            slots,
            size: HASHED_ENTRY,
        })
    }

    fn combined_table(
        &self,
        entries: &Entries,
        wanted: usize,
    ) -> Result<Vec<DictEntry>, ReadError> {
        let mut found = Vec::new();
        // Usually at most every third slot of an open table is in use.
        let chunk = wanted.saturating_mul(3).clamp(8, MAX_CHUNK) as u64;
        let mut bytes = Vec::new();
        let end = entries.slots.min(MAX_SLOTS);
        let mut slot = 0;
        while slot < end && found.len() < wanted {
            let count = chunk.min(end - slot);
            bytes.resize(usize::try_from(count * entries.size).unwrap_or(0), 0);
            let from = entries.first.offset(slot * entries.size);
            self.memory.read(from, &mut bytes)?;
            let live = (slot..)
                .zip(entries_of(&bytes, entries.size))
                .filter(|(_, (key, value))| !key.is_null() && !value.is_null())
                .map(|(slot, (key, value))| DictEntry { slot, key, value });
            found.extend(live.take(wanted - found.len()));
            slot += count;
        }
        Ok(found)
    }

    /// The keys are in the keys object, the values in a separate array in the same order.
    fn split_table(
        &self,
        entries: &Entries,
        values: RemoteAddr,
        cap: usize,
    ) -> Result<Vec<DictEntry>, ReadError> {
        let block = self.values_block(entries, values)?;
        let slots = entries.slots.min(MAX_SPLIT).min(block.capacity);
        let mut keys = vec![0; usize::try_from(slots * entries.size).unwrap_or(0)];
        self.memory.read(entries.first, &mut keys)?;
        let mut array = vec![0; usize::try_from(slots * 8).unwrap_or(0)];
        self.memory.read(block.first, &mut array)?;
        let all: Vec<DictEntry> = (0..)
            .zip(entries_of(&keys, entries.size))
            .zip(pointers(&array))
            .map(|((slot, (key, _)), value)| DictEntry { slot, key, value })
            .collect();
        let live = |entry: &DictEntry| !entry.key.is_null() && !entry.value.is_null();
        Ok(match block.order {
            None => all.into_iter().filter(live).take(cap).collect(),
            Some(order) => order
                .iter()
                .filter_map(|slot| all.get(usize::from(*slot)).copied())
                .filter(live)
                .take(cap)
                .collect(),
        })
    }

    /// The values of a split table, and their insertion order.
    fn values_block(
        &self,
        entries: &Entries,
        values: RemoteAddr,
    ) -> Result<ValuesBlock, ReadError> {
        let first = values.offset(self.python.layout.dict_keys.values.into());
        if self.python.semantics.dict_format != DictFormat::CompactKinds {
            // A plain array; a shared table has only one order of insertion.
            return Ok(ValuesBlock {
                first,
                capacity: entries.slots,
                order: None,
            });
        }
        if first == values {
            // 3.11 and 3.12: in front of the values, backwards, the size of the prefix, the number of
            // values in use, and the slots in insertion order.
            let mut tail = [0; 8];
            self.memory.read(values.offset_signed(-8), &mut tail)?;
            let [.., used, prefix] = tail;
            let used = used.min(prefix.saturating_sub(2));
            let mut order = vec![0; usize::from(used)];
            self.memory
                .read(values.offset_signed(-2 - i64::from(used)), &mut order)?;
            order.reverse();
            return Ok(ValuesBlock {
                first,
                capacity: entries.slots,
                order: Some(order),
            });
        }
        // 3.13+: a header of four bytes, the values, then the slots in insertion order.
        let mut head = [0; 4];
        self.memory.read(values, &mut head)?;
        let [capacity, used, ..] = head;
        let mut order = vec![0; usize::from(used.min(capacity))];
        self.memory
            .read(first.offset(u64::from(capacity) * 8), &mut order)?;
        Ok(ValuesBlock {
            first,
            capacity: capacity.into(),
            order: Some(order),
        })
    }

    /// The dict that the pointer at `field` leads to; `None` if there is none yet.
    pub(crate) fn optional_dict(&self, field: RemoteAddr) -> Result<Option<RemoteAddr>, ReadError> {
        let dict = read_ptr(self.memory, field)?;
        Ok(Some(dict).filter(|dict| !dict.is_null()))
    }
}

struct ValuesBlock {
    first: RemoteAddr,
    capacity: u64,
    /// Slots in insertion order, where that is recorded.
    order: Option<Vec<u8>>,
}

/// Bytes of one index (`DK_IXSIZE`, 3.6 to 3.10).
fn index_width(dk_size: u64) -> u64 {
    match dk_size {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn pointers(bytes: &[u8]) -> impl Iterator<Item = RemoteAddr> + '_ {
    let words = bytes.as_chunks::<8>().0;
    words
        .iter()
        .map(|word| RemoteAddr(u64::from_le_bytes(*word)))
}

/// Keys and values of an array of entries: the last two words of each.
fn entries_of(bytes: &[u8], size: u64) -> impl Iterator<Item = (RemoteAddr, RemoteAddr)> + '_ {
    let entries = bytes.chunks_exact(usize::try_from(size).unwrap_or(usize::MAX));
    entries.filter_map(move |entry| {
        let tail = entry.last_chunk::<16>()?;
        let mut words = pointers(tail);
        Some((words.next()?, words.next()?))
    })
}

#[cfg(test)]
mod tests;
