//! Stacks deeper than any that was recorded, made from a tape.

use pyspy_rs::internals::{Mode, PythonThread, RemoteAddr, RemoteMemory, Runtime, Tape};
use python_offsets::semantics::FrameRoot;

use crate::support::Recorded;

/// Where the frames of a deepened stack are put: no recorded process has memory there.
const FRESH: RemoteAddr = RemoteAddr(0x6000_0000_0000);
/// `previous`, `size` and `top` of `_PyStackChunk` (Include/cpython/pystate.h of 3.12).
const CHUNK_HEADER: u64 = 24;
/// What a frame takes beyond its fixed part: eight locals and stack slots.
const SLOTS: u64 = 8 * 8;

/// The recorded process with a first thread whose stack is `depth` frames deeper: copies of its leaf
/// above one another, where CPython would have them. From 3.11 on that is one chunk of the thread's data
/// stack; before, every frame is an object of its own.
pub fn deepened(recorded: &Recorded, depth: usize) -> (Recorded, PythonThread) {
    let python = &recorded.attached.python;
    let mut reader = recorded.reader();
    let mut thread = recorded.threads(&mut reader).remove(0);
    let mut stack = Vec::new();
    let walked = reader.walk(&recorded.memory, &mut thread, Mode::AtRest, &mut stack);
    walked.expect("a stack");
    let leaf = stack[0].addr;

    let mut memory = recorded.memory.clone();
    let frame = python.layout.interpreter_frame.size;
    let chunk = python.layout.thread_state.datastack_chunk;
    let stride = match chunk {
        Some(_) => u64::from(frame) + SLOTS,
        None => 1024,
    };
    let size = (CHUNK_HEADER + stride * depth as u64).next_multiple_of(16 << 10);
    memory.insert(FRESH, &vec![0; usize::try_from(size).unwrap()]);
    if let Some(chunk) = chunk {
        put(&mut memory, FRESH.offset(8), size);
        put(&mut memory, thread.state.addr.offset(chunk.into()), FRESH.0);
    }
    let mut below = leaf;
    for index in 0..depth as u64 {
        let addr = FRESH.offset(CHUNK_HEADER + stride * index);
        copy_frame(&mut memory, python, leaf, addr);
        let previous = python.layout.interpreter_frame.previous;
        put(&mut memory, addr.offset(previous.into()), below.0);
        below = addr;
    }
    let root = match python.semantics.frame_root {
        FrameRoot::ThreadState => {
            let field = python.layout.thread_state.current_frame;
            thread.state.addr.offset(field.into())
        }
        FrameRoot::CFrame => {
            let field = python.layout.thread_state.cframe_current_frame;
            thread.state.frame_root.offset(field.unwrap_or(0).into())
        }
    };
    put(&mut memory, root, below.0);

    let deep = Recorded {
        version: recorded.version.clone(),
        memory,
        attached: recorded.attached.clone(),
    };
    let mut reader = deep.reader();
    let mut thread = deep.threads(&mut reader).remove(0);
    let walked = reader.walk(&deep.memory, &mut thread, Mode::AtRest, &mut stack);
    walked.expect("a deeper stack");
    assert!(stack.len() > depth, "{} of {depth}", stack.len());
    (deep, thread)
}

/// Copies the fields of a frame that say what it runs.
fn copy_frame(memory: &mut Tape, python: &Runtime, from: RemoteAddr, to: RemoteAddr) {
    let layout = &python.layout.interpreter_frame;
    let fields = [
        (Some(layout.executable), 8),
        (Some(layout.instr_ptr), 4),
        (Some(layout.instr_ptr + 4), 4),
        (layout.owner, 1),
        (layout.tlbc_index, 4),
    ];
    for (field, len) in fields {
        let Some(field) = field else { continue };
        let mut bytes = vec![0; len];
        // The upper half of what is an int before 3.11 need not be on the tape.
        if memory.read(from.offset(field.into()), &mut bytes).is_ok() {
            memory.insert(to.offset(field.into()), &bytes);
        }
    }
}

fn put(memory: &mut Tape, at: RemoteAddr, number: u64) {
    memory.insert(at, &number.to_le_bytes());
}
