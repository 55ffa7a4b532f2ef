//! The readers on memory tapes: what a dump of each version saw once, seen again without any Python.

use pyspy_rs::internals::{Mode, RemoteAddr, RemoteMemory, StackReader, Tape, TapeMetadata};

use crate::support::{recorded_tapes, supported};

/// The versions that must have a tape: those that are supported and still used.
fn versions() -> impl Iterator<Item = (u32, u32)> {
    supported().filter(|version| !((3, 3)..(3, 6)).contains(version))
}

#[test]
fn every_tape_shows_what_its_program_reported() {
    let tapes = recorded_tapes();
    for (major, minor) in versions() {
        assert!(
            tapes.contains_key(&(major, minor)),
            "no tape of {major}.{minor}: record it with \
             `cargo run --example record_tape -- {major}.{minor}` (fixtures/README.md)"
        );
    }
    for recorded in tapes.values() {
        println!("replaying the tape of {}", recorded.version);
        recorded.assert_reads_back();
    }
}

/// Puts a pointer on a tape.
fn patch(tape: &mut Tape, at: RemoteAddr, field: u32, pointer: RemoteAddr) {
    tape.insert(at.offset(field.into()), &pointer.0.to_le_bytes());
}

#[test]
fn a_stack_that_is_a_loop_is_an_error_and_soon() {
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let layout = &attached.python.layout;
        let mut reader = StackReader::new(attached.python.clone());
        let list = reader.threads(tape, || attached.tasks.clone()).unwrap();
        let mut stack = Vec::new();
        for mut thread in list.threads {
            reader
                .walk(tape, &mut thread, Mode::AtRest, &mut stack)
                .unwrap();
            let (leaf, depth) = (stack[0].addr, stack.len());
            let root = stack.last().unwrap().addr;
            let previous = layout.interpreter_frame.previous;
            patch(tape, root, previous, leaf);
            reader
                .walk(tape, &mut thread, Mode::AtRest, &mut stack)
                .unwrap_err();
            assert!(stack.len() <= 4 * (depth + 1), "{depth}: {}", stack.len());
        }
    }
}

#[test]
fn a_list_of_threads_that_is_a_loop_has_each_thread_once() {
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let mut reader = StackReader::new(attached.python.clone());
        let list = reader.threads(tape, || attached.tasks.clone()).unwrap();
        assert!(list.errors.is_empty());
        let newest = list.threads[0].state.addr;
        let oldest = list.threads.last().unwrap().state.addr;
        let next = attached.python.layout.thread_state.next;
        patch(tape, oldest, next, newest);
        let looped = reader.threads(tape, || attached.tasks.clone()).unwrap();
        assert_eq!(looped.threads.len(), list.threads.len());
        assert_eq!(looped.errors.len(), 1);
    }
}

/// Frames that a call left behind stay where they were until others are put there. Read in flight, a
/// stack seems to go on into them: Austin and py-spy report it so on a storm of calls.
#[test]
fn frames_above_one_that_runs_are_left_out_of_a_race() {
    let mut cut = 0;
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let layout = attached.python.layout.interpreter_frame.clone();
        let Some(stacktop) = layout.stacktop else {
            continue;
        };
        let mut reader = StackReader::new(attached.python.clone());
        let list = reader.threads(tape, || attached.tasks.clone()).unwrap();
        for mut thread in list.threads {
            let mut whole = Vec::new();
            reader
                .walk(tape, &mut thread, Mode::AtRest, &mut whole)
                .unwrap();
            for place in 1..whole.len() {
                let (above, at) = (whole[place - 1].addr, whole[place].addr);
                let mut previous = [0; 8];
                let field = above.offset(layout.previous.into());
                tape.read(field, &mut previous).unwrap();
                let mut is_entry = [0];
                if let Some(field) = layout.is_entry {
                    tape.read(above.offset(field.into()), &mut is_entry)
                        .unwrap();
                }
                // A frame that C called leaves the one below as one that runs.
                if u64::from_le_bytes(previous) != at.0 || is_entry != [0] {
                    continue;
                }
                let field = at.offset(stacktop.into());
                let mut before = [0; 4];
                tape.read(field, &mut before).unwrap();
                tape.insert(field, &(-1i32).to_le_bytes());
                let mut raced = Vec::new();
                reader
                    .walk(tape, &mut thread, Mode::Running, &mut raced)
                    .unwrap();
                assert_eq!(raced, whole[place..]);
                reader
                    .walk(tape, &mut thread, Mode::AtRest, &mut raced)
                    .unwrap();
                assert_eq!(raced, whole);
                tape.insert(field, &before);
                cut += 1;
            }
        }
    }
    assert!(cut > 5, "only {cut} calls without C");
}
