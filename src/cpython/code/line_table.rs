//! Line tables, pure: from the bytes of `co_lnotab` / `co_linetable` and an instruction's byte offset
//! to a line and columns.
//!
//! A table can only be decoded from its start. [`LineIndex`] notes where every 256th entry is, so that all
//! lookups together decode the table once, and each of them 256 entries more at most.

use python_offsets::semantics::LineTable;

use super::frame_table::Columns;
use crate::cpython::read::limit::Limit;

/// How many entries of the table there are between two points of an index. Decoding as many takes about a
/// microsecond.
const ENTRIES_PER_POINT: usize = 256;
/// After so many points more the time is asked for.
const POINTS_PER_QUESTION: usize = 16;

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
    let table = Table {
        format,
        bytes: table,
        first_line: first_line.into(),
    };
    let found = LineIndex::default().locate(&table, instruction, &Limit::NONE);
    found.unwrap_or_default()
}

/// A line table, and what its entries are relative to.
pub struct Table<'t> {
    pub format: LineTable,
    pub bytes: &'t [u8],
    pub first_line: i64,
}

/// A place between two entries of a table.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// The offset of the next entry in the table.
    at: usize,
    /// The byte offset of the instruction at which the entries before it end.
    end: i64,
    /// The line after them.
    line: i64,
}

/// Places in one table. It grows with the lookups.
#[derive(Debug, Default)]
pub struct LineIndex {
    /// By instruction, after every [`ENTRIES_PER_POINT`] entries.
    points: Vec<Point>,
    /// Entries decoded so far, for the tests.
    #[cfg(test)]
    decoded: usize,
}

impl LineIndex {
    /// The location of an instruction in the table, which must always be the same one; `None` when the limit
    /// is reached before it is found. The next lookup goes on from there.
    pub fn locate(
        &mut self,
        table: &Table<'_>,
        instruction: i64,
        limit: &Limit,
    ) -> Option<Location> {
        // A frame that has not started. The first ranges may be empty: long steps are made of several.
        if instruction < 0 {
            return Some(Location::at_line(table.first_line));
        }
        let after = self
            .points
            .partition_point(|point| point.end <= instruction);
        let is_new = after == self.points.len();
        let known = after.checked_sub(1).and_then(|last| self.points.get(last));
        let mut point = known.copied().unwrap_or(Point {
            at: 0,
            end: 0,
            line: table.first_line,
        });
        let mut entries = 0;
        while let Some((next, location)) = table.entry(point) {
            #[cfg(test)]
            {
                self.decoded += 1;
            }
            if instruction < next.end {
                return Some(location);
            }
            point = next;
            entries += 1;
            if is_new && entries % ENTRIES_PER_POINT == 0 {
                self.points.push(point);
                let asks = self.points.len().is_multiple_of(POINTS_PER_QUESTION);
                if asks && limit.is_reached() {
                    return None;
                }
            }
        }
        Some(table.behind(point))
    }
}

impl Table<'_> {
    /// Decodes the entry at a point: the point after it, and the location of the instructions up to there.
    /// `None` at the end, or where the table is damaged.
    #[inline]
    fn entry(&self, point: Point) -> Option<(Point, Location)> {
        match self.format {
            LineTable::LnotabUnsigned => self.lnotab(point, i64::from),
            LineTable::LnotabSigned => self.lnotab(point, |step| i64::from(step.cast_signed())),
            LineTable::Pep626 => self.pep626(point),
            LineTable::Locations => self.locations(point),
        }
    }

    /// The location of an instruction behind the last entry.
    fn behind(&self, last: Point) -> Location {
        Location::at_line(match self.format {
            LineTable::LnotabUnsigned | LineTable::LnotabSigned => last.line,
            LineTable::Pep626 | LineTable::Locations => self.first_line,
        })
    }

    /// The next pair of bytes.
    fn pair(&self, point: Point) -> Option<[u8; 2]> {
        self.bytes.get(point.at..)?.first_chunk().copied()
    }

    /// `Objects/lnotab_notes.txt` (2.7 to 3.9): pairs of address step and line step. The line step belongs to
    /// what comes after the address step.
    fn lnotab(&self, point: Point, line_step: impl Fn(u8) -> i64) -> Option<(Point, Location)> {
        let [address_step, step] = self.pair(point)?;
        let next = Point {
            at: point.at + 2,
            end: point.end + i64::from(address_step),
            line: point.line + line_step(step),
        };
        Some((next, Location::at_line(point.line)))
    }

    /// PEP 626, `Objects/lnotab_notes.txt` of 3.10: pairs of the range's length and its line step; a step
    /// of −128 means that the range has no line.
    fn pep626(&self, point: Point) -> Option<(Point, Location)> {
        const NO_LINE: i8 = -128;
        let [length, step] = self.pair(point)?;
        let mut next = Point {
            at: point.at + 2,
            end: point.end + i64::from(length),
            ..point
        };
        let location = match step.cast_signed() {
            NO_LINE => Location::default(),
            step => {
                next.line += i64::from(step);
                Location::at_line(next.line)
            }
        };
        Some((next, location))
    }

    /// `Objects/locations.md` of 3.11 (`InternalDocs/code_objects.md` from 3.14): entries that begin
    /// with a byte whose top bit is set, 4 bits of code, 3 bits of length in code units minus one.
    fn locations(&self, point: Point) -> Option<(Point, Location)> {
        const CODE_UNIT: i64 = 2;
        let mut bytes = Bytes(self.bytes.get(point.at..)?);
        let mut line = point.line;
        let head = bytes.next()?;
        let location = bytes.entry((head >> 3) & 15, &mut line)?;
        let next = Point {
            at: self.bytes.len() - bytes.0.len(),
            end: point.end + (i64::from(head & 7) + 1) * CODE_UNIT,
            line,
        };
        Some((next, location))
    }
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

    /// A table of this format with many entries of every kind, some of them damaged.
    fn random_table(format: LineTable, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut table = Vec::new();
        while table.len() < 6_000 {
            if format != LineTable::Locations {
                table.extend([random.u8(0..20), random.u8(..)]);
                continue;
            }
            let code = random.u8(0..16);
            table.push(0x80 | (code << 3) | random.u8(0..8));
            table.extend(match code {
                0..=9 => vec![random.u8(0..128)],
                10..=12 => vec![random.u8(0..128), random.u8(0..128)],
                13 => vec![random.u8(0..64)],
                14 => (0..4).map(|_| random.u8(1..64)).collect(),
                _ => Vec::new(),
            });
        }
        table
    }

    /// The entries of a table one after another, as CPython reads them.
    fn locate_slowly(table: &Table<'_>, instruction: i64) -> Location {
        let mut point = Point {
            at: 0,
            end: 0,
            line: table.first_line,
        };
        if instruction < 0 {
            return Location::at_line(table.first_line);
        }
        while let Some((next, location)) = table.entry(point) {
            if instruction < next.end {
                return location;
            }
            point = next;
        }
        table.behind(point)
    }

    #[test]
    fn an_index_finds_what_the_whole_table_shows() {
        let mut random = fastrand::Rng::with_seed(7);
        for format in [
            LineTable::LnotabUnsigned,
            LineTable::LnotabSigned,
            LineTable::Pep626,
            LineTable::Locations,
        ] {
            let bytes = random_table(format, &mut random);
            let table = Table {
                format,
                bytes: &bytes,
                first_line: 100,
            };
            let mut index = LineIndex::default();
            for _ in 0..3_000 {
                let instruction = random.i64(-2..80_000);
                let found = index.locate(&table, instruction, &Limit::NONE);
                let expected = locate_slowly(&table, instruction);
                assert_eq!(found, Some(expected), "{format:?} at {instruction}");
            }
            assert!(index.points.len() > 5, "{format:?}");
        }
    }

    /// 20,000 frames of one function, each at another instruction, took 10 ms each with a table of 4 MiB.
    #[test]
    fn a_long_table_is_decoded_once_for_all_lookups() {
        const ENTRIES: usize = 1 << 18;
        const LOOKUPS: usize = 2_000;
        let bytes = vec![0x80 | (15 << 3); ENTRIES];
        let table = Table {
            format: LineTable::Locations,
            bytes: &bytes,
            first_line: 1,
        };
        let mut index = LineIndex::default();
        for lookup in 0..LOOKUPS {
            let last = (ENTRIES - 1 - lookup % 1_000) as i64 * 2;
            index.locate(&table, last, &Limit::NONE);
        }
        assert!(index.decoded <= ENTRIES + LOOKUPS * ENTRIES_PER_POINT);
        assert!(index.points.len() <= ENTRIES / ENTRIES_PER_POINT);
    }

    #[test]
    fn a_lookup_ends_with_the_time_and_the_next_one_goes_on() {
        use crate::os::deadline::Deadline;

        const ENTRIES: usize = 1 << 15;
        let bytes = [0x80 | (13 << 3), 2].repeat(ENTRIES);
        let table = Table {
            format: LineTable::Locations,
            bytes: &bytes,
            first_line: 1,
        };
        let last = (ENTRIES - 1) as i64 * 2;
        let over = Limit::until(Deadline::after(std::time::Duration::ZERO));
        let mut index = LineIndex::default();
        let lookups = (0..100).map(|_| index.locate(&table, last, &over));
        let found: Vec<_> = lookups.take_while(Option::is_none).collect();
        assert!((2..20).contains(&found.len()), "{}", found.len());
        let location = index.locate(&table, last, &over).and_then(|at| at.line);
        assert_eq!(location, Some(ENTRIES as u32 + 1));
    }
}
