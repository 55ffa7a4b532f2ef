#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::decode::{is_entry, is_executing};
use super::*;
use crate::cpython::runtime::RuntimeAddresses;
use crate::os::memory::MemoryError;
use crate::os::memory::prefetch::PrefetchPolicy;
use python_offsets::consts::{FRAME_OWNED_BY_GENERATOR, FRAME_OWNED_BY_THREAD};
use python_offsets::layout::Offset;
use python_offsets::semantics::Executable;
use python_offsets::{Description, LayoutSource, PythonVersion, describe};

fn python(minor: u8) -> Runtime {
    let version = PythonVersion::parse(&format!("3.{minor}.0")).unwrap();
    let Description {
        layout, semantics, ..
    } = describe(version, None).unwrap();
    Runtime {
        version,
        layout,
        semantics,
        layout_source: LayoutSource::Table,
        roots: RuntimeAddresses {
            interpreters_head: RemoteAddr::NULL,
            runtime: None,
            tstate_current: None,
            finalizing: None,
            next_func_version: None,
            unicode_unit: 4,
        },
    }
}

/// With six bytes of it in the copy, every other sample read a stack of 1,000 frames that unwound and came
/// back as a new one.
#[test]
fn the_first_variable_is_not_part_of_a_frames_header() {
    for minor in 3..=12 {
        let python = python(minor);
        let header = frame_len(&python);
        let first = python.layout.interpreter_frame.localsplus as usize;
        assert!(header <= first, "3.{minor}: {header} bytes, of {first}");
        let fields = vec![0; header];
        let record = Record::new("_PyInterpreterFrame", RemoteAddr(8), &fields);
        decode(&python, &record).unwrap();
        is_executing(&python, &record).unwrap();
        is_entry(&python, &record).unwrap();
    }
}

/// Without pausing, up to a third of the stacks of a chain of generators ended at one that was suspended.
#[test]
fn a_suspended_generator_is_no_root() {
    const SUSPENDED: u8 = 0xff;
    const UNWINDING: u8 = 2;
    for minor in 4..=10 {
        let python = python(minor);
        let layout = &python.layout.interpreter_frame;
        let is_unlinked = |generator: u64, executes: u8, caller: u64| {
            let mut bytes = vec![0; frame_len(&python)];
            let mut put = |field: Offset, value: &[u8]| {
                bytes[field as usize..][..value.len()].copy_from_slice(value);
            };
            put(layout.previous, &caller.to_le_bytes());
            put(layout.generator.unwrap(), &generator.to_le_bytes());
            put(layout.executing.or(layout.state).unwrap(), &[executes]);
            let record = Record::new("PyFrameObject", RemoteAddr(8), &bytes);
            let (frame, previous) = decode(&python, &record).unwrap();
            assert_eq!(previous, RemoteAddr(caller));
            frame.unwrap().is_unlinked
        };
        // Values of 3.10 for a frame that is suspended, that executes, and that an exception leaves.
        let (suspended, executing) = match layout.state {
            Some(_) => (SUSPENDED, vec![0, UNWINDING]),
            None => (0, vec![1]),
        };
        assert!(is_unlinked(0x5000, suspended, 0), "3.{minor}");
        assert!(!is_unlinked(0x5000, suspended, 0x6000), "3.{minor}");
        assert!(!is_unlinked(0, suspended, 0), "3.{minor}: no generator");
        // C has called it, and no frame is below.
        for executing in executing {
            assert!(!is_unlinked(0x5000, executing, 0), "3.{minor}");
        }
    }
}

const START: u64 = 0x7000_0000;
const SIZE: u64 = 0x100;

/// Frames on a data stack, each called by the one before.
struct Frames(Vec<u8>);

impl Frames {
    /// The executable and the owner of each.
    fn new(python: &Runtime, frames: &[(u64, u8)]) -> Frames {
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

/// Without that, an unpaused thread was hardly ever sampled in functions of some ten nanoseconds: their
/// shares were up to 15 points off.
#[test]
fn a_leaf_has_not_returned_if_no_frame_has_and_all_are_in_one_piece() {
    // Like 3.14, which has no `stacktop`, and tags references in their lowest bit.
    let mut python = python(12);
    python.layout.interpreter_frame.stacktop = None;
    python.semantics.executable = Executable::StackRef { tag_mask: 1 };
    const RETURNED: u64 = 1;
    let code = 0x5000;
    let live = (code, FRAME_OWNED_BY_THREAD);
    let returned = (RETURNED, FRAME_OWNED_BY_THREAD);
    let generator = (code, FRAME_OWNED_BY_GENERATOR);
    let shim = (code, python.semantics.shim_owners[0]);
    // The frames from the root on, which of them are reported when the walk starts at the last one, and the
    // state of the leaf.
    let cases: [(&[_], &[usize], LeafState); 10] = [
        (&[live, live, live], &[0, 1, 2], LeafState::NotReturned),
        (&[shim, live, live], &[1, 2], LeafState::NotReturned),
        (&[shim, shim, live], &[2], LeafState::NotReturned),
        (&[live, live, returned], &[0, 1], LeafState::Unknown),
        (&[live, returned, returned], &[0], LeafState::Unknown),
        (&[live, returned, live], &[0], LeafState::Unknown),
        (&[shim, live, shim, live], &[1, 3], LeafState::Unknown),
        (&[live, generator, live], &[0, 1, 2], LeafState::Unknown),
        (&[live, generator], &[0, 1], LeafState::Unknown),
        (&[live, shim], &[0], LeafState::Unknown),
    ];
    for (number, (frames, left, leaf)) in cases.into_iter().enumerate() {
        let memory = Frames::new(&python, frames);
        let mut copy = Prefetch::new(PrefetchPolicy::default());
        let leaf_addr = addr(frames.len() - 1);
        let walk = |copy: &Prefetch, mode, cache: &mut FrameCache| {
            let walker = Walker {
                memory: &copy.over(&memory),
                copy,
                python: &python,
                mode,
            };
            walker.walk(leaf_addr, cache)
        };
        let mut cache = FrameCache::default();
        // In the second round all frames are cached.
        for round in 0..2 {
            copy.prepare();
            let mut parts = Vec::new();
            copy.add_parts(&mut parts);
            let filled = memory.read_many(&mut parts).is_ok();
            copy.filled(filled);
            let walked = walk(&copy, Mode::Running, &mut cache);
            let stack: Vec<RemoteAddr> = cache.stack().map(|frame| frame.addr).collect();
            let expected: Vec<RemoteAddr> = left.iter().rev().map(|place| addr(*place)).collect();
            assert_eq!(stack, expected, "case {number}, round {round}");
            assert_eq!(walked.unwrap().0, leaf, "case {number}, round {round}");
        }
        // At rest all frames are reported, and a later walk of the running thread drops those that returned.
        let mut cache = FrameCache::default();
        walk(&copy, Mode::AtRest, &mut cache).unwrap();
        let python_frames = frames.iter().filter(|frame| **frame != shim).count();
        assert_eq!(cache.stack().len(), python_frames, "case {number}");
        let walked = walk(&copy, Mode::Running, &mut cache);
        assert_eq!(walked.unwrap().0, leaf, "case {number}");
    }
}
