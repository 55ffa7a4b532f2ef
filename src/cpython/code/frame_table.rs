//! [`FrameTable`]: every distinct frame once, so that a stack is a list of small numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// Most distinct frames that are kept. Large programs have some 10,000; this many take about 50 MiB.
/// (A hash table of 2^17 places holds 7/8 of that.)
const MAX_FRAMES: usize = 110_000;
/// Most bytes of their names and paths, each frame's counted in full though most share them.
const MAX_TEXT_BYTES: usize = 32 << 20;
/// How the frame is called that stands for all beyond these limits.
pub const TOO_MANY: &str = "<too many different frames>";

/// A frame in a [`FrameTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(u32);

impl FrameId {
    /// The frame's place in the table: dense, from 0, so that a `Vec` can be kept beside it.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where in its line the running instruction stands (CPython 3.11+). Columns are byte offsets in
/// the UTF-8 line, from 0, as CPython counts them.
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
    /// Where in the line, where the version records it.
    pub columns: Option<Columns>,
}

/// Interned frames of all processes that are looked at. It grows with the number of distinct
/// frames, never with time; a program that makes code without end gets one frame for all that are new
/// beyond a limit.
#[derive(Debug, Default)]
pub struct FrameTable {
    frames: Vec<Frame>,
    /// How many of them have their short filename.
    shortened: usize,
    ids: HashMap<Frame, FrameId>,
    text_bytes: usize,
    /// The frame for all beyond the limits, once there is one.
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

    /// The one frame that stands for all that came when the table was full; `None` until then.
    pub fn folded(&self) -> Option<FrameId> {
        self.folded
    }

    /// Gives the frames that are new their short filenames, each by `shorten` from its full one. A
    /// step of its own, since it looks at files, which must not be waited for while threads are
    /// paused: the file system may be remote, or served by the very program that is paused.
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
