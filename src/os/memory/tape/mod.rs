//! [`Tape`]: recorded memory, which can be read again without its process.
//!
//! A tape file is small, and safe to parse whatever it contains. Its layout, with all numbers as
//! LEB128: the magic and a version byte; the number of facts, each a key and a value, both a length
//! and UTF-8; the number of ranges, in order, each the distance from the end of the previous one, a
//! length, and its bytes as alternating runs, a count of bytes that follow and a count of zeros
//! that don't, until the length is reached.

use std::cell::RefCell;
use std::collections::BTreeMap;

use nix::errno::Errno;

use super::address::RemoteAddr;
use super::{MemoryError, RemoteMemory};

const MAGIC: &[u8; 8] = b"pyspytap";
const VERSION: u8 = 1;
/// Cap on the bytes of memory.
const MAX_BYTES: u64 = 32 << 20;
/// Cap on the ranges, each of which costs us some 50 bytes.
const MAX_RANGES: u64 = 1 << 19;
/// Caps on the facts, and on a key or value in bytes.
const MAX_FACTS: u64 = 256;
const MAX_TEXT: u64 = 4096;
/// Shorter runs of zeros are written out: encoding them would cost more.
const MIN_ZEROS: usize = 8;

/// Why a tape could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapeError {
    /// Wrong magic.
    #[error("not a memory tape")]
    NotATape,
    #[error("a memory tape of the unknown version {0}")]
    Version(u8),
    /// It ends too early, contradicts itself or exceeds a cap.
    #[error("a damaged memory tape")]
    Damaged,
}

/// Recorded memory and facts about its origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// By first address. No two overlap or touch.
    ranges: BTreeMap<u64, Vec<u8>>,
    facts: BTreeMap<String, String>,
}

impl Tape {
    /// Stores a fact, such as an address to start from.
    pub fn set_fact(&mut self, key: &str, value: &str) {
        self.facts.insert(key.into(), value.into());
    }

    /// The value of a fact.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.get(key).map(String::as_str)
    }

    /// The number of bytes of memory.
    pub fn size(&self) -> u64 {
        self.ranges.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Its memory, in order of address.
    pub fn ranges(&self) -> impl Iterator<Item = (RemoteAddr, &[u8])> {
        let ranges = self.ranges.iter();
        ranges.map(|(start, bytes)| (RemoteAddr(*start), bytes.as_slice()))
    }

    /// Adds memory, replacing what was recorded at these addresses. Bytes past the end of the
    /// address space are dropped.
    pub fn insert(&mut self, addr: RemoteAddr, bytes: &[u8]) {
        let room = usize::try_from(u64::MAX - addr.0).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if bytes.is_empty() {
            return;
        }
        let end = addr.0 + bytes.len() as u64;
        // The range that begins at or before it and reaches it is extended.
        let before = self.ranges.range(..=addr.0).next_back();
        let start = match before {
            Some((start, old)) if start + old.len() as u64 >= addr.0 => *start,
            _ => addr.0,
        };
        let mut range = self.ranges.remove(&start).unwrap_or_default();
        let at = usize::try_from(addr.0 - start).unwrap_or(usize::MAX);
        let overlap = range.len().saturating_sub(at).min(bytes.len());
        let (replacing, added) = bytes.split_at(overlap);
        if let Some(place) = range.get_mut(at..).and_then(|rest| rest.get_mut(..overlap)) {
            place.copy_from_slice(replacing);
        }
        range.extend_from_slice(added);
        // Ranges that begin within or right after it are merged into it.
        while let Some((&next, _)) = self.ranges.range(start..=end).next() {
            let Some(old) = self.ranges.remove(&next) else {
                break;
            };
            let covered = usize::try_from(end - next).unwrap_or(usize::MAX);
            range.extend_from_slice(old.get(covered..).unwrap_or_default());
        }
        self.ranges.insert(start, range);
    }

    /// The contents of a tape file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put(&mut out, self.facts.len() as u64);
        for text in self.facts.iter().flat_map(|(key, value)| [key, value]) {
            put(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        put(&mut out, self.ranges.len() as u64);
        let mut position = 0;
        for (start, bytes) in &self.ranges {
            put(&mut out, start - position);
            put(&mut out, bytes.len() as u64);
            put_runs(&mut out, bytes);
            position = start + bytes.len() as u64;
        }
        out
    }

    /// # Errors
    /// When it is no tape, is of a later version or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tape, TapeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(TapeError::NotATape)?;
        let (version, rest) = rest.split_first().ok_or(TapeError::NotATape)?;
        if *version != VERSION {
            return Err(TapeError::Version(*version));
        }
        parse(&mut Reader { rest }).ok_or(TapeError::Damaged)
    }
}

impl RemoteMemory for Tape {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let known = self
            .ranges
            .range(..=addr.0)
            .next_back()
            .and_then(|(start, bytes)| bytes.get(usize::try_from(addr.0 - start).ok()?..))
            .unwrap_or_default();
        match known.get(..buf.len()) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(MemoryError {
                addr: addr.offset(known.len() as u64),
                len: buf.len() - known.len(),
                cause: Errno::EFAULT.into(),
            }),
        }
    }
}

/// Memory that records on a tape whatever is read through it.
#[derive(Debug)]
pub struct RecordingMemory<M> {
    memory: M,
    tape: RefCell<Tape>,
}

impl<M: RemoteMemory> RecordingMemory<M> {
    /// Starts with an empty tape.
    pub fn new(memory: M) -> RecordingMemory<M> {
        RecordingMemory {
            memory,
            tape: RefCell::default(),
        }
    }

    /// Everything that was read.
    pub fn into_tape(self) -> Tape {
        self.tape.into_inner()
    }
}

impl<M: RemoteMemory> RemoteMemory for RecordingMemory<M> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(addr, buf)?;
        self.tape.borrow_mut().insert(addr, buf);
        Ok(())
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        self.memory.read_many(parts)?;
        let mut tape = self.tape.borrow_mut();
        for (addr, buf) in parts {
            tape.insert(*addr, buf);
        }
        Ok(())
    }
}

/// Appends a LEB128 number.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_runs(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        // Up to the next run of zeros that is long enough.
        let literal = rest
            .windows(MIN_ZEROS)
            .position(|window| window.iter().all(|&byte| byte == 0))
            .unwrap_or(rest.len());
        let (text, after) = rest.split_at(literal);
        let zeros = after.iter().take_while(|&&byte| byte == 0).count();
        put(out, text.len() as u64);
        out.extend_from_slice(text);
        put(out, zeros as u64);
        rest = after.split_at(zeros).1;
    }
}

fn parse(reader: &mut Reader<'_>) -> Option<Tape> {
    let mut tape = Tape::default();
    for _ in 0..reader.number_up_to(MAX_FACTS)? {
        let key = reader.text()?;
        let value = reader.text()?;
        tape.facts.insert(key, value);
    }
    let mut position = 0u64;
    let mut left = MAX_BYTES;
    for _ in 0..reader.number_up_to(MAX_RANGES)? {
        let gap = reader.number()?;
        let start = position.checked_add(gap)?;
        let length = reader.number_up_to(left)?;
        left -= length;
        position = start.checked_add(length)?;
        let length = usize::try_from(length).ok()?;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let room = (length - bytes.len()) as u64;
            let literal = reader.number_up_to(room)?;
            bytes.extend_from_slice(reader.take(literal)?);
            let zeros = reader.number_up_to(room - literal)?;
            // Each round adds at least one byte, so there are no more rounds than bytes.
            if literal + zeros == 0 {
                return None;
            }
            bytes.resize(bytes.len() + usize::try_from(zeros).ok()?, 0);
        }
        // Ranges that touch are merged, as those of a real tape already are.
        tape.insert(RemoteAddr(start), &bytes);
    }
    reader.rest.is_empty().then_some(tape)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(count).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take(1)? else {
                return None;
            };
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn number_up_to(&mut self, most: u64) -> Option<u64> {
        self.number().filter(|number| *number <= most)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number_up_to(MAX_TEXT)?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests;
