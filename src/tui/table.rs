//! [`Table`]: what is counted of each function and of each line.

use std::sync::Arc;

use super::rows::Rows;
use super::state::Row;
use crate::cpython::{Frame, FrameId, FrameTable, StackTrace};

/// Frames whose row is remembered (12 bytes each); the row of any other is looked up by name.
const MAX_PLACES: usize = 1 << 20;
/// The name of the row for garbage collections.
const COLLECTION: &str = "<GC>";
/// The name of the row for memory that no Python thread brought in or gave back.
const NOT_PYTHON: &str = "<not by a Python thread>";

/// Where a frame is counted: the numbers of its rows among the functions and among the lines.
pub(super) type Place = (u32, u32);

/// The functions and lines seen so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    full_filenames: bool,
    functions: Rows,
    lines: Rows,
    /// By [`FrameId::index`].
    places: Vec<Option<Place>>,
    /// Number of the stack that is being counted.
    stack: u64,
}

impl Table {
    /// Nothing counted yet. With `full_filenames`, files are told apart and shown by `co_filename`.
    pub fn new(full_filenames: bool) -> Table {
        Table {
            full_filenames,
            ..Table::default()
        }
    }

    /// Counts a stack of this weight; one that `collects` garbage has that for its leaf.
    pub fn count(&mut self, trace: &StackTrace, weight: u64, collects: bool, frames: &FrameTable) {
        self.stack += 1;
        let collects = collects && !trace.frames.is_empty();
        if collects {
            let place = self.named(COLLECTION);
            self.count_at(place, weight, true);
        }
        for (depth, id) in trace.frames.iter().enumerate() {
            if let Some(place) = self.place(*id, frames) {
                self.count_at(place, weight, depth == 0 && !collects);
            }
        }
    }

    fn count_at(&mut self, (function, line): Place, weight: u64, leaf: bool) {
        self.functions.count(function, self.stack, weight, leaf);
        self.lines.count(line, self.stack, weight, leaf);
    }

    /// Where a stack's leaf is counted, which is the collection for one that `collects` garbage; `None`
    /// for a stack without frames.
    pub fn leaf(
        &mut self,
        trace: &StackTrace,
        collects: bool,
        frames: &FrameTable,
    ) -> Option<Place> {
        let leaf = trace.frames.first()?;
        if collects {
            return Some(self.named(COLLECTION));
        }
        self.place(*leaf, frames)
    }

    /// Counts memory that was added here or, negative, given back, in bytes.
    pub fn grow(&mut self, (function, line): Place, bytes: i64) {
        self.functions.grow(function, bytes);
        self.lines.grow(line, bytes);
    }

    /// The same for what no Python thread did.
    pub fn grow_outside(&mut self, bytes: i64) {
        let place = self.named(NOT_PYTHON);
        self.grow(place, bytes);
    }

    /// The place of something that is no frame.
    fn named(&mut self, name: &str) -> Place {
        let (name, no_file) = (Arc::from(name), Arc::from(""));
        (
            self.functions.find(&name, &no_file, None),
            self.lines.find(&name, &no_file, None),
        )
    }

    /// Where the frame is counted; `None` for an id that is not of this table.
    fn place(&mut self, id: FrameId, frames: &FrameTable) -> Option<Place> {
        if let Some(Some(known)) = self.places.get(id.index()) {
            return Some(*known);
        }
        let Frame {
            name,
            filename,
            short_filename,
            line,
            ..
        } = frames.get(id)?;
        let filename = if self.full_filenames {
            filename
        } else {
            short_filename
        };
        let place = (
            self.functions.find(name, filename, None),
            self.lines.find(name, filename, *line),
        );
        if id.index() < MAX_PLACES {
            if self.places.len() <= id.index() {
                self.places.resize(id.index() + 1, None);
            }
            if let Some(slot) = self.places.get_mut(id.index()) {
                *slot = Some(place);
            }
        }
        Some(place)
    }

    /// All functions and all lines; the interval's counts begin anew.
    pub fn close_interval(&mut self) -> (Vec<Row>, Vec<Row>) {
        (self.functions.close_interval(), self.lines.close_interval())
    }
}
