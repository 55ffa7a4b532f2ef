//! [`Table`]: the values of a target's table by name, each checked against its structure.

use crate::error::OffsetsError;
use crate::layout::Offset;
use crate::minor::Order;

/// Bytes of a value.
pub(crate) const SLOT: usize = 8;

/// The values of a table by name.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) order: &'a Order,
}

impl<'a> Table<'a> {
    /// The value of a slot, or one that the data file derives from a slot.
    pub(crate) fn get(self, field: &'static str) -> Result<Option<u64>, OffsetsError> {
        if let Some(index) = self.order.slots.iter().position(|slot| *slot == field) {
            let start = SLOT + index * SLOT;
            return Ok(self
                .bytes
                .get(start..)
                .and_then(<[u8]>::first_chunk)
                .map(|chunk| u64::from_le_bytes(*chunk)));
        }
        let Some(&(_, anchor, delta)) = self.order.derived.iter().find(|rule| rule.0 == field)
        else {
            return Ok(None);
        };
        let base = self.required(anchor)?;
        base.checked_add_signed(delta)
            .map(Some)
            .ok_or(OffsetsError::OutOfBounds {
                field: anchor,
                value: base,
            })
    }

    /// As `get`; a test checks that every data file has every required field.
    pub(crate) fn required(self, field: &'static str) -> Result<u64, OffsetsError> {
        self.get(field)?.ok_or(OffsetsError::OutOfBounds {
            field,
            value: u64::MAX,
        })
    }

    /// A structure whose `sizeof` is the value of `size`.
    pub(crate) fn structure(
        self,
        size: &'static str,
        max: u64,
    ) -> Result<Structure<'a>, OffsetsError> {
        let value = self.required(size)?;
        match u32::try_from(value) {
            Ok(size) if size >= 8 && value <= max => Ok(Structure {
                table: self,
                size,
                seen: Vec::new(),
            }),
            _ => Err(OffsetsError::OutOfBounds { field: size, value }),
        }
    }
}

/// A structure of the target: its size and the fields found in it so far.
pub(crate) struct Structure<'a> {
    table: Table<'a>,
    pub(crate) size: u32,
    seen: Vec<(&'static str, Offset, u32)>,
}

impl Structure<'_> {
    /// A field of `width` bytes that every version has (3.13+).
    pub(crate) fn field(
        &mut self,
        field: &'static str,
        width: u32,
    ) -> Result<Offset, OffsetsError> {
        let value = self.table.required(field)?;
        self.check(field, value, width)
    }

    /// A field of pointer size.
    pub(crate) fn pointer(&mut self, field: &'static str) -> Result<Offset, OffsetsError> {
        self.field(field, 8)
    }

    /// A field that some versions lack.
    pub(crate) fn optional(
        &mut self,
        field: &'static str,
        width: u32,
    ) -> Result<Option<Offset>, OffsetsError> {
        let value = self.table.get(field)?;
        value
            .map(|value| self.check(field, value, width))
            .transpose()
    }

    /// A field that only free-threaded builds of some versions have; in the others the slot is 0.
    pub(crate) fn if_free_threaded(
        &mut self,
        field: &'static str,
        width: u32,
        free_threaded: bool,
    ) -> Result<Option<Offset>, OffsetsError> {
        if free_threaded {
            self.optional(field, width)
        } else {
            Ok(None)
        }
    }

    fn check(
        &mut self,
        field: &'static str,
        value: u64,
        width: u32,
    ) -> Result<Offset, OffsetsError> {
        let offset = u32::try_from(value)
            .ok()
            .filter(|offset| {
                offset % width == 0
                    && offset
                        .checked_add(width)
                        .is_some_and(|end| end <= self.size)
            })
            .ok_or(OffsetsError::OutOfBounds { field, value })?;
        let overlap = self
            .seen
            .iter()
            .find(|(_, start, len)| offset < start + len && *start < offset + width);
        if let Some(&(other, ..)) = overlap {
            return Err(OffsetsError::Overlapping { field, other });
        }
        self.seen.push((field, offset, width));
        Ok(offset)
    }
}
