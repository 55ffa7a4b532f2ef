#![allow(clippy::unwrap_used)] // A test may fail by panicking.
use super::*;

fn range(start: u64, end: u64, owner: &str) -> (u64, u64, String) {
    (start, end, owner.to_owned())
}

fn found(state: &State) -> Vec<(u64, u64, &str)> {
    let name = |one: &SuspectRange| state.owners.get(one.owner).unwrap().name.as_str();
    let all = state.ranges.iter();
    all.map(|one| (one.start, one.end, name(one))).collect()
}

#[test]
fn ranges_are_sorted_and_merged() {
    let state = State::default().with(vec![
        range(0x5000, 0x6000, "b"),
        range(0x1000, 0x2000, "a"),
        range(0x2000, 0x3000, "a"),
        range(0x3000, 0x4000, "b"),
        range(0x3800, 0x4800, "a"),
        range(0x7000, 0x7000, "a"),
    ]);
    let expected = [
        (0x1000, 0x3000, "a"),
        (0x3000, 0x4000, "b"),
        (0x4000, 0x4800, "a"),
        (0x5000, 0x6000, "b"),
    ];
    assert_eq!(found(&state), expected);
    let overlaps = |addr, len| state.range_of(addr, len).map(|one| one.start);
    assert_eq!(overlaps(0xfff, 1), None);
    assert_eq!(overlaps(0xfff, 2), Some(0x1000));
    assert_eq!(overlaps(0x47ff, 1), Some(0x4000));
    assert_eq!(overlaps(0x4800, 0x800), None);
    assert_eq!(overlaps(0, usize::MAX), Some(0x1000));
    assert_eq!(overlaps(u64::MAX, usize::MAX), None);
}

#[test]
fn memory_that_did_not_answer_is_dead_also_after_a_search() {
    let memory = vec![range(0x1000, 0x2000, "a"), range(0x5000, 0x6000, "b")];
    let mut state = State::default().with(memory.clone());
    let now = Instant::now();
    assert!(state.may_read(0x1000, 8, now).is_ok());
    // No process has this id.
    let error = state.not_read(0x1000, 8, now, NoReply::Blocked(i32::MAX));
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("does not answer"), "{error}");
    let mut state = state.with(memory);
    assert!(state.may_read(0x1ff8, 16, now).is_err());
    assert!(state.may_read(0x5000, 8, now).is_ok());
    let later = now + DEAD_FOR * 2;
    assert!(state.may_read(0x1000, 8, later).is_ok());
    // The second time it is dead for twice as long.
    state.not_read(0x1000, 8, now, NoReply::Blocked(i32::MAX));
    let dead = state.owners.iter().find_map(|owner| owner.dead).unwrap();
    assert_eq!(dead.whole, DEAD_FOR * 2);
}

#[test]
fn files_are_suspect_by_their_file_system() {
    let mounts = Mounts::parse(
        b"1 0 254:0 / / rw - ext4 /dev/vda rw\n2 1 0:45 / /mnt rw - fuse.sshfs host:/ rw\n",
    );
    let mapping = |start: u64, dev: (u64, u64), inode: u64| Mapping {
        start,
        end: start + 0x1000,
        offset: 0,
        readable: true,
        writable: false,
        executable: false,
        inode,
        dev,
        path: None,
        deleted: false,
    };
    let mappings = [
        mapping(0x1000, (254, 0), 7),
        mapping(0x2000, (0, 45), 7),
        mapping(0x3000, (0, 0), 0),
        // Shared memory, or a file that is unmounted since.
        mapping(0x5000, (0, 99), 7),
        mapping(0x6000, (8, 1), 7),
    ];
    let found = of_files(&mounts, &mappings);
    let starts: Vec<u64> = found.iter().map(|(start, ..)| *start).collect();
    assert_eq!(starts, [0x2000]);
    assert!(found.first().unwrap().2.ends_with("fuse.sshfs"));
}
