//! What is kept of a code object.

use std::sync::Arc;

use foldhash::HashMap;

use super::frame_table::FrameId;
use super::identity::{Generation, Identity};
use crate::os::memory::address::RemoteAddr;

/// A code object, or the knowledge that it is none.
pub(crate) struct Cached {
    pub identity: Identity,
    /// The round in which it was looked at last.
    pub validated_in_round: u64,
    /// The interpreter's count before that.
    pub generation: Option<Generation>,
    /// Which one it was of those that were read.
    pub read: u64,
    pub code: Option<Code>,
}

/// What a frame's [`FrameId`] depends on besides its code: the instruction, which copy of the
/// instructions, whether it is a generator's.
pub(crate) type FrameKey = (u64, u32, bool);

/// A code object's names and lines.
pub(crate) struct Code {
    pub name: Arc<str>,
    pub filename: Arc<str>,
    pub first_line: i32,
    pub table: Vec<u8>,
    /// Where the instructions start (3.11+).
    pub instructions: RemoteAddr,
    /// Byte offset of the first instruction that tracing would show (3.11+).
    pub first_traceable: i64,
    pub frames: HashMap<FrameKey, Option<FrameId>>,
}

impl Cached {
    /// Whether it is known to be the same still, without another look.
    pub fn is_valid(&self, round: u64, generation: Option<Generation>) -> bool {
        self.validated_in_round == round || (generation.is_some() && self.generation == generation)
    }
}

/// How many instructions are remembered of one code object. No program has as many calls in one; a stack
/// that is made up may.
const MAX_INSTRUCTIONS: usize = 100_000;

impl Code {
    /// Remembers the frame of an instruction, if there is room: how many are more than before.
    pub fn remember(&mut self, key: FrameKey, frame: Option<FrameId>) -> usize {
        if self.frames.len() >= MAX_INSTRUCTIONS {
            return 0;
        }
        usize::from(self.frames.insert(key, frame).is_none())
    }

    /// Whether it is what stands below the frames that C has called (`_Py_MakeShimCode` in
    /// Objects/codeobject.c of v3.12.1). Its frames mostly say so; one on a C stack that is in use for
    /// something else already, and is read without a pause, may not.
    pub fn is_shim(&self) -> bool {
        &*self.filename == "<shim>" && self.name.starts_with('<')
    }
}
