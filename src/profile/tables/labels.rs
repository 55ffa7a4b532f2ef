//! [`LabelTable`]: the frames as they are shown, each distinct one once.
//!
//! The interpreter's frames are finer than what is shown: two lines of one function are one label
//! under `--nolineno` or `--function`, two columns of one line always are. Interning what is
//! *shown* makes the prefix tree merge them by itself.

use std::collections::HashMap;

use super::strings::StringId;
use super::threads::ThreadId;
use crate::cpython::code::frame_table::FrameId;

/// Most labels that are kept: of functions, threads and processes together. (A hash table of 2^18
/// places holds 7/8 of that.)
const MAX_LABELS: usize = 229_000;

/// A label in a [`LabelTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelId(u32);

impl LabelId {
    /// The label's place in the table: dense, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One entry of a stack, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// A Python function.
    Python {
        /// Qualified name.
        name: StringId,
        /// The path that folded stacks and flame graphs show: shortened, or whole on request.
        shown_file: StringId,
        /// The whole path.
        file: StringId,
        /// The line that is shown; `None` where lines are hidden or the code has none.
        line: Option<u32>,
        /// The line on which the function starts, under
        /// [`ProfileOptions::keep_first_lines`](crate::profile::options::ProfileOptions::keep_first_lines).
        first_line: Option<u32>,
    },
    /// Below it, everything that one thread did.
    Thread(ThreadId),
    /// Below it, everything that one process and its children did.
    Process(StringId),
    /// A garbage collection, in what set it off.
    Collection,
    /// Resident memory that no Python thread has faulted in or given back, as far as can be told.
    NotPython,
    /// All that would have had labels of their own had there been room.
    TooMany,
}

/// Interned [`Label`]s, and which label each of the interpreter's frames has.
#[derive(Debug, Default)]
pub struct LabelTable {
    labels: Vec<Label>,
    ids: HashMap<Label, LabelId>,
    by_frame: Vec<Option<LabelId>>,
}

impl LabelTable {
    /// The id of this label, new or known; that of [`Label::TooMany`] for a new one when the table is
    /// full.
    pub fn intern(&mut self, label: Label) -> LabelId {
        if let Some(id) = self.ids.get(&label) {
            return *id;
        }
        if self.labels.len() >= MAX_LABELS && label != Label::TooMany {
            return self.intern(Label::TooMany);
        }
        let id = LabelId(u32::try_from(self.labels.len()).unwrap_or(u32::MAX));
        self.labels.push(label);
        self.ids.insert(label, id);
        id
    }

    /// The label of all that there was no room for; `None` when there was.
    pub fn too_many(&self) -> Option<LabelId> {
        self.ids.get(&Label::TooMany).copied()
    }

    /// The label that [`LabelTable::set_for_frame`] gave to this frame.
    pub fn for_frame(&self, frame: FrameId) -> Option<LabelId> {
        self.by_frame.get(frame.index()).copied().flatten()
    }

    /// Remembers a frame's label.
    pub fn set_for_frame(&mut self, frame: FrameId, label: LabelId) {
        if self.by_frame.len() <= frame.index() {
            self.by_frame.resize(frame.index() + 1, None);
        }
        if let Some(slot) = self.by_frame.get_mut(frame.index()) {
            *slot = Some(label);
        }
    }

    /// The label behind an id of this table.
    pub fn get(&self, id: LabelId) -> Option<Label> {
        self.labels.get(id.index()).copied()
    }

    /// All ids, in the order of first sight.
    pub fn ids(&self) -> impl Iterator<Item = LabelId> + use<> {
        (0..u32::try_from(self.labels.len()).unwrap_or(u32::MAX)).map(LabelId)
    }

    /// How many distinct labels there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no label yet.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}
