//! [`NoteIter`]: the notes of an ELF file, read one by one, and the numbers in them.

use std::ops::Range;

/// The sizes of name and descriptor, and the type: four bytes each (elf(5)).
const HEAD_LEN: usize = 12;
/// The names that matter fit into eight bytes.
const NAME_LEN: usize = 8;

/// A note without the contents of its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its type, which depends on the name.
    pub kind: u32,
    name: [u8; NAME_LEN],
    name_size: u64,
    /// Where the descriptor is in the file; `None` when it exceeds the notes.
    pub descriptor: Option<Range<u64>>,
}

impl Note {
    /// Whether it has this name, which includes the terminating null.
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.name_size == name.len() as u64 && self.name.starts_with(name)
    }
}

/// Iterates over the notes in a part of a file. After the head come name and descriptor, both padded
/// to four bytes (elf(5)).
pub struct NoteIter<R> {
    at: u64,
    end: u64,
    little_endian: bool,
    read: R,
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> NoteIter<R> {
    /// `read` fills a buffer from an offset in the file.
    pub fn new(place: Range<u64>, little_endian: bool, read: R) -> NoteIter<R> {
        NoteIter {
            at: place.start,
            end: place.end,
            little_endian,
            read,
        }
    }
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> Iterator for NoteIter<R> {
    type Item = Result<Note, E>;

    fn next(&mut self) -> Option<Result<Note, E>> {
        let left = usize::try_from(self.end.checked_sub(self.at)?).unwrap_or(usize::MAX);
        if left < HEAD_LEN {
            return None;
        }
        let mut bytes = [0; HEAD_LEN + NAME_LEN];
        let readable = bytes.get_mut(..left.min(HEAD_LEN + NAME_LEN))?;
        let start = self.at;
        // After an error there are no more notes.
        self.at = u64::MAX;
        if let Err(error) = (self.read)(start, readable) {
            return Some(Err(error));
        }
        let (head, name) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let word = |at: usize| {
            let word = u32_at(head, at);
            if self.little_endian {
                word
            } else {
                word.swap_bytes()
            }
        };
        let (name_size, size, kind) = (u64::from(word(0)), u64::from(word(4)), word(8));
        let from = start
            .saturating_add(HEAD_LEN as u64)
            .saturating_add(name_size.next_multiple_of(4));
        let to = from.saturating_add(size);
        self.at = from.saturating_add(size.next_multiple_of(4));
        Some(Ok(Note {
            kind,
            name: name.try_into().ok()?,
            name_size,
            descriptor: (to <= self.end).then_some(from..to),
        }))
    }
}

/// A little-endian number. 0 beyond the end, which all callers treat as "unknown".
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

/// As [`u64_at`].
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

/// As [`u64_at`].
pub fn i32_at(bytes: &[u8], at: usize) -> i32 {
    u32_at(bytes, at).cast_signed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    fn note(name: &[u8], kind: u32, descriptor: &[u8], big_endian: bool) -> Vec<u8> {
        let sizes = [name.len() as u32, descriptor.len() as u32, kind];
        let word = |n: u32| match big_endian {
            true => n.to_be_bytes(),
            false => n.to_le_bytes(),
        };
        let mut bytes = sizes.map(word).concat();
        for part in [name, descriptor] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn notes(bytes: &[u8], big_endian: bool) -> Vec<Result<Note, ()>> {
        let read = |at: u64, buf: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            buf.copy_from_slice(bytes.get(at..at + buf.len()).ok_or(())?);
            Ok(())
        };
        NoteIter::new(0..bytes.len() as u64, !big_endian, read).collect()
    }

    #[test]
    fn notes_are_found_in_both_byte_orders_and_with_padding() {
        for big_endian in [false, true] {
            let bytes = [
                note(b"GNU\0", 3, b"build", big_endian),
                note(b"a longer name\0", 7, b"", big_endian),
                note(b"CORE\0", 1, b"x", big_endian),
            ];
            let all = notes(&bytes.concat(), big_endian);
            let [Ok(one), Ok(two), Ok(three)] = &all[..] else {
                panic!("{all:?}");
            };
            assert!(one.is_named(b"GNU\0") && !one.is_named(b"GNU") && !two.is_named(b"a longer"));
            assert!(three.is_named(b"CORE\0"));
            assert_eq!([one.kind, two.kind, three.kind], [3, 7, 1]);
            assert_eq!(one.descriptor, Some(16..21));
            assert_eq!(two.descriptor, Some(52..52));
            assert_eq!(three.descriptor, Some(72..73));
        }
    }

    #[test]
    fn sizes_that_exceed_the_notes_end_them() {
        let whole = note(b"GNU\0", 3, b"build id", false);
        for len in 0..12 {
            assert_eq!(notes(whole.get(..len).unwrap(), false), []);
        }
        for len in 12..whole.len() {
            let found = notes(whole.get(..len).unwrap(), false);
            assert!(matches!(
                &found[..],
                [Ok(Note {
                    descriptor: None,
                    ..
                })]
            ));
        }
        for at in [0, 4] {
            let mut bytes = whole.clone();
            bytes.splice(at..at + 4, [0xff; 4]);
            let found = notes(&bytes, false);
            assert!(matches!(
                &found[..],
                [Ok(Note {
                    descriptor: None,
                    ..
                })]
            ));
        }
    }

    #[test]
    fn an_error_is_the_last_item() {
        let mut failing = NoteIter::new(0..64, true, |_, _: &mut [u8]| Err(()));
        assert_eq!(failing.next(), Some(Err(())));
        assert_eq!(failing.next(), None);
    }
}
