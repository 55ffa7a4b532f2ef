//! Only what differs from the cached stack is walked and resolved again: the result is the one that is found
//! without a cached stack, whatever changed in between.

use pyspy_rs::internals::{
    Mode, PythonThread, RawFrame, RemoteAddr, RemoteMemory, StackReader, Tape, TapeMetadata,
};
use pyspy_rs::{Frame, FrameTable};

use crate::support::recorded_tapes;

/// Changes to each tape.
const CHANGES: usize = 400;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap() % end
    }
}

/// What is found of a thread: its frames, whether they are sure, their names, and whether one that is
/// left out called another.
type Found = Option<(Vec<RawFrame>, Option<(Vec<Frame>, bool)>)>;

fn find(
    reader: &mut StackReader,
    tape: &Tape,
    thread: &PythonThread,
    mode: Mode,
    table: &mut FrameTable,
) -> Found {
    let (mut thread, mut stack) = (thread.clone(), Vec::new());
    reader.begin_sample(false);
    reader.copy(tape, &thread);
    reader.walk(tape, &mut thread, mode, &mut stack).ok()?;
    let resolved = reader.resolve(tape, &thread, &stack, table);
    let named = resolved.ok().map(|resolved| {
        let frames = resolved.frames.iter();
        let frames: Vec<Frame> = frames.map(|id| table.get(*id).unwrap().clone()).collect();
        let shown = reader.shown(&thread).filter(|is_shown| *is_shown);
        assert_eq!(shown.count(), frames.len());
        (frames, resolved.hidden_caller)
    });
    Some((stack, named))
}

fn word(tape: &Tape, at: RemoteAddr) -> [u8; 8] {
    let mut bytes = [0; 8];
    tape.read(at, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_stack_is_the_same_with_and_without_the_cached_one() {
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let new = || StackReader::new(attached.python.clone());
        let layout = attached.python.layout.interpreter_frame.clone();
        let mut knows = new();
        knows.begin_sample(false);
        let threads = knows.threads(tape, || attached.tasks.clone()).unwrap();
        let mut table = FrameTable::default();
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let (mut changed, mut lost) = (0, 0);
        for thread in &threads.threads {
            let Some((whole, Some((names, _)))) =
                find(&mut knows, tape, thread, Mode::AtRest, &mut table)
            else {
                panic!("{}: a stack that is not found", recorded.version);
            };
            assert!(!names.is_empty());
            let fields = [
                Some(layout.previous),
                Some(layout.executable),
                Some(layout.instr_ptr),
                layout.owner,
                layout.stacktop,
            ];
            let fields: Vec<u64> = fields.into_iter().flatten().map(u64::from).collect();
            for _ in 0..CHANGES / threads.threads.len() {
                let mut undo = Vec::new();
                for _ in 0..=random.below(2) {
                    let frame = &whole[random.below(whole.len())];
                    let other = &whole[random.below(whole.len())];
                    let field = fields[random.below(fields.len())];
                    let at = frame.addr.offset(field);
                    let before = word(tape, at);
                    let mut after = match random.below(3) {
                        // As another frame has it, or a pointer to another frame.
                        0 => word(tape, other.addr.offset(field)),
                        1 if field == u64::from(layout.previous) => other.addr.0.to_le_bytes(),
                        _ => before,
                    };
                    if after == before {
                        after[0] = [0, 1, 3, 0xff, before[0].wrapping_add(2)][random.below(5)];
                    }
                    undo.push((at, before));
                    tape.insert(at, &after);
                }
                let first = match random.below(3) {
                    0 => Mode::Running,
                    _ => Mode::AtRest,
                };
                for mode in [first, Mode::AtRest] {
                    let expected = find(&mut new(), tape, thread, mode, &mut FrameTable::default());
                    let found = find(&mut knows, tape, thread, mode, &mut table);
                    assert_eq!(found, expected, "{}, {mode:?}", recorded.version);
                    lost += usize::from(found.is_none());
                    changed += usize::from(found.is_some_and(|(stack, _)| stack != whole));
                }
                // Usually the next change is to the stack as it was.
                if random.below(4) > 0 || undo.len() > 1 {
                    for (at, before) in undo.iter().rev() {
                        tape.insert(*at, before);
                    }
                }
            }
        }
        println!("{}: {changed} changed, {lost} lost", recorded.version);
        assert!(changed > CHANGES / 4, "{}", recorded.version);
    }
}
