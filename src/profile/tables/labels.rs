//! [`LabelTable`]: frames as they are shown, each distinct one once.
//!
//! The interpreter's frames are finer than what is shown: two lines of a function are one label with
//! `--nolineno` or `--function`, and two columns of a line always are. Labels are interned as shown, so
//! the prefix tree merges such frames.

use std::collections::HashMap;

use super::ids::{LabelId, StringId, ThreadId};
use crate::cpython::code::frame_table::FrameId;

/// Most labels of functions, threads and processes together. (A hash table of 2^18 slots holds 7/8 of
/// that.)
const MAX_LABELS: usize = 229_000;

/// One entry of a stack as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// A Python function.
    Python {
        /// Qualified name.
        name: StringId,
        /// The path that folded stacks and flame graphs show: shortened, or the full one on request.
        shown_file: StringId,
        /// The full path.
        file: StringId,
        /// The shown line; `None` if lines are hidden or the code has none.
        line: Option<u32>,
        /// The line on which the function starts, with
        /// [`ProfileOptions::keep_first_lines`](crate::profile::options::ProfileOptions::keep_first_lines).
        first_line: Option<u32>,
    },
    /// Root frame of a thread.
    Thread(ThreadId),
    /// Root frame of a process; its children are below.
    Process(StringId),
    /// A garbage collection, below the frame that triggered it.
    Collection,
    /// Resident memory that is attributed to no Python thread.
    NotPython,
    /// Resident memory of a thread that came between two samples, and from neither of their stacks.
    BetweenSamples,
    /// Everything that a full table cannot distinguish.
    TooMany,
}

/// Interned [`Label`]s, and the label of each of the interpreter's frames.
#[derive(Debug, Default)]
pub struct LabelTable {
    labels: Vec<Label>,
    ids: HashMap<Label, LabelId>,
    by_frame: Vec<Option<LabelId>>,
}

impl LabelTable {
    /// The id of this label; that of [`Label::TooMany`] for a new label if the table is full.
    pub fn intern(&mut self, label: Label) -> LabelId {
        if let Some(id) = self.ids.get(&label) {
            return *id;
        }
        if self.labels.len() >= MAX_LABELS && label != Label::TooMany {
            return self.intern(Label::TooMany);
        }
        let id = LabelId::from_index(self.labels.len());
        self.labels.push(label);
        self.ids.insert(label, id);
        id
    }

    /// The id of [`Label::TooMany`]; `None` if the tables were never full.
    pub fn too_many(&self) -> Option<LabelId> {
        self.ids.get(&Label::TooMany).copied()
    }

    /// The label of a frame, as set by [`LabelTable::set_for_frame`].
    pub fn for_frame(&self, frame: FrameId) -> Option<LabelId> {
        self.by_frame.get(frame.index()).copied().flatten()
    }

    /// Caches the label of a frame.
    pub fn set_for_frame(&mut self, frame: FrameId, label: LabelId) {
        if self.by_frame.len() <= frame.index() {
            self.by_frame.resize(frame.index() + 1, None);
        }
        if let Some(slot) = self.by_frame.get_mut(frame.index()) {
            *slot = Some(label);
        }
    }

    /// Whether two labels are equal, or lines of one function.
    pub fn are_same_function(&self, a: LabelId, b: LabelId) -> bool {
        if a == b {
            return true;
        }
        let function = |id| match self.get(id) {
            Some(Label::Python { name, file, .. }) => Some((name, file)),
            _ => None,
        };
        function(a).is_some_and(|a| Some(a) == function(b))
    }

    /// The label of an id.
    pub fn get(&self, id: LabelId) -> Option<Label> {
        self.labels.get(id.index()).copied()
    }

    /// All ids, in order of insertion.
    pub fn ids(&self) -> impl Iterator<Item = LabelId> + use<> {
        (0..self.labels.len()).map(LabelId::from_index)
    }

    /// Number of distinct labels.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether the table has no label.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}
