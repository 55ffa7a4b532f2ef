//! [`FrameTable`]: every distinct frame once, so that a stack is a list of small numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// The most distinct frames. Large programs have some 10,000; this many take about 50 MiB.
/// (A hash table of 2^17 slots holds 7/8 of that.)
const MAX_FRAMES: usize = 110_000;
/// The most bytes of their names and paths, counted in full for each frame though most are shared.
const MAX_TEXT_BYTES: usize = 16 << 20;
/// The name of the frame that replaces all frames beyond these limits.
pub const TOO_MANY: &str = "<too many different frames>";

/// A frame in a [`FrameTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(u32);

impl FrameId {
    /// The index of the frame in the table: dense, from 0, so that a `Vec` can be indexed by it.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The source range of an instruction (CPython 3.11+). Columns are byte offsets in the UTF-8 line, from 0,
/// as in CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    /// First column.
    pub start: u32,
    /// Last line of the expression.
    pub end_line: u32,
    /// Column after the last.
    pub end: u32,
}

/// One Python function at one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// `co_qualname` from 3.11 on, else `co_name`.
    pub name: Arc<str>,
    /// `co_filename` as the target knows it.
    pub filename: Arc<str>,
    /// The part of the filename below the import root (`pkg/mod.py`); empty until
    /// [`FrameTable::shorten_new`].
    pub short_filename: Arc<str>,
    /// The line that runs, from 1; `None` where the code has none.
    pub line: Option<u32>,
    /// The line on which the function starts.
    pub first_line: u32,
    /// The range in that line, if the version records it.
    pub columns: Option<Columns>,
}

/// Interned frames of all sampled processes. It grows with the number of distinct frames, not with time.
/// Beyond a limit, one frame replaces all new ones.
#[derive(Debug, Default)]
pub struct FrameTable {
    frames: Vec<Frame>,
    /// How many frames have their short filename.
    shortened: usize,
    ids: HashMap<Frame, FrameId>,
    text_bytes: usize,
    /// The frame that replaces all beyond the limits.
    folded: Option<FrameId>,
}

impl FrameTable {
    /// The id of this frame, new or known; [`FrameTable::folded`] for a new one beyond the limits.
    pub fn intern(&mut self, frame: Frame) -> FrameId {
        if let Some(id) = self.ids.get(&frame) {
            return *id;
        }
        let text_bytes = self.text_bytes + frame.name.len() + frame.filename.len();
        if self.ids.len() >= MAX_FRAMES || text_bytes > MAX_TEXT_BYTES {
            return self.fold();
        }
        self.text_bytes = text_bytes;
        let id = self.push(frame.clone());
        self.ids.insert(frame, id);
        id
    }

    fn push(&mut self, frame: Frame) -> FrameId {
        // The limit is far below 2^32.
        let id = FrameId(u32::try_from(self.frames.len()).unwrap_or(u32::MAX));
        self.frames.push(frame);
        id
    }

    fn fold(&mut self) -> FrameId {
        if let Some(folded) = self.folded {
            return folded;
        }
        let no_text: Arc<str> = Arc::from("");
        let folded = self.push(Frame {
            name: Arc::from(TOO_MANY),
            filename: Arc::clone(&no_text),
            short_filename: no_text,
            line: None,
            first_line: 0,
            columns: None,
        });
        self.folded = Some(folded);
        folded
    }

    /// The frame that replaces all that came when the table was full; `None` until then.
    pub fn folded(&self) -> Option<FrameId> {
        self.folded
    }

    /// Fills in the short filenames of new frames, each by `shorten` from the full one. This is a separate
    /// step, since it accesses files, which must not happen while threads are paused: the file system may
    /// be remote, or served by the paused program itself.
    pub fn shorten_new(&mut self, mut shorten: impl FnMut(&Arc<str>) -> Arc<str>) {
        for frame in self.frames.iter_mut().skip(self.shortened) {
            frame.short_filename = shorten(&frame.filename);
        }
        self.shortened = self.frames.len();
    }

    /// The frame behind an id of this table; `None` for an id of another table.
    pub fn get(&self, id: FrameId) -> Option<&Frame> {
        self.frames.get(id.index())
    }

    /// How many distinct frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame was ever interned.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
