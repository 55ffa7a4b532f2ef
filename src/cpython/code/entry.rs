//! [`Cached`]: a code object in the cache.

use std::sync::Arc;

use foldhash::HashMap;

use super::frame_table::FrameId;
use super::identity::{Generation, Identity};
use crate::os::memory::address::RemoteAddr;

/// A code object, or an object that is none.
pub struct Cached {
    pub identity: Identity,
    /// The round in which it was last read or revalidated.
    pub validated_in_round: u64,
    /// The interpreter's generation before that.
    pub generation: Option<Generation>,
    /// How many code objects had been read, this one included.
    pub read: u64,
    pub code: Option<Code>,
}

/// What a frame's [`FrameId`] depends on in addition to its code: the instruction, the copy of the
/// instructions, and whether it is a generator's.
pub type FrameKey = (u64, u32, bool);

/// A code object's names and lines.
pub struct Code {
    pub name: Arc<str>,
    pub filename: Arc<str>,
    pub first_line: i32,
    pub table: Vec<u8>,
    /// The address of the first instruction (3.11+).
    pub instructions: RemoteAddr,
    /// Byte offset of the first instruction that is traced (3.11+).
    pub first_traceable: i64,
    pub frames: HashMap<FrameKey, Option<FrameId>>,
}

impl Cached {
    /// Whether it is known to be unchanged.
    pub fn is_valid(&self, round: u64, generation: Option<Generation>) -> bool {
        self.validated_in_round == round || (generation.is_some() && self.generation == generation)
    }
}

/// How many instructions are cached of one code object. No real function has as many calls; a forged
/// stack may.
const MAX_INSTRUCTIONS: usize = 100_000;

impl Code {
    /// Caches the frame of an instruction, if there is room. Returns by how many the entries increased.
    pub fn remember(&mut self, key: FrameKey, frame: Option<FrameId>) -> usize {
        if self.frames.len() >= MAX_INSTRUCTIONS {
            return 0;
        }
        usize::from(self.frames.insert(key, frame).is_none())
    }

    /// Whether it is the code of the shims below frames that C has called (`_Py_MakeShimCode` in
    /// Objects/codeobject.c of v3.12.1). Their frames are usually marked as shims. The mark may be lost if
    /// the thread is not paused and the C stack has been overwritten.
    pub fn is_shim(&self) -> bool {
        &*self.filename == "<shim>" && self.name.starts_with('<')
    }
}
