//! Hostile memory: each tape, changed at random 1,000 times, is read without a panic, without end
//! and without much memory. A failure prints the number of the change;
//! `PYSPY_MUTATION=NUMBER` runs that one alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;

use pyspy_rs::Secrets;
use pyspy_rs::internals::{
    MAX_SAMPLE_READS, MemoryError, RemoteAddr, RemoteMemory, Tape, TapeMetadata, ValueOptions,
};

use crate::support::{Recorded, parse_some, recorded_tapes};

/// How many changes each tape goes through, unless `PYSPY_MUTATIONS` has another number. They are the same
/// ones in each run: more of them are for a change of a reader, and for the slow tier.
const MUTATIONS: u64 = 1_000;
/// The most memory that one reading may have at a time, in bytes.
const MAX_MEMORY: isize = 64 << 20;

thread_local! {
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting what the thread holds.
struct Counting;

fn count(bytes: isize) {
    let used = USED.get() + bytes;
    USED.set(used);
    PEAK.set(PEAK.get().max(used));
}

fn signed(size: usize) -> isize {
    isize::try_from(size).expect("a layout is no larger")
}

// SAFETY: every call goes on to the system's allocator as it came; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn new(number: u64) -> Random {
        Random(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// What a read finds where the tape has nothing.
#[derive(Clone, Copy, Debug)]
enum Elsewhere {
    Nothing,
    /// This word, over and over.
    Word(u64),
    /// At each address a pointer so much further: a list without end and without a loop.
    Further(u64),
}

/// A tape with changes.
struct Mutated<'a> {
    tape: &'a Tape,
    patches: Vec<(u64, u64)>,
    holes: Vec<Range<u64>>,
    elsewhere: Elsewhere,
    reads: Cell<usize>,
}

impl RemoteMemory for Mutated<'_> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() <= MAX_READS, "no end of reads");
        let end = addr.offset(buf.len() as u64).0;
        let fault = || MemoryError {
            addr,
            len: buf.len(),
            cause: std::io::Error::from_raw_os_error(14),
        };
        let mut holes = self.holes.iter();
        if holes.any(|hole| hole.start < end && addr.0 < hole.end) {
            return Err(fault());
        }
        let known = self.tape.read(addr, buf);
        match self.elsewhere {
            Elsewhere::Nothing => known?,
            // The first page stays empty, so that a null pointer is one.
            _ if addr.0 < 4096 || addr.0 > 1 << 62 => known?,
            Elsewhere::Word(word) if known.is_err() => fill(buf, addr, |_| word),
            Elsewhere::Further(step) if known.is_err() => fill(buf, addr, |at| at + step),
            _ => {}
        }
        for (at, word) in &self.patches {
            // Usually there is none within what is read.
            if *at < end && addr.0 < at + 8 {
                for (n, byte) in (*at..).zip(word.to_le_bytes()) {
                    if let Some(place) = n.checked_sub(addr.0) {
                        let place = buf.get_mut(usize::try_from(place).unwrap());
                        place.into_iter().for_each(|place| *place = byte);
                    }
                }
            }
        }
        Ok(())
    }
}

fn fill(buf: &mut [u8], addr: RemoteAddr, word: impl Fn(u64) -> u64) {
    for (at, byte) in (addr.0..).zip(buf) {
        *byte = word(at & !7).to_le_bytes()[(at & 7) as usize];
    }
}

/// A sample's reads, those that describe the interpreter, and some that a budget refuses late.
const MAX_READS: usize = MAX_SAMPLE_READS + 1000;

/// Where a tape can be changed.
struct Places<'a> {
    tape: &'a Tape,
    /// The ranges, and how many words the ranges before each have.
    ranges: Vec<(u64, u64, &'a [u8])>,
    words: u64,
}

impl<'a> Places<'a> {
    fn new(tape: &'a Tape) -> Self {
        let mut words = 0;
        let mut ranges = Vec::new();
        for (start, bytes) in tape.ranges() {
            ranges.push((words, start.0, bytes));
            words += (bytes.len() as u64).div_ceil(8);
        }
        Places {
            tape,
            ranges,
            words,
        }
    }

    /// The address of a word anywhere on the tape, most of them aligned as in memory.
    fn any(&self, random: &mut Random) -> u64 {
        let word = random.below(self.words);
        let after = self
            .ranges
            .partition_point(|(before, _, _)| *before <= word);
        let (before, start, _) = self.ranges[after - 1];
        start + (word - before) * 8
    }

    fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.tape.read(RemoteAddr(at), &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn mutated(&self, number: u64) -> Mutated<'a> {
        const INTS: [u64; 16] = [
            0,
            1,
            2,
            7,
            0xff,
            4096,
            0xffff,
            1 << 20,
            1 << 31,
            1 << 33,
            1 << 40,
            1 << 58,
            i64::MAX as u64,
            i64::MIN as u64,
            u64::MAX - 7,
            u64::MAX,
        ];
        let mut random = Random::new(number);
        let mut mutated = Mutated {
            tape: self.tape,
            patches: Vec::new(),
            holes: Vec::new(),
            elsewhere: Elsewhere::Nothing,
            reads: Cell::new(0),
        };
        for _ in 0..1 + random.below(16) {
            let at = self.any(&mut random);
            match random.below(8) {
                0 | 1 => {
                    let word = self.word(at) ^ 1 << random.below(64);
                    mutated.patch(at, word);
                }
                2..=4 => {
                    let to = self.any(&mut random);
                    // A pointer from elsewhere on the tape leads to an object, in a loop maybe.
                    let word = if random.below(2) == 0 {
                        to
                    } else {
                        self.word(to)
                    };
                    mutated.patch(at, word);
                }
                5 => mutated.patch(at, random.one_of(&INTS)),
                6 => {
                    let other = self.any(&mut random);
                    mutated.patch(at, self.word(other));
                    mutated.patch(other, self.word(at));
                }
                _ => mutated.holes.push(at..at + 1 + random.below(256)),
            }
        }
        // Few, for these can take all the reads that there are.
        if number.is_multiple_of(200) {
            mutated.elsewhere = match random.below(4) {
                0 => Elsewhere::Word(0),
                1 => Elsewhere::Word(random.one_of(&INTS)),
                2 => Elsewhere::Word(self.any(&mut random)),
                _ => Elsewhere::Further(8 << random.below(10)),
            };
        }
        mutated
    }
}

impl Mutated<'_> {
    fn patch(&mut self, at: u64, word: u64) {
        self.patches.push((at, word));
    }
}

/// What one change led to.
#[derive(Default)]
struct Outcome {
    refused: bool,
    reads: usize,
    peak: isize,
    shown: usize,
    lost: usize,
}

fn read_mutated(places: &Places<'_>, number: u64) -> Outcome {
    let memory = places.mutated(number);
    // Usually the first items of everything, which are read as all others are.
    let options = if number.is_multiple_of(20) {
        ValueOptions::level(2, Secrets::Hidden)
    } else {
        ValueOptions {
            attributes: true,
            max_items: 5,
            ..ValueOptions::level(1, Secrets::Shown)
        }
    };
    let before = USED.get();
    PEAK.set(before);
    let mut outcome = Outcome::default();
    match TapeMetadata::from_tape(places.tape, &memory) {
        Ok(attached) => match parse_some(&attached, &memory, options, |frame| {
            // The variables of every sixth frame, each time others.
            (frame as u64).wrapping_add(number).is_multiple_of(6)
        }) {
            Ok(parsed) => {
                for thread in &parsed.threads {
                    outcome.shown += thread.frames.len();
                    let locals = thread.frames.iter().flat_map(|(_, locals)| locals);
                    for local in locals {
                        assert!(local.value.chars().count() <= options.max_chars + 1);
                        let text = local.name.chars().chain(local.value.chars());
                        assert!(!text.into_iter().any(char::is_control), "{local:?}");
                    }
                }
                outcome.lost = parsed.errors.len();
            }
            Err(_) => outcome.refused = true,
        },
        Err(_) => outcome.refused = true,
    }
    outcome.reads = memory.reads.get();
    outcome.peak = PEAK.get() - before;
    outcome
}

fn survives(recorded: &Recorded, mutations: u64) {
    let places = Places::new(&recorded.tape);
    let asked = |name| {
        let asked = std::env::var(name).ok();
        asked.map(|number| number.parse::<u64>().expect("a number"))
    };
    let only = asked("PYSPY_MUTATION");
    let mutations = asked("PYSPY_MUTATIONS").unwrap_or(mutations);
    let numbers = only.map_or(0..mutations, |only| only..only + 1);
    let mut worst = Outcome::default();
    let (mut refused, mut damaged) = (0, 0);
    for number in numbers {
        let outcome = catch_unwind(AssertUnwindSafe(|| read_mutated(&places, number)));
        let outcome = outcome.unwrap_or_else(|_| {
            panic!(
                "change {number} of the tape of {} is not survived",
                recorded.version
            )
        });
        assert!(
            outcome.peak <= MAX_MEMORY,
            "change {number} of the tape of {} takes {} bytes",
            recorded.version,
            outcome.peak
        );
        refused += u64::from(outcome.refused);
        damaged += u64::from(outcome.lost > 0);
        worst.reads = worst.reads.max(outcome.reads);
        worst.peak = worst.peak.max(outcome.peak);
        worst.shown = worst.shown.max(outcome.shown);
    }
    println!(
        "{}: {refused} refused, {damaged} with errors; at most {} reads, {} KiB, {} frames",
        recorded.version,
        worst.reads,
        worst.peak >> 10,
        worst.shown
    );
    // The changes do reach what is read.
    assert!(only.is_some() || refused + damaged > mutations / 100);
}

#[test]
fn every_change_is_survived() {
    all_survive(MUTATIONS);
}

#[test]
#[ignore = "slow: two minutes"]
fn four_times_as_many_changes_are_survived() {
    all_survive(4 * MUTATIONS);
}

/// Every tape, as many at once as there are CPUs. `PYSPY_TEST_ONLY=3.12` leaves the others out.
fn all_survive(mutations: u64) {
    let tapes = recorded_tapes();
    assert!(!tapes.is_empty(), "no tapes");
    let only = std::env::var("PYSPY_TEST_ONLY").ok();
    let is_chosen = |(major, minor): &(u32, u32)| {
        let only = only.as_deref().map(|only| only.split(','));
        only.is_none_or(|mut only| only.any(|one| one == format!("{major}.{minor}")))
    };
    let left = Mutex::new(tapes.into_iter().filter(|(version, _)| is_chosen(version)));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((_, recorded)) = next() {
                    survives(&recorded, mutations);
                }
            });
        }
    });
}
