//! Line tables, pure: from the bytes of `co_lnotab` / `co_linetable` and an instruction's byte offset
//! to a line and columns.
//!
//! Each decoder walks the table once and stops at the entry that covers the instruction, so its time
//! is bounded by the table's length.

use python_offsets::semantics::LineTable;

use super::frame_table::Columns;

/// The source location of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The line from 1, or `None` where the compiler gave none.
    pub line: Option<u32>,
    /// Columns, if the table has them.
    pub columns: Option<Columns>,
}

impl Location {
    fn at_line(line: i64) -> Location {
        Location {
            line: u32::try_from(line).ok(),
            columns: None,
        }
    }
}

/// The location of the instruction at byte offset `instruction` (−1 or less: before the first).
pub fn locate(format: LineTable, table: &[u8], first_line: i32, instruction: i64) -> Location {
    let first_line = i64::from(first_line);
    match format {
        LineTable::LnotabUnsigned => lnotab(table, first_line, instruction, i64::from),
        LineTable::LnotabSigned => lnotab(table, first_line, instruction, |step| {
            i64::from(step.cast_signed())
        }),
        LineTable::Pep626 => pep626(table, first_line, instruction),
        LineTable::Locations => locations(table, first_line, instruction),
    }
}

/// `Objects/lnotab_notes.txt` (2.7 to 3.9): pairs of address step and line step.
fn lnotab(
    table: &[u8],
    first_line: i64,
    instruction: i64,
    line_step: impl Fn(u8) -> i64,
) -> Location {
    let mut address = 0;
    let mut line = first_line;
    for [address_step, step] in table.as_chunks::<2>().0 {
        address += i64::from(*address_step);
        if address > instruction {
            break;
        }
        line += line_step(*step);
    }
    Location::at_line(line)
}

/// PEP 626, `Objects/lnotab_notes.txt` of 3.10: pairs of the range's length and its line step; a step
/// of −128 means that the range has no line.
fn pep626(table: &[u8], first_line: i64, instruction: i64) -> Location {
    const NO_LINE: i8 = -128;
    // A frame that has not started. The first ranges may be empty: long steps are made of several.
    if instruction < 0 {
        return Location::at_line(first_line);
    }
    let mut end = 0;
    let mut line = first_line;
    for [length, step] in table.as_chunks::<2>().0 {
        let step = step.cast_signed();
        if step != NO_LINE {
            line += i64::from(step);
        }
        end += i64::from(*length);
        if instruction < end {
            return match step {
                NO_LINE => Location::default(),
                _ => Location::at_line(line),
            };
        }
    }
    Location::at_line(first_line)
}

/// `Objects/locations.md` of 3.11 (`InternalDocs/code_objects.md` from 3.14): entries that begin
/// with a byte whose top bit is set, 4 bits of code, 3 bits of length in code units minus one.
fn locations(table: &[u8], first_line: i64, instruction: i64) -> Location {
    const CODE_UNIT: i64 = 2;
    // Before the first instruction the function's prologue runs.
    if instruction < 0 {
        return Location::at_line(first_line);
    }
    let mut bytes = Bytes(table);
    let mut end = 0;
    let mut line = first_line;
    while let Some(head) = bytes.next() {
        end += (i64::from(head & 7) + 1) * CODE_UNIT;
        let Some(entry) = bytes.entry((head >> 3) & 15, &mut line) else {
            break;
        };
        if instruction < end {
            return entry;
        }
    }
    Location::at_line(first_line)
}

struct Bytes<'t>(&'t [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Six bits a byte, least significant first, bit 6 says that more follow.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        // 6 bytes hold 36 bits: more than any line or column.
        for piece in 0..6 {
            let byte = self.next()?;
            value |= u64::from(byte & 63) << (6 * piece);
            if byte & 64 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A varint whose lowest bit is the sign.
    fn signed_varint(&mut self) -> Option<i64> {
        let value = self.varint()?;
        let magnitude = i64::try_from(value >> 1).ok()?;
        Some(if value & 1 == 1 {
            -magnitude
        } else {
            magnitude
        })
    }

    /// Parses the rest of an entry of this code and advances `line`.
    fn entry(&mut self, code: u8, line: &mut i64) -> Option<Location> {
        match code {
            // Short form: same line, both columns packed in one byte and the code.
            0..=9 => {
                let byte = self.next()?;
                let start = u32::from(code) * 8 + u32::from((byte >> 4) & 7);
                Some(one_line(*line, start, start + u32::from(byte & 15)))
            }
            // One line, 0 to 2 lines further, a byte for each column.
            10..=12 => {
                *line += i64::from(code - 10);
                let (start, end) = (self.next()?, self.next()?);
                Some(one_line(*line, start.into(), end.into()))
            }
            13 => {
                *line += self.signed_varint()?;
                Some(Location::at_line(*line))
            }
            14 => {
                *line += self.signed_varint()?;
                let end_line = u32::try_from(*line)
                    .ok()
                    .zip(u32::try_from(self.varint()?).ok());
                // Columns are stored plus one; zero means none.
                let start = u32::try_from(self.varint()?).ok()?.checked_sub(1);
                let end = u32::try_from(self.varint()?).ok()?.checked_sub(1);
                let columns = match (end_line, start, end) {
                    (Some((line, lines)), Some(start), Some(end)) => Some(Columns {
                        start,
                        end_line: line.checked_add(lines)?,
                        end,
                    }),
                    _ => None,
                };
                Some(Location {
                    columns,
                    ..Location::at_line(*line)
                })
            }
            _ => Some(Location::default()),
        }
    }
}

fn one_line(line: i64, start: u32, end: u32) -> Location {
    let location = Location::at_line(line);
    let columns = location.line.map(|end_line| Columns {
        start,
        end_line,
        end,
    });
    Location {
        columns,
        ..location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LineTable, table: &[u8], instruction: i64) -> Option<u32> {
        locate(format, table, 100, instruction).line
    }

    #[test]
    fn lnotab_steps_are_unsigned_before_3_6_and_signed_after() {
        let table = [0, 1, 6, 2, 8, 250];
        assert_eq!(line(LineTable::LnotabUnsigned, &table, -1), Some(100));
        assert_eq!(line(LineTable::LnotabUnsigned, &table, 0), Some(101));
        assert_eq!(line(LineTable::LnotabUnsigned, &table, 5), Some(101));
        assert_eq!(line(LineTable::LnotabUnsigned, &table, 6), Some(103));
        assert_eq!(line(LineTable::LnotabUnsigned, &table, 14), Some(353));
        assert_eq!(line(LineTable::LnotabSigned, &table, 14), Some(97));
    }

    #[test]
    fn pep626_ranges_can_have_no_line() {
        let table = [2, 1, 4, 0x80, 4, 1];
        assert_eq!(line(LineTable::Pep626, &table, 0), Some(101));
        assert_eq!(line(LineTable::Pep626, &table, 2), None);
        assert_eq!(line(LineTable::Pep626, &table, 6), Some(102));
        assert_eq!(line(LineTable::Pep626, &table, 600), Some(100));
    }

    /// A frame that had not started was reported in the middle of its first step, if that was a long one.
    #[test]
    fn pep626_steps_can_be_long() {
        let table = [0, 127, 0, 127, 4, 1];
        assert_eq!(line(LineTable::Pep626, &table, -2), Some(100));
        assert_eq!(line(LineTable::Pep626, &table, 0), Some(355));
    }

    #[test]
    fn locations_of_every_form() {
        let table = [
            0x80 | (2 << 3) | 1, // short form, two units
            0x35,
            0x80 | (11 << 3), // one line on
            7,
            9,
            0x80 | (13 << 3), // line only, −2
            5,
            0x80 | (14 << 3), // long: +3, two more lines, columns 3 and 70
            6,
            2,
            4,
            64 | (71 & 63),
            71 >> 6,
            0x80 | (15 << 3), // nothing
        ];
        let columns = |start, end_line, end| {
            Some(Columns {
                start,
                end_line,
                end,
            })
        };
        let at = |instruction| locate(LineTable::Locations, &table, 100, instruction);
        assert_eq!(
            at(-2),
            Location {
                line: Some(100),
                columns: None
            }
        );
        assert_eq!(
            at(2),
            Location {
                line: Some(100),
                columns: columns(19, 100, 24)
            }
        );
        assert_eq!(
            at(4),
            Location {
                line: Some(101),
                columns: columns(7, 101, 9)
            }
        );
        assert_eq!(
            at(6),
            Location {
                line: Some(99),
                columns: None
            }
        );
        assert_eq!(
            at(8),
            Location {
                line: Some(102),
                columns: columns(3, 104, 70)
            }
        );
        assert_eq!(at(10), Location::default());
        assert_eq!(
            at(12),
            Location {
                line: Some(100),
                columns: None
            }
        );
    }

    #[test]
    fn a_table_cut_anywhere_gives_the_first_line() {
        let table = [0x80 | (14 << 3), 64, 64, 64, 64, 64, 64, 64];
        for end in 0..=table.len() {
            let cut = table.get(..end).unwrap_or(&[]);
            assert_eq!(line(LineTable::Locations, cut, 0), Some(100));
        }
    }
}
