//! Ints of any size and floats, as Python prints them.

use python_offsets::semantics::IntFormat;

use super::object::Objects;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{RecordBuffer, read_ptr};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Bits of one digit of an `int`, on every 64-bit build.
const DIGIT_BITS: u64 = 30;
/// Maximum length of an int that is read, in digits: 2400 bits, 723 decimal digits.
const MAX_DIGITS: u64 = 80;
/// Maximum number of digits in the size field of a valid int.
const MAX_RECORDED_DIGITS: u64 = 1 << 58;
/// The base of a limb in the conversion.
const LIMB: u64 = 1_000_000_000;

/// An `int` of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Int {
    /// Its sign, and its digits to the base 2^30, lowest first.
    Exact { negative: bool, digits: Vec<u32> },
    /// Too long to be read; its approximate number of bits.
    Long { bits: u64 },
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// Reads an `int`, or Python 2's `long`.
    pub(crate) fn int(&self, object: RemoteAddr) -> Result<Int, ReadError> {
        let layout = &self.python.layout.long_object;
        let size = read_ptr(self.memory, object.offset(layout.lv_tag.into()))?.0;
        let (negative, count) = match self.python.semantics.int_format {
            IntFormat::SignedSize => (size.cast_signed() < 0, size.cast_signed().unsigned_abs()),
            IntFormat::Tagged => match size & 3 {
                0 => (false, size >> 3),
                1 => (false, 0),
                2 => (true, size >> 3),
                _ => return Err(ReadError::corrupt("PyLongObject", object)),
            },
        };
        if count > MAX_RECORDED_DIGITS {
            return Err(ReadError::corrupt("PyLongObject", object));
        }
        if count > MAX_DIGITS {
            let bits = count.saturating_mul(DIGIT_BITS);
            return Ok(Int::Long { bits });
        }
        let mut bytes = vec![0; usize::try_from(count * 4).unwrap_or(0)];
        let digits = object.offset(layout.ob_digit.into());
        self.memory.read(digits, &mut bytes)?;
        let digits = bytes.as_chunks::<4>().0.iter();
        Ok(Int::Exact {
            negative,
            digits: digits.map(|digit| u32::from_le_bytes(*digit)).collect(),
        })
    }

    /// Python 2's `int`.
    pub(crate) fn short_int(&self, object: RemoteAddr) -> Result<i64, ReadError> {
        let offset = self.python.layout.long_object.ob_ival;
        let offset = offset.ok_or_else(|| ReadError::corrupt("PyIntObject", object))?;
        Ok(read_ptr(self.memory, object.offset(offset.into()))?
            .0
            .cast_signed())
    }

    /// A `float` or an instance of a subclass.
    pub(crate) fn float(&self, object: RemoteAddr) -> Result<f64, ReadError> {
        let offset = self.python.layout.float_object.ob_fval;
        let mut buffer = RecordBuffer::default();
        let record = buffer.read(self.memory, "PyFloatObject", object, offset as usize + 8)?;
        Ok(f64::from_bits(record.u64(offset)?))
    }
}

impl Int {
    /// The value if it is not negative and has at most 64 bits.
    pub(crate) fn to_u64(&self) -> Option<u64> {
        let Int::Exact { negative, digits } = self else {
            return None;
        };
        let value = digits.iter().rev().try_fold(0_u64, |value, digit| {
            value
                .checked_mul(1 << DIGIT_BITS)?
                .checked_add(u64::from(*digit))
        })?;
        (!negative || value == 0).then_some(value)
    }

    /// The decimal text, or the number of bits if that text would be longer than `max_chars`.
    pub(crate) fn display(&self, max_chars: usize) -> String {
        let (negative, digits) = match self {
            Int::Exact { negative, digits } => (*negative, digits),
            Int::Long { bits } => return format!("<int of about {bits} bits>"),
        };
        let mut limbs: Vec<u64> = Vec::new();
        for digit in digits.iter().rev() {
            let mut carry = u64::from(*digit);
            for limb in &mut limbs {
                // Below 10^9 * 2^30 + 2^30: no overflow.
                let value = (*limb << DIGIT_BITS) + carry;
                *limb = value % LIMB;
                carry = value / LIMB;
            }
            while carry > 0 {
                limbs.push(carry % LIMB);
                carry /= LIMB;
            }
        }
        let mut text = String::from(if negative { "-" } else { "" });
        match limbs.split_last() {
            None => return "0".to_owned(),
            Some((first, rest)) => {
                text.push_str(&first.to_string());
                for limb in rest.iter().rev() {
                    text.push_str(&format!("{limb:09}"));
                }
            }
        }
        if text.len() <= max_chars {
            return text;
        }
        let top = digits.last().copied().unwrap_or(0);
        let bits = digits.len() as u64 * DIGIT_BITS
            - u64::from(top.leading_zeros()).saturating_sub(32 - DIGIT_BITS);
        format!("<int of {bits} bits>")
    }
}

/// A float as `repr` prints it: the fewest digits that parse to the same value.
pub(crate) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // `repr` uses an exponent of at least two digits below 1e-4 and from 1e16 on.
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

/// A float of 32 bits as numpy prints it.
pub(crate) fn float32_repr(value: f32) -> String {
    // The shortest digits of the narrow type, parsed as the wide type, print as the same text.
    float_repr(value.to_string().parse().unwrap_or_else(|_| value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(negative: bool, digits: &[u32]) -> Int {
        Int::Exact {
            negative,
            digits: digits.to_vec(),
        }
    }

    #[test]
    fn ints_of_any_size_are_decimal() {
        assert_eq!(exact(false, &[]).display(100), "0");
        assert_eq!(exact(true, &[5]).display(100), "-5");
        assert_eq!(
            exact(false, &[0x3fff_ffff, 0x3fff_ffff, 15]).display(100),
            u64::MAX.to_string()
        );
        // 2**300
        assert_eq!(
            exact(false, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).display(100),
            "2037035976334486086268445688409378161051468393665936250636140449354381299763336706183397376"
        );
        // 10**18 has a limb of zeros in the middle.
        assert_eq!(
            exact(false, &[660_865_024, 931_322_574]).display(100),
            "1000000000000000000"
        );
        assert_eq!(
            exact(false, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).display(50),
            "<int of 301 bits>"
        );
    }

    #[test]
    fn thread_idents_fit_64_bits_or_are_none() {
        assert_eq!(
            exact(false, &[0x3fff_ffff, 0x3fff_ffff, 15]).to_u64(),
            Some(u64::MAX)
        );
        assert_eq!(exact(false, &[0, 0, 16]).to_u64(), None);
        assert_eq!(exact(true, &[1]).to_u64(), None);
        assert_eq!(exact(false, &[]).to_u64(), Some(0));
    }

    #[test]
    fn floats_are_printed_as_by_repr() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (123_456_789.125, "123456789.125"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            assert_eq!(float_repr(value), text);
        }
        assert_eq!(float32_repr(0.1), "0.1");
        assert_eq!(float32_repr(16_777_216.0), "16777216.0");
    }
}
