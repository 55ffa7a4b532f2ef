//! [`Profile`]: what a recording keeps of its samples. No files, no clock, no look at the system.
//!
//! Samples come in, are shortened to what the options ask for, and are counted in the prefix tree
//! of [`stack_table`]. So a profile grows with the number of distinct stacks, not with time; only
//! the formats that need the order of the samples ask for [`ProfileOptions::timeline`], which costs
//! 16 bytes whenever a thread is in another stack than at the tick before.

pub mod clean;
pub mod label_table;
mod options;
pub mod rss_series;
pub mod stack_table;
pub mod string_table;
pub mod thread_table;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

pub use label_table::{Label, LabelId, LabelTable};
pub use options::{Counts, ProcessLabel, ProfileOptions};
pub use rss_series::{RssPoint, RssSeries};
pub use stack_table::{StackId, StackTable};
pub use string_table::{StringId, StringTable};
pub use thread_table::{Slice, Thread, ThreadId, ThreadTable};

use crate::cpython::{Frame, FrameTable, StackTrace};
use crate::sampler::Sample;
use crate::target::Pid;

/// Longest chain of parents that process frames show. A chain is as long as its process tree is
/// deep; this bound is against labels that go in a circle.
const MAX_PROCESS_DEPTH: usize = 64;

/// What a recording keeps; see the [module](self).
#[derive(Debug)]
pub struct Profile {
    options: ProfileOptions,
    strings: StringTable,
    labels: LabelTable,
    stacks: StackTable,
    threads: ThreadTable,
    rss: RssSeries,
    counts: Counts,
    last_elapsed: Duration,
    /// The label that each process had when its frame was made, and the frame's stack.
    processes: HashMap<Pid, (ProcessLabel, StackId)>,
}

impl Profile {
    /// An empty profile.
    pub fn new(options: ProfileOptions) -> Profile {
        Profile {
            options,
            strings: StringTable::default(),
            labels: LabelTable::default(),
            stacks: StackTable::default(),
            threads: ThreadTable::default(),
            rss: RssSeries::default(),
            counts: Counts::default(),
            last_elapsed: Duration::ZERO,
            processes: HashMap::new(),
        }
    }

    /// Counts one tick. `frames` is the table that the sample's stacks point into, always the same
    /// one. `process` tells how a process is called, and which other one that is looked at it is a
    /// child of; it is asked only under [`ProfileOptions::subprocesses`].
    pub fn add(
        &mut self,
        sample: &Sample,
        frames: &FrameTable,
        process: &dyn Fn(Pid) -> Option<ProcessLabel>,
    ) {
        self.counts.ticks += 1;
        self.counts.missed_ticks = self.counts.missed_ticks.saturating_add(sample.missed_ticks);
        self.counts.errors = self
            .counts
            .errors
            .saturating_add(sample.errors.len() as u64);
        self.last_elapsed = sample.elapsed;
        let readings = sample
            .processes
            .iter()
            .filter_map(|process| process.rss_bytes);
        if let Some(total) = readings.reduce(u64::saturating_add) {
            self.rss.add(sample.elapsed, total);
        }
        for one in &sample.processes {
            let from = if self.options.subprocesses {
                self.process_stack(one.pid, process, MAX_PROCESS_DEPTH)
            } else {
                StackId::ROOT
            };
            for trace in &one.traces {
                self.add_trace(one.pid, from, trace, frames);
            }
        }
        if self.options.timeline {
            self.threads
                .end_tick(self.counts.ticks, micros(sample.elapsed));
        }
    }

    fn add_trace(&mut self, pid: Pid, from: StackId, trace: &StackTrace, frames: &FrameTable) {
        if trace.frames.is_empty() {
            self.counts.without_python += 1;
            return;
        }
        if !self.options.include_idle && !trace.thread.active {
            self.counts.idle += 1;
            return;
        }
        if self.options.gil_only && !trace.thread.owns_gil {
            self.counts.without_gil += 1;
            return;
        }
        let Profile {
            options,
            strings,
            labels,
            stacks,
            threads,
            ..
        } = self;
        let id = threads.intern(pid, &trace.thread, strings);
        let from = if options.show_threads {
            stacks.child(from, labels.intern(Label::Thread(id)))
        } else {
            from
        };
        let Some(thread) = threads.get_mut(id) else {
            return;
        };
        let stack = thread.walk(from, &trace.frames, |parent, frame| {
            let label = labels.for_frame(frame).or_else(|| {
                let label = labels.intern(python_label(options, frames.get(frame)?, strings));
                labels.set_for_frame(frame, label);
                Some(label)
            });
            label.map_or(parent, |label| stacks.child(parent, label))
        });
        stacks.add(stack, 1);
        self.counts.samples += 1;
        if options.timeline {
            threads.record(id, self.counts.ticks, stack, micros(self.last_elapsed));
        }
    }

    /// The stack of a process's frame, below those of its parents.
    fn process_stack(
        &mut self,
        pid: Pid,
        lookup: &dyn Fn(Pid) -> Option<ProcessLabel>,
        depth: usize,
    ) -> StackId {
        let known = self.processes.get(&pid);
        let Some(label) = lookup(pid) else {
            // It ended before it could be asked for its name: its samples go where its earlier ones
            // are, and still count where there are none.
            return known.map_or(StackId::ROOT, |(_, stack)| *stack);
        };
        if let Some((last, stack)) = known
            && *last == label
        {
            return *stack;
        }
        let parent = label.parent.filter(|parent| *parent != pid && depth > 1);
        let above = parent.map_or(StackId::ROOT, |parent| {
            self.process_stack(parent, lookup, depth - 1)
        });
        let text = self
            .strings
            .intern(&format!("process {}:\"{}\"", label.pid, label.command));
        let stack = self
            .stacks
            .child(above, self.labels.intern(Label::Process(text)));
        self.processes.insert(pid, (label, stack));
        stack
    }

    /// What was asked for.
    pub fn options(&self) -> &ProfileOptions {
        &self.options
    }

    /// How much was counted and left out.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Resident memory over the ticks, of all processes together.
    pub fn rss(&self) -> &RssSeries {
        &self.rss
    }

    /// The prefix tree.
    pub fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    /// What the stacks consist of.
    pub fn labels(&self) -> &LabelTable {
        &self.labels
    }

    /// The threads that were counted.
    pub fn threads(&self) -> &ThreadTable {
        &self.threads
    }

    /// Time from the start of the recording to the last tick.
    pub fn last_elapsed(&self) -> Duration {
        self.last_elapsed
    }

    /// What a thread did, oldest first; nothing without [`ProfileOptions::timeline`].
    pub fn slices(&self, thread: ThreadId) -> impl Iterator<Item = Slice> {
        let interval_us = 1_000_000 / u64::from(self.options.rate_hz.max(1));
        self.threads.slices(
            thread,
            micros(self.last_elapsed).saturating_add(interval_us),
        )
    }

    /// The text behind an id of this profile.
    pub fn string(&self, id: StringId) -> &str {
        self.strings.get(id)
    }

    /// A label's name without its place: `Thing.method`, `thread (81): worker`,
    /// `process 81:"python app.py"`.
    pub fn name(&self, id: LabelId) -> Cow<'_, str> {
        match self.labels.get(id) {
            Some(Label::Python { name: text, .. } | Label::Process(text)) => {
                Cow::Borrowed(self.string(text))
            }
            Some(Label::Thread(thread)) => Cow::Owned(self.thread_text(thread)),
            None => Cow::Borrowed("?"),
        }
    }

    fn thread_text(&self, id: ThreadId) -> String {
        let Some(thread) = self.threads.get(id) else {
            return "?".to_owned();
        };
        match thread.name() {
            Some(name) => format!("thread ({}): {}", thread.number(), self.string(name)),
            None => format!("thread ({})", thread.number()),
        }
    }

    /// A label as folded stacks show it: `Thing.method (pkg/mod.py:20)`, without `:20` where lines
    /// are hidden or unknown; threads and processes by their name alone.
    pub fn text(&self, id: LabelId) -> String {
        match self.labels.get(id) {
            Some(Label::Python {
                name,
                shown_file,
                line,
                ..
            }) => {
                let (name, file) = (self.string(name), self.string(shown_file));
                match line {
                    Some(line) => format!("{name} ({file}:{line})"),
                    None => format!("{name} ({file})"),
                }
            }
            _ => self.name(id).into_owned(),
        }
    }

    /// The whole path of a Python function's file; nothing for threads and processes.
    pub fn file(&self, id: LabelId) -> Option<&str> {
        match self.labels.get(id) {
            Some(Label::Python { file, .. }) => Some(self.string(file)),
            _ => None,
        }
    }

    /// The line as py-spy's JSON formats give it: 0 for threads and processes, and for code without
    /// lines; `None` for all where lines are hidden.
    pub fn json_line(&self, id: LabelId) -> Option<u32> {
        self.options
            .show_line_numbers
            .then(|| self.line(id).unwrap_or(0))
    }

    /// The line that is shown for a Python function.
    pub fn line(&self, id: LabelId) -> Option<u32> {
        match self.labels.get(id) {
            Some(Label::Python { line, .. }) => line,
            _ => None,
        }
    }
}

fn python_label(options: &ProfileOptions, frame: &Frame, strings: &mut StringTable) -> Label {
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
    Label::Python {
        name: strings.intern(&frame.name),
        shown_file: strings.intern(shown_file),
        file: strings.intern(&frame.filename),
        // CPython has no line 0; where it stands for "unknown", nothing is better than a lie.
        line: line.filter(|line| options.show_line_numbers && *line > 0),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
