//! Bounded readers for strings, bytes and type names.

use python_offsets::semantics::StrFormat;

use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{RecordBuffer, read_ptr};
use crate::cpython::runtime::Runtime;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum length of a string in bytes; longer ones are cut. PATH_MAX is 4096.
pub const MAX_STRING_BYTES: usize = 4096;

/// Maximum length of a line table. A module of 100,000 lines has about 1 MiB.
const MAX_BYTES: usize = 4 << 20;

/// The end of a string that was cut.
const CUT: char = '…';

/// Reads objects of one interpreter.
pub struct Objects<'a, M> {
    /// The target's memory.
    pub memory: &'a M,
    /// The interpreter that the objects belong to.
    pub python: &'a Runtime,
}

impl<M> Clone for Objects<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Objects<'_, M> {}

impl<'a, M: RemoteMemory> Objects<'a, M> {
    /// The type of an object.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn type_of(&self, object: RemoteAddr) -> Result<RemoteAddr, ReadError> {
        read_ptr(
            self.memory,
            object.offset(self.python.layout.pyobject.ob_type.into()),
        )
    }

    /// `tp_name` of a type: `code`, `numpy.float64`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn type_name(&self, type_object: RemoteAddr) -> Result<String, ReadError> {
        let field = type_object.offset(self.python.layout.type_object.tp_name.into());
        self.c_string(read_ptr(self.memory, field)?)
    }

    /// A C string of at most 255 bytes.
    pub(crate) fn c_string(&self, addr: RemoteAddr) -> Result<String, ReadError> {
        let mut name = Vec::new();
        // Short pieces: the string may be just before the end of its mapping.
        for piece in 0..16u64 {
            let mut bytes = [0; 16];
            let start = addr.offset(piece * 16);
            // Read across the end of a page only if the string continues there.
            let in_page = usize::try_from(4096 - start.0 % 4096).unwrap_or(16).min(16);
            let (head, tail) = bytes.split_at_mut(in_page);
            self.memory.read(start, head)?;
            if !head.contains(&0) && !tail.is_empty() {
                self.memory.read(start.offset(in_page as u64), tail)?;
            }
            let end = bytes.iter().position(|byte| *byte == 0);
            name.extend_from_slice(bytes.get(..end.unwrap_or(16)).unwrap_or(&[]));
            if end.is_some() {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// A `bytes` object's content (Python 2: `str`), at most 4 MiB.
    ///
    /// # Errors
    /// When it cannot be read or is longer.
    pub fn bytes(&self, object: RemoteAddr) -> Result<Vec<u8>, ReadError> {
        let layout = &self.python.layout.bytes_object;
        let mut buffer = RecordBuffer::default();
        let head = buffer.read(
            self.memory,
            "PyBytesObject",
            object,
            layout.ob_size as usize + 8,
        )?;
        let len = usize::try_from(head.i64(layout.ob_size)?).unwrap_or(usize::MAX);
        if len > MAX_BYTES {
            return Err(ReadError::corrupt("PyBytesObject", object));
        }
        let mut content = vec![0; len];
        self.memory
            .read(object.offset(layout.ob_sval.into()), &mut content)?;
        Ok(content)
    }

    /// A string of the type that names and paths have: `str`, in Python 2 the byte string. At most 4096
    /// bytes; a longer one is cut and ends in `…`.
    ///
    /// # Errors
    /// When it cannot be read or is not a string.
    pub fn string(&self, object: RemoteAddr) -> Result<String, ReadError> {
        self.string_start(object).map(Start::marked)
    }

    /// The first 4096 bytes of a string.
    pub(crate) fn string_start(&self, object: RemoteAddr) -> Result<Start, ReadError> {
        match self.python.semantics.str_format {
            StrFormat::Python2 => self.byte_string(object),
            StrFormat::Pep393 {
                kind_shift,
                compact_bit,
                ascii_bit,
            } => {
                let bits = StateBits {
                    kind_shift,
                    compact_bit,
                    ascii_bit,
                };
                self.pep393_string(object, bits)
            }
        }
    }

    fn byte_string(&self, object: RemoteAddr) -> Result<Start, ReadError> {
        let layout = &self.python.layout.bytes_object;
        let mut buffer = RecordBuffer::default();
        let head = buffer.read(
            self.memory,
            "PyStringObject",
            object,
            layout.ob_size as usize + 8,
        )?;
        let len = head.i64(layout.ob_size)?;
        self.text(object.offset(layout.ob_sval.into()), len, CodeUnit::Utf8)
            .map_err(|error| in_object(error, "PyStringObject", object))
    }

    /// Python 2's `unicode`: a pointer to an array of code units.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn python2_unicode(&self, object: RemoteAddr) -> Result<String, ReadError> {
        self.python2_unicode_start(object).map(Start::marked)
    }

    /// The first 4096 bytes of a Python 2 `unicode`.
    pub(crate) fn python2_unicode_start(&self, object: RemoteAddr) -> Result<Start, ReadError> {
        let layout = &self.python.layout.unicode_object;
        let mut buffer = RecordBuffer::default();
        let len = layout.length.max(layout.data) as usize + 8;
        let head = buffer.read(self.memory, "PyUnicodeObject", object, len)?;
        let unit = if self.python.roots.unicode_unit == 2 {
            CodeUnit::Utf16
        } else {
            CodeUnit::CodePoint
        };
        self.text(head.ptr(layout.data)?, head.i64(layout.length)?, unit)
            .map_err(|error| in_object(error, "PyUnicodeObject", object))
    }

    /// PEP 393 strings: `Include/cpython/unicodeobject.h` (3.3+).
    fn pep393_string(&self, object: RemoteAddr, bits: StateBits) -> Result<Start, ReadError> {
        let layout = &self.python.layout.unicode_object;
        let corrupt = || ReadError::corrupt("PyUnicodeObject", object);
        let state_offset = layout.state.ok_or_else(corrupt)?;
        let mut buffer = RecordBuffer::default();
        let len = layout
            .asciiobject_size
            .max(state_offset + 8)
            .max(layout.length + 8) as usize;
        let head = buffer.read(self.memory, "PyUnicodeObject", object, len)?;
        let state = head.u32(state_offset)?;
        let length = head.i64(layout.length)?;
        let flag = |bit: u8| state.checked_shr(bit.into()).unwrap_or(0) & 1 == 1;
        let kind = state.checked_shr(bits.kind_shift.into()).unwrap_or(0) & 7;
        let unit = match kind {
            1 if flag(bits.ascii_bit) => CodeUnit::Utf8,
            1 => CodeUnit::Latin1,
            2 => CodeUnit::Ucs2,
            4 => CodeUnit::CodePoint,
            _ => return Err(corrupt()),
        };
        let data = match (flag(bits.compact_bit), flag(bits.ascii_bit)) {
            (true, true) => object.offset(layout.asciiobject_size.into()),
            (true, false) => object.offset(layout.compactunicodeobject_size.into()),
            (false, _) => read_ptr(self.memory, object.offset(layout.data.into()))?,
        };
        self.text(data, length, unit)
            .map_err(|error| in_object(error, "PyUnicodeObject", object))
    }

    /// Decodes `length` code units at `data`.
    fn text(&self, data: RemoteAddr, length: i64, unit: CodeUnit) -> Result<Start, ReadError> {
        let width = unit.width();
        let length = usize::try_from(length).map_err(|_| ReadError::corrupt("text", data))?;
        // Such a length is not that of a long string but invalid.
        if length > 1 << 40 {
            return Err(ReadError::corrupt("text", data));
        }
        let units = length.min(MAX_STRING_BYTES / width);
        let mut bytes = vec![0; units * width];
        self.memory.read(data, &mut bytes)?;
        Ok(Start {
            text: unit.decode(&bytes),
            is_cut: units < length,
        })
    }
}

/// A string, or its beginning.
pub(crate) struct Start {
    pub text: String,
    pub is_cut: bool,
}

impl Start {
    /// The text, ending in `…` if it was cut.
    fn marked(mut self) -> String {
        if self.is_cut {
            self.text.push(CUT);
        }
        self.text
    }
}

/// The bits of `kind`, `compact` and `ascii` in `state`.
#[derive(Clone, Copy)]
struct StateBits {
    kind_shift: u8,
    compact_bit: u8,
    ascii_bit: u8,
}

#[derive(Clone, Copy)]
enum CodeUnit {
    Utf8,
    Latin1,
    Ucs2,
    Utf16,
    CodePoint,
}

impl CodeUnit {
    fn width(self) -> usize {
        match self {
            CodeUnit::Utf8 | CodeUnit::Latin1 => 1,
            CodeUnit::Ucs2 | CodeUnit::Utf16 => 2,
            CodeUnit::CodePoint => 4,
        }
    }

    fn decode(self, bytes: &[u8]) -> String {
        match self {
            CodeUnit::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            CodeUnit::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            // Lone surrogates (surrogateescape in paths) are no chars and become U+FFFD.
            CodeUnit::Ucs2 | CodeUnit::Utf16 => {
                let units = bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|pair| u16::from_le_bytes(*pair));
                char::decode_utf16(units)
                    .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect()
            }
            CodeUnit::CodePoint => {
                let points = bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|four| u32::from_le_bytes(*four));
                points
                    .map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect()
            }
        }
    }
}

/// Attributes a corrupt part of an object to the object.
fn in_object(error: ReadError, what: &'static str, object: RemoteAddr) -> ReadError {
    match error {
        ReadError::Corrupt { .. } => ReadError::Corrupt { what, addr: object },
        memory => memory,
    }
}
