//! [`Cached`]: a code object in the cache.

use std::sync::Arc;

use foldhash::HashMap;
use python_offsets::semantics::LineTable;

use super::frame_table::FrameId;
use super::identity::{Generation, Identity};
use super::line_table::{LineIndex, Location, Table};
use crate::cpython::read::limit::Limit;
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
    /// `None`: too long to be read, so that its lines are not known.
    pub table: Option<Vec<u8>>,
    pub lines: LineIndex,
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

    /// The bytes of its line table, none if that was not read.
    pub fn table(&self) -> &[u8] {
        self.table.as_deref().unwrap_or_default()
    }

    /// The location of an instruction, by its byte offset; `None` when the limit is reached.
    pub fn locate(
        &mut self,
        format: LineTable,
        instruction: i64,
        limit: &Limit,
    ) -> Option<Location> {
        let Some(bytes) = &self.table else {
            return Some(Location::default());
        };
        let table = Table {
            format,
            bytes,
            first_line: self.first_line.into(),
        };
        self.lines.locate(&table, instruction, limit)
    }

    /// Whether it is the code of the shims below frames that C has called (`_Py_MakeShimCode` in
    /// Objects/codeobject.c of v3.12.1). Their frames are usually marked as shims. The mark may be lost if
    /// the thread is not paused and the C stack has been overwritten.
    pub fn is_shim(&self) -> bool {
        &*self.filename == "<shim>" && self.name.starts_with('<')
    }
}
