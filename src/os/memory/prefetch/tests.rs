//! Memory that counts how often it is read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::io;

use super::*;

const START: u64 = 0x10_0000;

/// 64 KiB whose bytes differ, but for the pages that are not there.
struct Counted {
    bytes: RefCell<Vec<u8>>,
    missing: RefCell<Vec<u64>>,
    calls: Cell<u32>,
}

impl Counted {
    fn new() -> Counted {
        Counted {
            bytes: RefCell::new((0..1 << 16).map(|n: u32| (n ^ (n >> 8)) as u8).collect()),
            missing: RefCell::default(),
            calls: Cell::new(0),
        }
    }

    fn copy(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let pages = addr.0 / PAGE..=(addr.0 + buf.len() as u64 - 1) / PAGE;
        let missing = self.missing.borrow();
        let from = (addr.0 - START) as usize;
        let bytes = self.bytes.borrow();
        match bytes.get(from..from + buf.len()) {
            Some(bytes) if !missing.iter().any(|page| pages.contains(&(page / PAGE))) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            _ => Err(MemoryError {
                addr,
                len: buf.len(),
                cause: io::ErrorKind::InvalidInput.into(),
            }),
        }
    }

    /// How often it was read since this was asked last.
    fn calls(&self) -> u32 {
        self.calls.replace(0)
    }
}

impl RemoteMemory for Counted {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.calls.set(self.calls.get() + 1);
        self.copy(addr, buf)
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        self.calls.set(self.calls.get() + 1);
        parts
            .iter_mut()
            .try_for_each(|(addr, buf)| self.copy(*addr, buf))
    }
}

fn fill(ahead: &mut Prefetch, memory: &Counted) {
    ahead.prepare();
    let mut parts = Vec::new();
    ahead.add_parts(&mut parts);
    let filled = memory.read_many(&mut parts).is_ok();
    ahead.filled(filled);
}

/// Reads so many bytes at this distance from the start, and compares them with what is there.
fn read(ahead: &Prefetch, memory: &Counted, at: u64, len: usize) {
    let mut buf = vec![0; len];
    let mut expected = vec![0; len];
    let addr = RemoteAddr(START + at);
    memory.copy(addr, &mut expected).unwrap();
    ahead.over(memory).read(addr, &mut buf).unwrap();
    assert_eq!(buf, expected, "{len} bytes at {at:#x}");
}

#[test]
fn what_was_asked_for_once_comes_with_one_call() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy::default());
    let places = [(0x10, 8), (0x8000, 100), (0x18, 8), (0x7000, 16)];
    for (round, calls) in [(1, 4), (2, 0), (3, 0)] {
        fill(&mut ahead, &memory);
        memory.calls();
        for (at, len) in places {
            read(&ahead, &memory, at, len);
        }
        assert_eq!(memory.calls(), calls, "round {round}");
        assert_eq!(ahead.misses(), calls);
    }
    // Neighbours are one range.
    assert_eq!(ahead.ranges().count(), 3);
}

#[test]
fn the_copy_is_of_the_fill_and_the_next_one_is_new() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy::default());
    let addr = RemoteAddr(START);
    read(&ahead, &memory, 0, 8);
    fill(&mut ahead, &memory);
    let before = memory.bytes.borrow()[0];
    memory.bytes.borrow_mut()[0] = before ^ 0xff;
    let mut byte = [0];
    ahead.over(&memory).read(addr, &mut byte).unwrap();
    assert_eq!(byte, [before]);
    fill(&mut ahead, &memory);
    ahead.over(&memory).read(addr, &mut byte).unwrap();
    assert_eq!(byte, [before ^ 0xff]);
}

#[test]
fn a_stack_that_grows_is_read_in_blocks_and_stays_within_its_pages() {
    let memory = Counted::new();
    // The stack's pages are 2 to 5.
    memory
        .missing
        .borrow_mut()
        .extend([START + PAGE, START + 6 * PAGE]);
    let mut ahead = Prefetch::new(PrefetchPolicy {
        gap: 2048,
        beyond: 512,
        before: 2048,
    });
    // From the innermost frame down to the outermost, 100 bytes each.
    let walk = |ahead: &Prefetch, depth: u64| {
        for frame in (0..depth).rev() {
            read(ahead, &memory, 2 * PAGE + frame * 100, 72);
        }
    };
    fill(&mut ahead, &memory);
    memory.calls();
    walk(&ahead, 100);
    assert!(memory.calls() < 12, "a frame at a time");
    for depth in [100, 103, 106, 100, 40] {
        fill(&mut ahead, &memory);
        memory.calls();
        walk(&ahead, depth);
        assert_eq!(
            memory.calls(),
            0,
            "{depth} frames: what lies beyond was copied"
        );
    }
    // Up to the last byte of the last page there is no beyond.
    walk(&ahead, 163);
    fill(&mut ahead, &memory);
    memory.calls();
    walk(&ahead, 163);
    assert_eq!(memory.calls(), 0);
}

#[test]
fn what_nobody_asks_for_any_more_is_not_copied_for_ever() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy::default());
    read(&ahead, &memory, 0x9000, 4000);
    for _ in 0..2 * KEPT {
        fill(&mut ahead, &memory);
        read(&ahead, &memory, 0x100, 8);
    }
    let ranges: Vec<_> = ahead.ranges().collect();
    assert_eq!(ranges, [(RemoteAddr(START + 0x100), 8)]);
}

#[test]
fn a_range_that_is_gone_does_not_take_the_others_along() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy::default());
    read(&ahead, &memory, 0, 8);
    read(&ahead, &memory, 3 * PAGE, 8);
    fill(&mut ahead, &memory);
    memory.missing.borrow_mut().push(START + 3 * PAGE);
    fill(&mut ahead, &memory);
    read(&ahead, &memory, 0, 8);
    let gone = RemoteAddr(START + 3 * PAGE);
    ahead.over(&memory).read(gone, &mut [0; 8]).unwrap_err();
    fill(&mut ahead, &memory);
    memory.calls();
    read(&ahead, &memory, 0, 8);
    assert_eq!(memory.calls(), 0);
}

#[test]
fn an_endless_stack_is_not_kept() {
    struct Endless;
    impl RemoteMemory for Endless {
        fn read(&self, _: RemoteAddr, _: &mut [u8]) -> Result<(), MemoryError> {
            Ok(())
        }
    }
    let mut ahead = Prefetch::new(PrefetchPolicy {
        gap: 2048,
        beyond: 512,
        before: 2048,
    });
    for round in 0..3 {
        ahead.prepare();
        let mut parts = Vec::new();
        ahead.add_parts(&mut parts);
        ahead.filled(true);
        for place in (0..100_000).rev() {
            let mut buf = [0; 72];
            let addr = RemoteAddr(START + place * 8 * PAGE + round);
            ahead.over(&Endless).read(addr, &mut buf).unwrap();
        }
        assert!(
            ahead.size() < 4 * MAX_BYTES as usize,
            "{} bytes",
            ahead.size()
        );
    }
    // The ends of the address space are no special place.
    for addr in [0, 8, u64::MAX - 8, u64::MAX] {
        ahead
            .over(&Endless)
            .read(RemoteAddr(addr), &mut [0; 8])
            .unwrap();
    }
    ahead.prepare();
}

#[test]
fn what_is_the_same_as_before_counts_as_asked_for_and_what_is_not_ends_the_count() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy {
        gap: 64,
        ..PrefetchPolicy::default()
    });
    // Two ranges, by turns.
    let places: Vec<u64> = (0..8).map(|n| n / 2 * 48 + n % 2 * 0x4000).collect();
    let addrs = || places.iter().map(|at| RemoteAddr(START + at));
    for at in &places {
        read(&ahead, &memory, *at, 40);
    }
    fill(&mut ahead, &memory);
    assert_eq!(ahead.ranges().count(), 2);
    let mut before = vec![0; 40 * places.len()];
    for (addr, bytes) in addrs().zip(before.chunks_exact_mut(40)) {
        memory.copy(addr, bytes).unwrap();
    }
    assert_eq!(ahead.count_same(addrs(), 40, &before), 8);
    before[5 * 40 + 39] ^= 1;
    assert_eq!(ahead.count_same(addrs(), 40, &before), 5);
    assert_eq!(ahead.count_same(addrs().skip(6), 40, &before[6 * 40..]), 2);
    // What is not in the copy is not the same, though it is nowhere read.
    let elsewhere = [0x100, 0x3ff0, 0x8000].map(|at| RemoteAddr(START + at));
    for addr in elsewhere {
        let mut bytes = [0; 40];
        memory.copy(addr, &mut bytes).unwrap();
        assert_eq!(ahead.count_same([addr].into_iter(), 40, &bytes), 0);
    }
    assert_eq!(ahead.misses(), 0);
    // Asked for like this alone, the ranges stay.
    before[5 * 40 + 39] ^= 1;
    for _ in 0..200 {
        fill(&mut ahead, &memory);
        assert_eq!(ahead.count_same(addrs(), 40, &before), 8);
    }
    // Nothing is the same as in a copy that failed.
    ahead.prepare();
    ahead.filled(false);
    assert_eq!(ahead.count_same(addrs(), 40, &before), 0);
}

/// A stack that unwound gave memory back; what was known of it was forgotten, and each frame was read by
/// itself, in that look and in the next one.
#[test]
fn what_is_not_there_for_a_moment_is_left_out_and_comes_back() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy {
        gap: 2048,
        ..PrefetchPolicy::default()
    });
    let places: Vec<u64> = (0x800..0x6000).step_by(0x100).collect();
    for at in &places {
        read(&ahead, &memory, *at, 16);
    }
    read(&ahead, &memory, 0x9010, 16);
    for missing in [
        vec![0, 1, 2],    // the start of the first range
        vec![4, 5],       // its end
        vec![9],          // the second one
        vec![3, 4, 5, 9], // both
    ] {
        memory.missing.borrow_mut().clear();
        fill(&mut ahead, &memory);
        let is_there = |at: &u64| !missing.contains(&(*at / PAGE));
        let addr = |page: &u64| START + page * PAGE;
        memory.missing.replace(missing.iter().map(addr).collect());
        ahead.prepare();
        let copy = |ahead: &mut Prefetch| {
            let mut parts = Vec::new();
            ahead.add_parts(&mut parts);
            memory.read_many(&mut parts).is_ok()
        };
        assert!(!copy(&mut ahead) && ahead.trim(&memory), "{missing:?}");
        assert!(copy(&mut ahead), "{missing:?}");
        ahead.filled(true);
        memory.calls();
        for at in places.iter().chain(&[0x9010]).filter(|at| is_there(at)) {
            read(&ahead, &memory, *at, 16);
        }
        assert_eq!(memory.calls(), 0, "{missing:?}");
        let lost = places.iter().find(|at| !is_there(at)).unwrap_or(&0x9010);
        let lost = RemoteAddr(START + lost);
        ahead.over(&memory).read(lost, &mut [0; 16]).unwrap_err();
        assert!(ahead.over(&memory).view(lost, 16).is_none());
    }
    memory.missing.borrow_mut().clear();
    fill(&mut ahead, &memory);
    memory.calls();
    for at in places {
        read(&ahead, &memory, at, 16);
    }
    assert_eq!(memory.calls(), 0);
}

#[test]
fn without_a_gap_nothing_is_left_out() {
    let memory = Counted::new();
    let mut ahead = Prefetch::new(PrefetchPolicy::default());
    read(&ahead, &memory, 0x10, 8);
    fill(&mut ahead, &memory);
    assert!(!ahead.trim(&memory));
}
