#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;
use crate::cpython::Roots;
use crate::target::{MemoryError, Shape};
use python_offsets::{Description, LayoutSource, PythonVersion, describe};

fn python(minor: u8) -> Python {
    let version = PythonVersion::parse(&format!("3.{minor}.0")).unwrap();
    let Description {
        layout, semantics, ..
    } = describe(version, None).unwrap();
    Python {
        version,
        layout,
        semantics,
        layout_source: LayoutSource::Table,
        roots: Roots {
            interpreters_head: RemoteAddr::NULL,
            runtime: None,
            tstate_current: None,
            next_func_version: None,
            unicode_unit: 4,
        },
    }
}

/// With six bytes of it in the copy, a stack of 1,000 frames that unwound and came back was taken for a
/// new one by every other look.
#[test]
fn the_first_variable_is_no_part_of_a_frames_head() {
    for minor in 3..=12 {
        let python = python(minor);
        let head = frame_len(&python);
        let first = python.layout.interpreter_frame.localsplus as usize;
        assert!(head <= first, "3.{minor}: {head} bytes, of {first}");
        let fields = vec![0; head];
        let record = Record::new("_PyInterpreterFrame", RemoteAddr(8), &fields);
        decode(&python, &record).unwrap();
        runs(&python, &record).unwrap();
        is_called_by_c(&python, &record).unwrap();
    }
}

const START: u64 = 0x7000_0000;
const SIZE: u64 = 0x100;

/// Frames on a data stack, each called by the one before.
struct Frames(Vec<u8>);

impl Frames {
    /// What each runs, and who owns it.
    fn new(python: &Python, frames: &[(u64, u8)]) -> Frames {
        let layout = &python.layout.interpreter_frame;
        let mut bytes = vec![0; frames.len() * SIZE as usize];
        for (place, (executable, owner)) in frames.iter().enumerate() {
            let at = place * SIZE as usize;
            let mut put = |field: Offset, value: &[u8]| {
                bytes[at + field as usize..][..value.len()].copy_from_slice(value);
            };
            let previous = if place == 0 { 0 } else { addr(place - 1).0 };
            put(layout.previous, &previous.to_le_bytes());
            put(layout.executable, &executable.to_le_bytes());
            put(layout.owner.unwrap(), &[*owner]);
        }
        Frames(bytes)
    }
}

impl RemoteMemory for Frames {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let at = (addr.0 - START) as usize;
        buf.copy_from_slice(&self.0[at..at + buf.len()]);
        Ok(())
    }
}

fn addr(place: usize) -> RemoteAddr {
    RemoteAddr(START + place as u64 * SIZE)
}

/// Without that, without pausing, a thread was hardly ever seen in functions of some ten nanoseconds: their
/// shares were up to 15 points off.
#[test]
fn a_stack_is_that_of_the_frame_that_was_found_if_it_has_not_ended() {
    // As 3.14, which has no `stacktop`, and marks references by their lowest bit.
    let mut python = python(12);
    python.layout.interpreter_frame.stacktop = None;
    python.semantics.executable = Executable::StackRef { tag_mask: 1 };
    const ENDED: u64 = 1;
    let (code, thread) = (0x5000, 0);
    let live = (code, thread);
    let ended = (ENDED, thread);
    let generator = (code, OWNED_BY_GENERATOR);
    // The frames from the outermost on, where the copy begins and where the thread was found; where the stack
    // ends then, and whether that is where it ran.
    let cases = [
        (vec![live, live, live], 2, 2, Some(2), Leaf::Runs),
        (vec![live, live, live, live], 3, 1, Some(1), Leaf::Runs),
        (vec![live, live, ended], 2, 2, Some(1), Leaf::Unknown),
        (vec![live, live, ended, ended], 3, 2, Some(1), Leaf::Unknown),
        (vec![live, live, live, ended], 3, 2, Some(2), Leaf::Runs),
        (vec![live, ended, live], 2, 2, Some(0), Leaf::Unknown),
        (vec![live, generator], 1, 1, Some(1), Leaf::Unknown),
        (vec![live, generator, live], 2, 2, Some(2), Leaf::Runs),
        (vec![ended, ended], 1, 1, None, Leaf::Unknown),
    ];
    for (number, (frames, innermost, found, last, leaf)) in cases.into_iter().enumerate() {
        let memory = Frames::new(&python, &frames);
        let copy = ReadAhead::new(Shape::default());
        let mut chain = Chain::default();
        let found = Some(Found(addr(found)));
        let walked = walk(&memory, &copy, &python, addr(innermost), found, &mut chain);
        let (said, _) = walked.unwrap();
        let stack: Vec<RemoteAddr> = chain.stack().map(|frame| frame.addr).collect();
        let expected: Vec<RemoteAddr> =
            last.map_or(vec![], |last| (0..=last).rev().map(addr).collect());
        assert_eq!((stack, said), (expected, leaf), "case {number}");
        // One that is paused has all of them.
        let walked = walk(
            &memory,
            &copy,
            &python,
            addr(innermost),
            None,
            &mut Chain::default(),
        );
        assert_eq!(walked.unwrap().0, Leaf::Unknown, "case {number}");
    }
}
