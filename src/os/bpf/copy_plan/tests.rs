#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;

const RANGE: RemoteAddr = RemoteAddr(0x1000);
const STATE: RemoteAddr = RemoteAddr(0x2000);
const CFRAME_ADDR: RemoteAddr = RemoteAddr(0x3000);

/// Frames of two words: the caller's and the code object's address.
fn plan() -> CopyPlan {
    CopyPlan {
        ranges: vec![(RANGE, 8)],
        state_len: 16,
        frame_root: 8,
        cframe: Some(0),
        frame_len: 16,
        previous: 0,
        executable: 8,
        code_len: 16,
        code_fields: [0, 0, 0, 0, 0, 8],
        ..CopyPlan::default()
    }
}

fn frame_addr(number: u64) -> RemoteAddr {
    RemoteAddr(0x9000 - number * 0x100)
}

/// A record of so many frames, the first of which is frame `from`.
fn bytes(plan: &CopyPlan, from: u64, frames: u64, flags: u64, is_first: bool) -> Vec<u8> {
    let mut words = vec![
        77,
        (5 << 32) | 6,
        STATE.0,
        (frames << 32) | u64::from(FAULT) | flags,
        9,
        0xfa17,
        3,
    ];
    if is_first {
        words.extend([0xaaaa, 0xbbbb, CFRAME_ADDR.0]);
        words.extend([CFRAME_ADDR.0, 1, 2, 3, 4]);
        words.extend([0; 5]);
    }
    for number in from..from + frames {
        let addr = frame_addr(number);
        words.extend([addr.0, 1_000 + number, frame_addr(number + 1).0, 0xc0de]);
    }
    assert_eq!(plan.frame_stride(), 32);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn read(memory: &RecordMemory<'_>, addr: RemoteAddr) -> Option<u64> {
    let mut word = [0; 8];
    let read = memory.read(addr, &mut word);
    read.is_ok().then(|| u64::from_le_bytes(word))
}

#[test]
fn a_record_tells_why_it_was_made() {
    let reason = |flags| {
        let mut bytes = bytes(&plan(), 0, 1, 0, true);
        bytes[24] = flags;
        Record::decode(&bytes).unwrap().reason
    };
    assert_eq!(reason(0), Reason::Timer);
    let earlier = EarlierWaits {
        recorded_at_ns: 9,
        recorded_ns: 0xfa17,
        skipped_ns: 3,
    };
    assert_eq!(reason(32), Reason::Wait(earlier));
    assert_eq!(
        reason(32 | 8),
        Reason::Wait(earlier),
        "of an unknown thread"
    );
}

#[test]
fn a_record_is_read_by_address() {
    let plan = plan();
    assert!(plan.fits());
    let record = Record::decode(&bytes(&plan, 0, 3, 0, true)).unwrap();
    assert_eq!((record.time_ns, record.tid, record.tgid), (77, 6, 5));
    let fault = record.reason.fault().unwrap();
    assert_eq!((fault.count, fault.addr), (9, RemoteAddr(0xfa17)));
    assert!(!record.has_more() && record.defect().is_none());
    let memory = record.memory(&plan);
    assert_eq!(read(&memory, RANGE), Some(0xaaaa));
    assert_eq!(read(&memory, STATE), Some(0xbbbb));
    assert_eq!(read(&memory, STATE.offset(8)), Some(CFRAME_ADDR.0));
    assert_eq!(read(&memory, CFRAME_ADDR.offset(8)), Some(2));
    // In order, out of order, and again.
    for number in [0, 1, 2, 0, 2, 1] {
        assert_eq!(
            read(&memory, frame_addr(number)),
            Some(frame_addr(number + 1).0)
        );
    }
    // What was not copied, and what goes beyond a copy.
    for addr in [
        frame_addr(3),
        STATE.offset(16),
        STATE.offset(12),
        RemoteAddr::NULL,
    ] {
        assert_eq!(read(&memory, addr), None, "{addr:?}");
    }
    let identities: Vec<_> = record.code_identities(&plan).collect();
    assert_eq!(identities[2], (frame_addr(2), 1_002));
}

#[test]
fn a_stack_in_several_records_is_one() {
    let plan = plan();
    let mut record = Record::decode(&bytes(&plan, 0, 2, MORE.into(), true)).unwrap();
    assert!(record.has_more());
    record.extend(&Record::decode(&bytes(&plan, 2, 2, MORE.into(), false)).unwrap());
    assert!(record.has_more());
    record.extend(&Record::decode(&bytes(&plan, 4, 1, TOO_DEEP.into(), false)).unwrap());
    assert!(!record.has_more());
    assert_eq!(record.defect(), Some(Defect::TooDeep));
    let memory = record.memory(&plan);
    assert_eq!(read(&memory, frame_addr(4)), Some(frame_addr(5).0));
    assert_eq!(record.code_identities(&plan).count(), 5);
}

/// The kernel writes them, but what is in them comes from the target.
#[test]
fn any_bytes_are_survived() {
    let plan = plan();
    let good = bytes(&plan, 0, 4, 0, true);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(0..=bytes.len()));
        let Some(record) = Record::decode(&bytes) else {
            continue;
        };
        let memory = record.memory(&plan);
        for number in 0..5 {
            read(&memory, frame_addr(number));
        }
        read(&memory, RemoteAddr(random.u64(..)));
        record.code_identities(&plan).count();
    }
}

/// Memory in which each word is its own address.
struct Addresses;

impl RemoteMemory for Addresses {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        for (at, word) in (0..).step_by(8).zip(buf.chunks_mut(8)) {
            let value = (addr.0 + at).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
        Ok(())
    }
}

#[test]
fn code_objects_differ_by_address_and_by_contents() {
    let plan = plan();
    let codes = [RemoteAddr(0x5000), RemoteAddr(0x6000)];
    let found = plan.code_identities(&Addresses, &codes);
    assert_eq!(found.len(), 2);
    assert_ne!(found[&codes[0]], found[&codes[1]]);
    let other = CopyPlan {
        code_fields: [8; CODE_FIELDS],
        ..plan
    };
    assert_ne!(
        other.code_identities(&Addresses, &codes)[&codes[0]],
        found[&codes[0]]
    );
}

#[test]
fn a_plan_has_as_many_words_as_the_program_reads() {
    let plan = CopyPlan {
        texts: Texts {
            head: 1,
            fields: [2, 3, 4],
            data: [5, 6, 7],
        },
        generation: Some(GenerationCounter {
            addr: RemoteAddr(8),
            len: 4,
            interpreter: RemoteAddr(9),
            in_state: 0,
        }),
        ..plan()
    };
    let words = plan.words();
    assert_eq!(words[5..8], [RANGE.0, 0, 0]);
    assert_eq!(words[words.len() - 11..], [1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 0]);
    assert!(plan.fits());
    let counter = |len, in_state| GenerationCounter {
        addr: RANGE,
        len,
        interpreter: RANGE,
        in_state,
    };
    for bad in [counter(5, 0), counter(8, 4), counter(8, 16)] {
        let plan = CopyPlan {
            generation: Some(bad),
            ..plan.clone()
        };
        assert!(!plan.fits(), "{bad:?}");
    }
}
