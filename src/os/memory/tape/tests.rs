//! Tests of [`super::Tape`]: recorded memory is read back, and parsing is safe for any bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;
use proptest::prelude::*;

fn read(tape: &Tape, addr: u64, len: usize) -> Result<Vec<u8>, MemoryError> {
    let mut buf = vec![0xaa; len];
    tape.read(RemoteAddr(addr), &mut buf)?;
    Ok(buf)
}

#[test]
fn a_tape_reads_like_the_recorded_memory() {
    let mut source = Tape::default();
    let bytes: Vec<u8> = (0..2000u32).map(|n| (n / 7) as u8).collect();
    source.insert(RemoteAddr(0x1000), &bytes);
    let recording = RecordingMemory::new(&source);
    let (mut a, mut b, mut c) = ([0; 16], [0; 8], [0; 32]);
    recording.read(RemoteAddr(0x1100), &mut a).unwrap();
    let mut parts: [(RemoteAddr, &mut [u8]); 2] =
        [(RemoteAddr(0x1110), &mut b), (RemoteAddr(0x1400), &mut c)];
    recording.read_many(&mut parts).unwrap();
    assert!(recording.read(RemoteAddr(0x9000), &mut a).is_err());

    let mut tape = recording.into_tape();
    tape.set_fact("version", "3.12.1");
    let copy = Tape::from_bytes(&tape.to_bytes()).unwrap();
    assert_eq!(copy, tape);
    assert_eq!(copy.fact("version"), Some("3.12.1"));
    assert_eq!(copy.fact("other"), None);
    assert_eq!(copy.size(), 56);
    // The first two parts touch, so one read may span them.
    assert_eq!(read(&copy, 0x1104, 20).unwrap(), bytes[0x104..0x118]);
    let error = read(&copy, 0x1110, 20).unwrap_err();
    assert_eq!((error.addr, error.len), (RemoteAddr(0x1118), 12));
    assert!(!error.process_is_gone());
    assert!(read(&copy, 0x1300, 1).is_err());
    assert!(read(&copy, u64::MAX, 1).is_err());
    assert_eq!(read(&copy, 0x1400, 32).unwrap(), bytes[0x400..0x420]);
}

#[test]
fn zeros_are_not_stored() {
    let mut tape = Tape::default();
    tape.insert(RemoteAddr(0x7fff_0000_0000), &[0; 1 << 20]);
    assert!(tape.to_bytes().len() < 40);
    assert_eq!(Tape::from_bytes(&tape.to_bytes()).unwrap(), tape);
}

#[test]
fn other_files_are_refused() {
    assert_eq!(Tape::from_bytes(b""), Err(TapeError::NotATape));
    assert_eq!(Tape::from_bytes(b"pyspytap"), Err(TapeError::NotATape));
    assert_eq!(
        Tape::from_bytes(b"pyspytap\x09"),
        Err(TapeError::Version(9))
    );
    assert_eq!(Tape::from_bytes(b"pyspytap\x01\0"), Err(TapeError::Damaged));
    // A range of almost no bytes in the file but 2^62 in memory.
    let mut huge = b"pyspytap\x01\0\x01\0".to_vec();
    put(&mut huge, 1 << 62);
    assert_eq!(Tape::from_bytes(&huge), Err(TapeError::Damaged));
}

#[test]
fn a_truncated_tape_is_damaged_at_every_length() {
    let mut tape = Tape::default();
    tape.set_fact("key", "value");
    tape.insert(RemoteAddr(16), b"some bytes");
    tape.insert(RemoteAddr(900), &[0; 100]);
    let bytes = tape.to_bytes();
    for length in 9..bytes.len() {
        assert_eq!(Tape::from_bytes(&bytes[..length]), Err(TapeError::Damaged));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn insertions_behave_as_on_plain_memory(
        parts in prop::collection::vec((0u64..300, prop::collection::vec(0u8..3, 0..60)), 0..20)
    ) {
        let mut plain = vec![None; 400];
        let mut tape = Tape::default();
        for (addr, bytes) in &parts {
            tape.insert(RemoteAddr(*addr), bytes);
            for (n, byte) in bytes.iter().enumerate() {
                plain[*addr as usize + n] = Some(*byte);
            }
        }
        let copy = Tape::from_bytes(&tape.to_bytes()).unwrap();
        prop_assert_eq!(&copy, &tape);
        for (addr, expected) in plain.iter().enumerate() {
            prop_assert_eq!(read(&copy, addr as u64, 1).ok().map(|byte| byte[0]), *expected);
        }
        // No two ranges touch, or a read across them would fail.
        let ends: Vec<u64> = copy.ranges.iter().map(|(s, b)| s + b.len() as u64).collect();
        prop_assert!(copy.ranges.keys().skip(1).zip(&ends).all(|(start, end)| start > end));
    }

    #[test]
    fn mutated_bytes_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut tape = Tape::default();
        tape.set_fact("key", "value");
        tape.insert(RemoteAddr(16), &[1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        tape.insert(RemoteAddr(u64::MAX - 40), &[5; 20]);
        let mut bytes = tape.to_bytes();
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Ok(parsed) = Tape::from_bytes(&bytes) {
            prop_assert!(parsed.size() <= MAX_BYTES);
            prop_assert_eq!(Tape::from_bytes(&parsed.to_bytes()).unwrap(), parsed);
        }
    }
}
