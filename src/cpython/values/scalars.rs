//! Text of numbers, strings and bytes.

use super::class::Family;
use super::number::{float_repr, float32_repr};
use super::object::Objects;
use super::repr::{Escape, quote};
use super::{CUT, KnownClass, ValueWriter};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::RecordBuffer;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

impl<M: RemoteMemory> ValueWriter<'_, '_, M> {
    /// An int, a string or bytes, or an instance of a subclass.
    pub(crate) fn scalar(
        &self,
        object: RemoteAddr,
        known: &KnownClass,
    ) -> Result<String, ReadError> {
        let objects = &self.objects;
        if self.reads_ahead {
            return self.scalar_ahead(object, known);
        }
        match known.family {
            Family::ShortInt => {
                let value = objects.short_int(object)?;
                Ok(if known.is_builtin("bool") {
                    bool_repr(value != 0).to_owned()
                } else {
                    value.to_string()
                })
            }
            Family::Int => {
                let value = objects.int(object)?;
                Ok(if known.is_builtin("bool") {
                    bool_repr(value.to_u64() != Some(0)).to_owned()
                } else {
                    let text = value.display(self.options.max_chars);
                    let is_long = known.is_builtin("long") && !text.starts_with('<');
                    if is_long { text + "L" } else { text }
                })
            }
            Family::Str => {
                let (start, prefix, escape) = if objects.is_python2() {
                    (
                        objects.python2_unicode_start(object)?,
                        "u",
                        Escape::NonAscii,
                    )
                } else {
                    (objects.string_start(object)?, "", Escape::Unprintable)
                };
                let rest = if start.is_cut { CUT } else { "" };
                let text = self.without_secrets(&start.text, start.is_cut);
                Ok(format!("{prefix}{}{rest}", quote(&text, escape)))
            }
            Family::Bytes => {
                // A byte takes at least one character: reading one byte too many makes the text end in `…`.
                let bytes =
                    objects.bytes_prefix(object, self.options.max_chars.saturating_add(1))?;
                let prefix = if objects.is_python2() { "" } else { "b" };
                Ok(format!("{prefix}{}", self.quoted_bytes(&bytes)))
            }
            _ => Err(ReadError::corrupt("PyObject", object)),
        }
    }

    /// Reads what [`ValueWriter::scalar`] reads, without the time to write it in Python's way. The text is
    /// not longer than the real one.
    fn scalar_ahead(&self, object: RemoteAddr, known: &KnownClass) -> Result<String, ReadError> {
        let objects = &self.objects;
        Ok(match known.family {
            Family::ShortInt => {
                objects.short_int(object)?;
                "0".to_owned()
            }
            Family::Int => {
                objects.int(object)?;
                "0".to_owned()
            }
            Family::Str if objects.is_python2() => objects.python2_unicode_start(object)?.text,
            Family::Str => objects.string_start(object)?.text,
            _ => {
                let bytes =
                    objects.bytes_prefix(object, self.options.max_chars.saturating_add(1))?;
                bytes.iter().map(|byte| char::from(*byte)).collect()
            }
        })
    }

    /// A number of a type without a flag in `tp_flags`: float, complex, numpy's scalars.
    pub(crate) fn number(
        &self,
        object: RemoteAddr,
        known: &KnownClass,
    ) -> Result<Option<String>, ReadError> {
        if known.class.is_heap_type() {
            return Ok(None);
        }
        let objects = &self.objects;
        let name = known.short_name.as_str();
        Ok(match name {
            "float" => Some(float_repr(objects.float(object)?)),
            "complex" => {
                let real = f64::from_le_bytes(objects.after_head(object, 0)?);
                let imaginary = f64::from_le_bytes(objects.after_head(object, 8)?);
                Some(complex_repr(real, imaginary))
            }
            _ => match name.strip_prefix("numpy.") {
                Some(scalar) => objects
                    .numpy_scalar(object, scalar)?
                    .map(|text| format!("{name}({text})")),
                None => None,
            },
        })
    }
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// The first `cap` bytes of a `bytes` object (Python 2: `str`).
    pub(crate) fn bytes_prefix(
        &self,
        object: RemoteAddr,
        cap: usize,
    ) -> Result<Vec<u8>, ReadError> {
        let layout = &self.python.layout.bytes_object;
        let mut buffer = RecordBuffer::default();
        let len = layout.ob_size as usize + 8;
        let head = buffer.read(self.memory, "PyBytesObject", object, len)?;
        let size = usize::try_from(head.i64(layout.ob_size)?)
            .map_err(|_| ReadError::corrupt("PyBytesObject", object))?;
        let mut bytes = vec![0; size.min(cap)];
        self.memory
            .read(object.offset(layout.ob_sval.into()), &mut bytes)?;
        Ok(bytes)
    }

    /// The first bytes of a `bytearray`, `cap` + 1 if there are more than `cap`.
    pub(crate) fn bytearray(&self, object: RemoteAddr, cap: usize) -> Result<Vec<u8>, ReadError> {
        // PyByteArrayObject: `ob_size`; `ob_start` (Python 2: `ob_bytes`) as the fourth word.
        let size = usize::try_from(self.ptr_after_head(object, 0)?.0).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(cap.saturating_add(1))];
        let start = self.ptr_after_head(object, 24)?;
        self.memory.read(start, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of an object at an offset from the end of its `PyObject_HEAD`.
    pub(crate) fn after_head<const N: usize>(
        &self,
        object: RemoteAddr,
        offset: u64,
    ) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        let head = u64::from(self.python.layout.pyobject.size);
        self.memory.read(object.offset(head + offset), &mut bytes)?;
        Ok(bytes)
    }

    /// A pointer in an object, with the offset of [`Objects::after_head`].
    pub(crate) fn ptr_after_head(
        &self,
        object: RemoteAddr,
        offset: u64,
    ) -> Result<RemoteAddr, ReadError> {
        let bytes = self.after_head(object, offset)?;
        Ok(RemoteAddr(u64::from_le_bytes(bytes)))
    }

    /// The value of a numpy scalar, `PyObject_HEAD` and then the C value (`numpy/arrayscalars.h`);
    /// `None` if it is of another kind.
    fn numpy_scalar(&self, object: RemoteAddr, name: &str) -> Result<Option<String>, ReadError> {
        let byte = || self.after_head::<1>(object, 0);
        let two = || self.after_head::<2>(object, 0);
        let four = || self.after_head::<4>(object, 0);
        let eight = || self.after_head::<8>(object, 0);
        Ok(Some(match name {
            "bool_" | "bool" => bool_repr(byte()? != [0]).to_owned(),
            "int8" => i8::from_le_bytes(byte()?).to_string(),
            "uint8" => u8::from_le_bytes(byte()?).to_string(),
            "int16" => i16::from_le_bytes(two()?).to_string(),
            "uint16" => u16::from_le_bytes(two()?).to_string(),
            "int32" | "intc" => i32::from_le_bytes(four()?).to_string(),
            "uint32" | "uintc" => u32::from_le_bytes(four()?).to_string(),
            "int64" | "longlong" => i64::from_le_bytes(eight()?).to_string(),
            "uint64" | "ulonglong" => u64::from_le_bytes(eight()?).to_string(),
            "float32" => float32_repr(f32::from_le_bytes(four()?)),
            "float64" => float_repr(f64::from_le_bytes(eight()?)),
            _ => return Ok(None),
        }))
    }
}

fn bool_repr(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn complex_repr(real: f64, imaginary: f64) -> String {
    let short = |value: f64| {
        let text = float_repr(value);
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    if real == 0.0 && real.is_sign_positive() {
        return format!("{}j", short(imaginary));
    }
    let imaginary = short(imaginary);
    let sign = if imaginary.starts_with('-') { "" } else { "+" };
    format!("({}{sign}{imaginary}j)", short(real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complex_numbers_are_printed_as_by_repr() {
        assert_eq!(complex_repr(1.0, 2.0), "(1+2j)");
        assert_eq!(complex_repr(0.0, -2.5), "-2.5j");
        assert_eq!(complex_repr(-0.0, -1e30), "(-0-1e+30j)");
    }
}
