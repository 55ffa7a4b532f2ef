//! [`StackBuilder`]: turns a stack trace into a node of the [`StackTable`].

use std::sync::Arc;

use super::options::ProfileOptions;
use super::tables::ids::{LabelId, StackId, ThreadId};
use super::tables::labels::{Label, LabelTable};
use super::tables::stacks::StackTable;
use super::tables::strings::StringTable;
use super::tables::threads::{ThreadKey, ThreadTable};
use super::thread_state::LiveThread;
use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};

/// The tables that a stack is built in.
pub struct StackBuilder<'a> {
    pub options: &'a ProfileOptions,
    pub strings: &'a mut StringTable,
    pub labels: &'a mut LabelTable,
    pub stacks: &'a mut StackTable,
    pub threads: &'a mut ThreadTable,
}

impl StackBuilder<'_> {
    /// The stack of a trace below `parent`, and the thread's entry if the options need one.
    pub fn trace(
        &mut self,
        live: &mut LiveThread,
        key: ThreadKey,
        parent: StackId,
        trace: &StackTrace,
        frames: &FrameTable,
    ) -> (StackId, Option<ThreadId>) {
        let (parent, row) = self.thread(live, key, parent, &trace.thread);
        let mut stack = self.walk(live, parent, &trace.frames, frames);
        if self.options.selection.collections && trace.thread.collecting {
            let label = self.labels.intern(Label::Collection);
            stack = child(self.stacks, self.labels, stack, label);
        }
        (stack, row)
    }

    /// The stack of these frames of a thread below the parent of its stacks.
    pub fn walk(
        &mut self,
        live: &mut LiveThread,
        parent: StackId,
        of: &Arc<[FrameId]>,
        frames: &FrameTable,
    ) -> StackId {
        live.walk(parent, of, |parent, frame| {
            self.frame(parent, frame, frames)
        })
    }

    /// The parent of a thread's stacks, and the thread's entry if the options need one.
    pub fn thread(
        &mut self,
        live: &mut LiveThread,
        key: ThreadKey,
        parent: StackId,
        info: &ThreadInfo,
    ) -> (StackId, Option<ThreadId>) {
        let (mut parent, mut row) = (parent, None);
        if self.options.show_threads || self.options.timeline {
            let id = *live.row.get_or_insert_with(|| self.threads.intern(key));
            if let Some(name) = live.new_name(info.name.as_ref()) {
                self.threads.set_name(id, name);
            }
            row = Some(id);
            if self.options.show_threads {
                parent = live.frame(parent, || {
                    let label = self.labels.intern(thread_label(self.threads, id));
                    child(self.stacks, self.labels, parent, label)
                });
            }
        }
        (parent, row)
    }

    /// The stack of a frame below that of its caller.
    fn frame(&mut self, parent: StackId, id: FrameId, frames: &FrameTable) -> StackId {
        let label = self.labels.for_frame(id).or_else(|| {
            let frame = frames.get(id)?;
            let label = if frames.folded() == Some(id) {
                None
            } else {
                python_label(self.options, frame, self.strings)
            };
            let label = self.labels.intern(label.unwrap_or(Label::TooMany));
            self.labels.set_for_frame(id, label);
            Some(label)
        });
        label.map_or(parent, |label| {
            child(self.stacks, self.labels, parent, label)
        })
    }
}

/// The stack below `parent` with this leaf or, if the tree is full, the one for all such stacks.
pub fn child(
    stacks: &mut StackTable,
    labels: &mut LabelTable,
    parent: StackId,
    label: LabelId,
) -> StackId {
    stacks
        .child(parent, label)
        .unwrap_or_else(|| stacks.folded(parent, labels.intern(Label::TooMany)))
}

/// The stack for memory that no Python thread added, below that of its process.
pub fn not_python(stacks: &mut StackTable, labels: &mut LabelTable, parent: StackId) -> StackId {
    let label = labels.intern(Label::NotPython);
    child(stacks, labels, parent, label)
}

/// The stack for memory that was added or released by none of the sampled stacks of a thread, below the
/// thread's parent.
pub fn between_samples(
    stacks: &mut StackTable,
    labels: &mut LabelTable,
    parent: StackId,
) -> StackId {
    let label = labels.intern(Label::BetweenSamples);
    child(stacks, labels, parent, label)
}

fn thread_label(threads: &ThreadTable, id: ThreadId) -> Label {
    if threads.too_many() == Some(id) {
        Label::TooMany
    } else {
        Label::Thread(id)
    }
}

/// The label of a frame; `None` if there is no room for its names.
fn python_label(
    options: &ProfileOptions,
    frame: &Frame,
    strings: &mut StringTable,
) -> Option<Label> {
    let line = if options.function_only {
        Some(frame.first_line)
    } else {
        frame.line
    };
    let shown_file = if options.full_filenames {
        &frame.filename
    } else {
        &frame.short_filename
    };
    Some(Label::Python {
        name: strings.intern(&frame.name)?,
        shown_file: strings.intern(shown_file)?,
        file: strings.intern(&frame.filename)?,
        // CPython has no line 0: it means "unknown", and no line is better than a wrong one.
        line: line.filter(|line| options.show_line_numbers && *line > 0),
        first_line: Some(frame.first_line).filter(|line| options.keep_first_lines && *line > 0),
    })
}
