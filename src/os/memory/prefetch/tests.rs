//! Tests on memory that counts how often it is read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::io;

use super::*;

const START: u64 = 0x10_0000;

/// 64 KiB of varying bytes, without some missing pages.
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

    /// The number of reads since the last call of this.
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

fn fill(prefetch: &mut Prefetch, memory: &Counted) {
    prefetch.prepare();
    let mut parts = Vec::new();
    prefetch.add_parts(&mut parts);
    let filled = memory.read_many(&mut parts).is_ok();
    prefetch.filled(filled);
}

/// Reads some bytes at this distance from the start, and compares them with the memory.
fn read(prefetch: &Prefetch, memory: &Counted, at: u64, len: usize) {
    let mut buf = vec![0; len];
    let mut expected = vec![0; len];
    let addr = RemoteAddr(START + at);
    memory.copy(addr, &mut expected).unwrap();
    prefetch.over(memory).read(addr, &mut buf).unwrap();
    assert_eq!(buf, expected, "{len} bytes at {at:#x}");
}

#[test]
fn known_ranges_are_copied_with_one_call() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy::default());
    let offsets = [(0x10, 8), (0x8000, 100), (0x18, 8), (0x7000, 16)];
    for (round, calls) in [(1, 4), (2, 0), (3, 0)] {
        fill(&mut prefetch, &memory);
        memory.calls();
        for (at, len) in offsets {
            read(&prefetch, &memory, at, len);
        }
        assert_eq!(memory.calls(), calls, "round {round}");
        assert_eq!(prefetch.misses(), calls);
    }
    // Adjacent reads are one range.
    assert_eq!(prefetch.ranges().count(), 3);
}

#[test]
fn the_copy_is_replaced_by_the_next_fill() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy::default());
    let addr = RemoteAddr(START);
    read(&prefetch, &memory, 0, 8);
    fill(&mut prefetch, &memory);
    let before = memory.bytes.borrow()[0];
    memory.bytes.borrow_mut()[0] = before ^ 0xff;
    let mut byte = [0];
    prefetch.over(&memory).read(addr, &mut byte).unwrap();
    assert_eq!(byte, [before]);
    fill(&mut prefetch, &memory);
    prefetch.over(&memory).read(addr, &mut byte).unwrap();
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
    let mut prefetch = Prefetch::new(PrefetchPolicy {
        gap: 2048,
        beyond: 512,
        before: 2048,
    });
    // From the leaf frame to the root, 100 bytes each.
    let walk = |prefetch: &Prefetch, depth: u64| {
        for frame in (0..depth).rev() {
            read(prefetch, &memory, 2 * PAGE + frame * 100, 72);
        }
    };
    fill(&mut prefetch, &memory);
    memory.calls();
    walk(&prefetch, 100);
    assert!(memory.calls() < 12, "a frame at a time");
    for depth in [100, 103, 106, 100, 40] {
        fill(&mut prefetch, &memory);
        memory.calls();
        walk(&prefetch, depth);
        assert_eq!(
            memory.calls(),
            0,
            "{depth} frames: the memory beyond was copied"
        );
    }
    // Beyond the last byte of the last page there is nothing to copy.
    walk(&prefetch, 163);
    fill(&mut prefetch, &memory);
    memory.calls();
    walk(&prefetch, 163);
    assert_eq!(memory.calls(), 0);
}

#[test]
fn a_range_that_is_not_read_any_more_is_dropped() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy::default());
    read(&prefetch, &memory, 0x9000, 4000);
    for _ in 0..2 * SHRINK_INTERVAL {
        fill(&mut prefetch, &memory);
        read(&prefetch, &memory, 0x100, 8);
    }
    let ranges: Vec<_> = prefetch.ranges().collect();
    assert_eq!(ranges, [(RemoteAddr(START + 0x100), 8)]);
}

#[test]
fn an_unmapped_range_does_not_affect_the_others() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy::default());
    read(&prefetch, &memory, 0, 8);
    read(&prefetch, &memory, 3 * PAGE, 8);
    fill(&mut prefetch, &memory);
    memory.missing.borrow_mut().push(START + 3 * PAGE);
    fill(&mut prefetch, &memory);
    read(&prefetch, &memory, 0, 8);
    let gone = RemoteAddr(START + 3 * PAGE);
    prefetch.over(&memory).read(gone, &mut [0; 8]).unwrap_err();
    fill(&mut prefetch, &memory);
    memory.calls();
    read(&prefetch, &memory, 0, 8);
    assert_eq!(memory.calls(), 0);
}

#[test]
fn an_endless_stack_is_not_cached() {
    struct Endless;
    impl RemoteMemory for Endless {
        fn read(&self, _: RemoteAddr, _: &mut [u8]) -> Result<(), MemoryError> {
            Ok(())
        }
    }
    let mut prefetch = Prefetch::new(PrefetchPolicy {
        gap: 2048,
        beyond: 512,
        before: 2048,
    });
    for round in 0..3 {
        prefetch.prepare();
        let mut parts = Vec::new();
        prefetch.add_parts(&mut parts);
        prefetch.filled(true);
        for place in (0..100_000).rev() {
            let mut buf = [0; 72];
            let addr = RemoteAddr(START + place * 8 * PAGE + round);
            prefetch.over(&Endless).read(addr, &mut buf).unwrap();
        }
        assert!(
            prefetch.size() < 4 * MAX_BYTES as usize,
            "{} bytes",
            prefetch.size()
        );
    }
    // The ends of the address space are not special.
    for addr in [0, 8, u64::MAX - 8, u64::MAX] {
        prefetch
            .over(&Endless)
            .read(RemoteAddr(addr), &mut [0; 8])
            .unwrap();
    }
    prefetch.prepare();
}

#[test]
fn unchanged_contents_count_as_read_and_a_change_ends_the_count() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy {
        gap: 64,
        ..PrefetchPolicy::default()
    });
    // Alternating between two ranges.
    let offsets: Vec<u64> = (0..8).map(|n| n / 2 * 48 + n % 2 * 0x4000).collect();
    let addrs = || offsets.iter().map(|at| RemoteAddr(START + at));
    for at in &offsets {
        read(&prefetch, &memory, *at, 40);
    }
    fill(&mut prefetch, &memory);
    assert_eq!(prefetch.ranges().count(), 2);
    let mut before = vec![0; 40 * offsets.len()];
    for (addr, bytes) in addrs().zip(before.chunks_exact_mut(40)) {
        memory.copy(addr, bytes).unwrap();
    }
    assert_eq!(prefetch.count_same(addrs(), 40, &before), 8);
    before[5 * 40 + 39] ^= 1;
    assert_eq!(prefetch.count_same(addrs(), 40, &before), 5);
    assert_eq!(
        prefetch.count_same(addrs().skip(6), 40, &before[6 * 40..]),
        2
    );
    // What is not in the copy does not count, but is not read either.
    let elsewhere = [0x100, 0x3ff0, 0x8000].map(|at| RemoteAddr(START + at));
    for addr in elsewhere {
        let mut bytes = [0; 40];
        memory.copy(addr, &mut bytes).unwrap();
        assert_eq!(prefetch.count_same([addr].into_iter(), 40, &bytes), 0);
    }
    assert_eq!(prefetch.misses(), 0);
    // Ranges read only in this way stay.
    before[5 * 40 + 39] ^= 1;
    for _ in 0..200 {
        fill(&mut prefetch, &memory);
        assert_eq!(prefetch.count_same(addrs(), 40, &before), 8);
    }
    // Nothing is unchanged in a copy that failed.
    prefetch.prepare();
    prefetch.filled(false);
    assert_eq!(prefetch.count_same(addrs(), 40, &before), 0);
}

/// A stack that unwound gave memory back; its ranges were dropped, and each frame was read by
/// itself, in that sample and in the next one.
#[test]
fn memory_that_is_unreadable_for_a_moment_is_skipped_and_retried() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy {
        gap: 2048,
        ..PrefetchPolicy::default()
    });
    let offsets: Vec<u64> = (0x800..0x6000).step_by(0x100).collect();
    for at in &offsets {
        read(&prefetch, &memory, *at, 16);
    }
    read(&prefetch, &memory, 0x9010, 16);
    for missing in [
        vec![0, 1, 2],    // the start of the first range
        vec![4, 5],       // its end
        vec![9],          // the second one
        vec![3, 4, 5, 9], // both
    ] {
        memory.missing.borrow_mut().clear();
        fill(&mut prefetch, &memory);
        let is_mapped = |at: &u64| !missing.contains(&(*at / PAGE));
        let addr = |page: &u64| START + page * PAGE;
        memory.missing.replace(missing.iter().map(addr).collect());
        prefetch.prepare();
        let copy = |prefetch: &mut Prefetch| {
            let mut parts = Vec::new();
            prefetch.add_parts(&mut parts);
            memory.read_many(&mut parts).is_ok()
        };
        assert!(
            !copy(&mut prefetch) && prefetch.skip_unreadable(&memory),
            "{missing:?}"
        );
        assert!(copy(&mut prefetch), "{missing:?}");
        prefetch.filled(true);
        memory.calls();
        for at in offsets.iter().chain(&[0x9010]).filter(|at| is_mapped(at)) {
            read(&prefetch, &memory, *at, 16);
        }
        assert_eq!(memory.calls(), 0, "{missing:?}");
        let lost = offsets.iter().find(|at| !is_mapped(at)).unwrap_or(&0x9010);
        let lost = RemoteAddr(START + lost);
        prefetch.over(&memory).read(lost, &mut [0; 16]).unwrap_err();
        assert!(prefetch.over(&memory).view(lost, 16).is_none());
    }
    memory.missing.borrow_mut().clear();
    fill(&mut prefetch, &memory);
    memory.calls();
    for at in offsets {
        read(&prefetch, &memory, at, 16);
    }
    assert_eq!(memory.calls(), 0);
}

#[test]
fn nothing_is_skipped_when_all_is_readable() {
    let memory = Counted::new();
    let mut prefetch = Prefetch::new(PrefetchPolicy::default());
    read(&prefetch, &memory, 0x10, 8);
    fill(&mut prefetch, &memory);
    assert!(!prefetch.skip_unreadable(&memory));
}
