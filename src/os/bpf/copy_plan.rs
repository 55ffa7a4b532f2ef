//! [`CopyPlan`]: what the BPF program copies of the threads of one process, and [`Record`], such a copy.
//!
//! The layout of the plan is that of `struct process` in `sampler.bpf.c`, the layout of a record that of
//! `struct header` and of what the program puts behind it.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;

use crate::os::memory::address::RemoteAddr;
use crate::os::memory::{MemoryError, RemoteMemory};

/// Ranges of memory that are the same for all threads of a process.
pub const MAX_RANGES: usize = 6;
/// The longest of them in bytes.
pub const MAX_RANGE: usize = 64;
/// The largest part of a thread state, of a frame and of a code object, in bytes.
pub const MAX_STATE: usize = 512;
pub const MAX_FRAME: usize = 256;
pub const MAX_CODE: usize = 256;
/// Fields that identify a code object.
pub const CODE_FIELDS: usize = 6;
/// Those of them that are strings, and how many bytes of one without a hash count.
const TEXTS: usize = 3;
const TEXT_LEN: usize = 40;
/// The most frames that the program copies of one stack: 32 records of 32.
pub const MAX_FRAMES: usize = 32 * 32;

/// The bytes of a `_PyCFrame` that are copied.
const CFRAME: usize = 32;
/// `struct header`.
const HEADER: usize = 56;
/// Before each frame: its address, and the mix of its code object.
const FRAME_HEAD: usize = 16;

const MORE: u32 = 1;
const UNREADABLE: u32 = 2;
const TOO_DEEP: u32 = 4;
const UNKNOWN_THREAD: u32 = 8;
const FAULT: u32 = 16;
const WAIT: u32 = 32;

/// The number of words of `struct process`.
pub const PLAN_WORDS: usize = 5 + 2 * MAX_RANGES + 3 + 4 + 1 + CODE_FIELDS + 1 + 2 * TEXTS + 4;

/// What is copied of the threads of one process. All offsets are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyPlan {
    /// The address of the pointer to the thread state that holds the GIL, if known.
    pub gil_holder: Option<RemoteAddr>,
    /// Device and inode of the process's PID namespace, if it is not the one whose ids are used.
    pub namespace: Option<(u64, u64)>,
    /// Where a thread state has its `pthread_t`.
    pub pthread: usize,
    /// Where the C library keeps the kernel's id of a thread, from its `pthread_t` on, if known.
    pub tid_in_pthread: Option<u64>,
    /// At most [`MAX_RANGES`] of [`MAX_RANGE`] bytes; lengths are multiples of 8.
    pub ranges: Vec<(RemoteAddr, usize)>,
    /// The length of the part of a thread state that is copied, a multiple of 8.
    pub state_len: usize,
    /// Where in it is the pointer to the leaf frame.
    pub frame_root: usize,
    /// If that pointer leads to a `_PyCFrame`: where that has its `current_frame`, which `previous` follows.
    pub cframe: Option<usize>,
    /// The length of the part of a frame that is copied, a multiple of 8.
    pub frame_len: usize,
    /// Where in it are the pointers to the caller's frame and to the code object.
    pub previous: usize,
    pub executable: usize,
    /// Bits of the latter that are no part of the address.
    pub tag_mask: u64,
    /// The length of the part of a code object that has these fields, a multiple of 8.
    pub code_len: usize,
    /// The fields that distinguish code objects, of 8 bytes each.
    pub code_fields: [usize; CODE_FIELDS],
    /// The strings among them, which a freed code object may still lead to after they have been used again.
    pub texts: Texts,
    /// A counter that moves whenever the address of a code object may be used again, if there is one.
    pub generation: Option<GenerationCounter>,
}

/// Where an interpreter counts its code objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationCounter {
    /// The address of the counter, and its length: 4 or 8 bytes.
    pub addr: RemoteAddr,
    pub len: usize,
    /// The interpreter whose code objects it counts, and where a thread state has the address of its interpreter.
    pub interpreter: RemoteAddr,
    pub in_state: usize,
}

/// Strings that distinguish code objects: by length and hash, or where no hash was computed by the first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Where a code object has its name, its file and its line table.
    pub fields: [usize; TEXTS],
    /// Where such an object has its length, and behind it its hash.
    pub head: usize,
    /// Where each has its bytes.
    pub data: [usize; TEXTS],
}

impl CopyPlan {
    /// Whether the program can follow it: no part is longer than it copies at most.
    pub fn fits(&self) -> bool {
        let is_within = |at: usize, len: usize| at.saturating_add(8) <= len;
        let is_range = |len: usize| len > 0 && len <= MAX_RANGE && len.is_multiple_of(8);
        self.ranges.len() <= MAX_RANGES
            && self.ranges.iter().all(|(_, len)| is_range(*len))
            && self.state_len <= MAX_STATE
            && is_within(self.frame_root, self.state_len)
            && self.cframe.is_none_or(|at| at + 16 <= CFRAME)
            && self.frame_len <= MAX_FRAME
            && is_within(self.previous, self.frame_len)
            && is_within(self.executable, self.frame_len)
            && self.code_len < MAX_CODE
            && self
                .code_fields
                .iter()
                .chain(&self.texts.fields)
                .all(|at| is_within(*at, self.code_len))
            && self.generation.is_none_or(|counter| {
                [4, 8].contains(&counter.len)
                    && is_within(counter.in_state, self.state_len)
                    && counter.in_state.is_multiple_of(8)
            })
            // The program masks them by these.
            && [self.frame_root, self.previous, self.executable]
                .iter()
                .all(|at| at.is_multiple_of(8))
    }

    /// The words of `struct process`.
    pub fn words(&self) -> [u64; PLAN_WORDS] {
        let mut words = [0; PLAN_WORDS];
        let (dev, ino) = self.namespace.unwrap_or_default();
        let range = |number: usize| self.ranges.get(number);
        let all = [
            self.gil_holder.map_or(0, |addr| addr.0),
            dev,
            ino,
            self.pthread as u64,
            self.tid_in_pthread.unwrap_or(0),
        ]
        .into_iter()
        .chain((0..MAX_RANGES).map(|number| range(number).map_or(0, |(addr, _)| addr.0)))
        .chain((0..MAX_RANGES).map(|number| range(number).map_or(0, |(_, len)| *len as u64)))
        .chain([
            self.state_len as u64,
            self.frame_root as u64,
            self.cframe.map_or(0, |at| at as u64 + 1),
            self.frame_len as u64,
            self.previous as u64,
            self.executable as u64,
            self.tag_mask,
            self.code_len as u64,
        ])
        .chain(self.code_fields.iter().map(|at| *at as u64))
        .chain([self.texts.head as u64])
        .chain(self.texts.fields.map(|at| at as u64))
        .chain(self.texts.data.map(|at| at as u64))
        .chain(self.generation.map_or([0; 4], |counter| {
            let GenerationCounter {
                addr,
                len,
                interpreter,
                in_state,
            } = counter;
            [addr.0, len as u64, interpreter.0, in_state as u64]
        }));
        for (word, value) in words.iter_mut().zip(all) {
            *word = value;
        }
        words
    }

    /// What identifies the code objects at these addresses now, as far as they can be read: the same mixes as the
    /// program makes.
    pub fn code_identities(
        &self,
        memory: &impl RemoteMemory,
        codes: &[RemoteAddr],
    ) -> HashMap<RemoteAddr, u64> {
        let heads = read_each(memory, self.code_len, codes.iter().copied());
        let texts: HashSet<Text> = heads
            .values()
            .flat_map(|head| self.texts_of(head))
            .collect();
        let texts = self.text_contents(memory, &texts);
        let found = heads.iter().filter_map(|(addr, head)| {
            let mut fields = self.code_fields.iter();
            let mix = fields.try_fold(addr.0, |mix, at| Some(mixed(mix, word(head, *at)?)))?;
            let mut of_texts = self.texts_of(head);
            let mix = of_texts.try_fold(mix, |mix, text| {
                let words = texts.get(&text)?.iter();
                Some(words.fold(mix, |mix, word| mixed(mix, *word)))
            })?;
            Some((*addr, mix))
        });
        found.collect()
    }

    /// The strings of a code object that has this head.
    fn texts_of(&self, head: &[u8]) -> impl Iterator<Item = Text> {
        let texts = self.texts.fields.into_iter().zip(self.texts.data);
        texts.filter_map(|(field, data)| Some((RemoteAddr(word(head, field)?), data)))
    }

    /// What each of these strings adds to a mix.
    fn text_contents(
        &self,
        memory: &impl RemoteMemory,
        texts: &HashSet<Text>,
    ) -> HashMap<Text, Vec<u64>> {
        let head_of = |addr: RemoteAddr| addr.offset(self.texts.head as u64);
        let heads = read_each(memory, 16, texts.iter().map(|(addr, _)| head_of(*addr)));
        let contents = |(addr, data): &Text| {
            let head = heads.get(&head_of(*addr))?;
            let (len, hash) = (word(head, 0)?, word(head, 8)?);
            let mut words = vec![len, hash];
            if hash == u64::MAX {
                let mut bytes = [0; TEXT_LEN];
                let len = usize::try_from(len).map_or(TEXT_LEN, |len| len.min(TEXT_LEN));
                let part = bytes.get_mut(..len)?;
                memory.read(addr.offset(*data as u64), part).ok()?;
                words.extend(bytes.chunks_exact(8).filter_map(|bytes| word(bytes, 0)));
            }
            Some(words)
        };
        let found = texts
            .iter()
            .filter_map(|text| Some((*text, contents(text)?)));
        found.collect()
    }

    /// Where in a record the frames begin.
    fn frames_start(&self) -> usize {
        let ranges: usize = self.ranges.iter().map(|(_, len)| len).sum();
        let cframes = self.cframe.map_or(0, |_| 2 * (8 + CFRAME));
        HEADER + ranges + self.state_len + cframes
    }

    fn frame_stride(&self) -> usize {
        FRAME_HEAD + self.frame_len
    }
}

/// A string of a code object, by its address and where it has its bytes.
type Text = (RemoteAddr, usize);

fn mixed(mix: u64, field: u64) -> u64 {
    let mix = (mix ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mix ^ (mix >> 32)
}

/// Reads so many bytes at each address, as far as they can be read.
fn read_each(
    memory: &impl RemoteMemory,
    len: usize,
    addrs: impl Iterator<Item = RemoteAddr>,
) -> HashMap<RemoteAddr, Vec<u8>> {
    let mut all: Vec<(RemoteAddr, Vec<u8>)> = addrs.map(|addr| (addr, vec![0; len])).collect();
    let parts = all
        .iter_mut()
        .map(|(addr, bytes)| (*addr, bytes.as_mut_slice()));
    let mut parts: Vec<(RemoteAddr, &mut [u8])> = parts.collect();
    if memory.read_many(&mut parts).is_err() {
        all.retain_mut(|(addr, bytes)| memory.read(*addr, bytes).is_ok());
    }
    all.into_iter().collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// A thread at a moment at which it was interrupted, had a page fault, or left its CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The time on `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Ids in the PID namespace of the settings.
    pub tid: u32,
    pub tgid: u32,
    /// The address of its thread state; null if none was known, and then there is nothing else.
    pub state: RemoteAddr,
    pub reason: Reason,
    flags: u32,
    frames: u32,
    bytes: Vec<u8>,
}

/// Why a record was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// A timer interrupt.
    #[default]
    Timer,
    PageFault(PageFault),
    /// The thread leaves its CPU: it waits, or another one gets the CPU.
    Wait(EarlierWaits),
}

impl Reason {
    pub fn is_timer(self) -> bool {
        self == Reason::Timer
    }

    pub fn fault(self) -> Option<PageFault> {
        match self {
            Reason::PageFault(fault) => Some(fault),
            Reason::Timer | Reason::Wait(_) => None,
        }
    }
}

/// What is known of a thread's waits before the one that a record is of. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EarlierWaits {
    /// When the last one began that was recorded, on `CLOCK_MONOTONIC`; the start of sampling if there was none.
    pub recorded_at_ns: u64,
    /// How long that one took.
    pub recorded_ns: u64,
    /// How long those after it took together, which were not recorded.
    pub skipped_ns: u64,
}

/// A page fault that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The address that was accessed.
    pub addr: RemoteAddr,
    /// How many page faults of the process it stands for: itself, and those that were passed before it.
    pub count: u64,
}

impl Record {
    /// Decodes what the program has put into the ring; `None` if it is none of its records.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let ids = word(bytes, 8)?;
        let flags = word(bytes, 24)?;
        let details = [word(bytes, 32)?, word(bytes, 40)?, word(bytes, 48)?];
        Some(Record {
            time_ns: word(bytes, 0)?,
            tid: low(ids),
            tgid: low(ids >> 32),
            state: RemoteAddr(word(bytes, 16)?),
            reason: reason(low(flags), details),
            flags: low(flags),
            frames: low(flags >> 32),
            bytes: bytes.to_vec(),
        })
    }

    /// Whether more of its frames are in another record.
    pub fn has_more(&self) -> bool {
        self.flags & MORE != 0
    }

    /// Adds the record that goes on with this one.
    pub fn extend(&mut self, next: &Record) {
        self.flags = (self.flags & !MORE) | next.flags;
        self.frames = self.frames.saturating_add(next.frames);
        let frames = next.bytes.get(HEADER..).unwrap_or_default();
        self.bytes.extend_from_slice(frames);
    }

    /// Whether the thread's state was not known.
    pub fn is_of_unknown_thread(&self) -> bool {
        self.flags & UNKNOWN_THREAD != 0
    }

    /// Why the stack is not whole, if it is not.
    pub fn defect(&self) -> Option<Defect> {
        if self.flags & UNREADABLE != 0 {
            Some(Defect::Unreadable)
        } else if self.flags & TOO_DEEP != 0 {
            Some(Defect::TooDeep)
        } else {
            None
        }
    }

    /// The memory that was copied.
    pub fn memory<'a>(&'a self, plan: &'a CopyPlan) -> RecordMemory<'a> {
        let mut at = HEADER;
        let mut parts = Vec::with_capacity(MAX_RANGES + 3);
        for (addr, len) in &plan.ranges {
            parts.push((*addr, at..at + len));
            at += len;
        }
        parts.push((self.state, at..at + plan.state_len));
        at += plan.state_len;
        if plan.cframe.is_some() {
            for _ in 0..2 {
                let addr = word(&self.bytes, at).map_or(RemoteAddr::NULL, RemoteAddr);
                if !addr.is_null() {
                    parts.push((addr, at + 8..at + 8 + CFRAME));
                }
                at += 8 + CFRAME;
            }
        }
        RecordMemory {
            record: self,
            plan,
            parts,
            next_frame: Cell::new(0),
        }
    }

    /// The mix of the code object of each frame, from the leaf on, shims included, with the frame's address.
    pub fn code_identities<'a>(
        &'a self,
        plan: &'a CopyPlan,
    ) -> impl Iterator<Item = (RemoteAddr, u64)> + 'a {
        let frames = self.bytes.get(plan.frames_start()..).unwrap_or_default();
        let frames = frames.chunks_exact(plan.frame_stride());
        frames.filter_map(|frame| Some((RemoteAddr(word(frame, 0)?), word(frame, 8)?)))
    }
}

/// `flags` and `details` of `struct header`.
fn reason(flags: u32, details: [u64; 3]) -> Reason {
    let [first, second, third] = details;
    match flags & (FAULT | WAIT) {
        0 => Reason::Timer,
        FAULT => Reason::PageFault(PageFault {
            addr: RemoteAddr(second),
            count: first,
        }),
        _ => Reason::Wait(EarlierWaits {
            recorded_at_ns: first,
            recorded_ns: second,
            skipped_ns: third,
        }),
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}

/// Why a record lacks frames. What it displays goes on with what has the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A page was not in memory, and it cannot be fetched in an interrupt.
    #[error("has a stack of which a part is not in memory")]
    Unreadable,
    /// It has more frames than the program was to copy.
    #[error("has a stack deeper than the kernel copies")]
    TooDeep,
}

/// What a record holds of a process's memory. Nothing else can be read.
pub struct RecordMemory<'a> {
    record: &'a Record,
    plan: &'a CopyPlan,
    /// All but the frames.
    parts: Vec<(RemoteAddr, Range<usize>)>,
    /// Frames are read one after another.
    next_frame: Cell<usize>,
}

impl RecordMemory<'_> {
    /// The copy of the frame with this number, if it is the one at this address.
    fn frame(&self, number: usize, addr: RemoteAddr) -> Option<&[u8]> {
        let stride = self.plan.frame_stride();
        let at = number
            .checked_mul(stride)?
            .checked_add(self.plan.frames_start())?;
        let frame = self.record.bytes.get(at..at.checked_add(stride)?)?;
        let (head, copy) = frame.split_at_checked(FRAME_HEAD)?;
        (word(head, 0)? == addr.0).then_some(copy)
    }

    fn find(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        let expected = self.next_frame.get();
        if let Some(copy) = self.frame(expected, addr) {
            self.next_frame.set(expected + 1);
            return copy.get(..len);
        }
        let in_part = |(start, range): &(RemoteAddr, Range<usize>)| {
            let offset = usize::try_from(addr.distance_from(*start)?).ok()?;
            let copy = self.record.bytes.get(range.clone())?;
            copy.get(offset..offset.checked_add(len)?)
        };
        if let Some(found) = self.parts.iter().find_map(in_part) {
            return Some(found);
        }
        let frames = usize::try_from(self.record.frames).unwrap_or(0);
        let mut numbers = 0..frames.min(MAX_FRAMES);
        let number = numbers.find(|number| self.frame(*number, addr).is_some())?;
        self.next_frame.set(number + 1);
        self.frame(number, addr)?.get(..len)
    }
}

impl RemoteMemory for RecordMemory<'_> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        match self.find(addr, buf.len()) {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => Err(MemoryError {
                addr,
                len: buf.len(),
                cause: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    fn view(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        self.find(addr, len)
    }
}

#[cfg(test)]
mod tests;
