//! [`Profile`]: what a recording keeps of its samples. No files, no clock, no look at the system.
//!
//! Samples come in, are shortened to what the options ask for, and are counted in the prefix tree
//! of [`stack_table`]. So a profile grows with the number of distinct stacks, not with time, and up to
//! a limit only; what is new beyond it is counted under [`Label::TooMany`]. Only the formats that need
//! the order of the samples ask for [`ProfileOptions::timeline`], which costs 16 bytes (24 with
//! [`ProfileOptions::cpu_time`]) whenever a thread is in another stack than at the tick before.

pub mod deferred_cpu;
pub mod fs_roots;
pub mod ingest;
pub mod memory;
pub mod options;
pub mod tables;
pub mod thread_state;

use crate::rss::attribution;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use crate::rss::process_series::MemorySeries;
use crate::rss::series::RssSeries;
use memory::timeline::GrowthTimeline;
use options::{Counts, ProcessLabel, ProfileOptions};
use tables::labels::{Label, LabelId, LabelTable};
use tables::stacks::{StackId, StackTable};
use tables::strings::{StringId, StringTable};
use tables::threads::{Slice, ThreadId, ThreadTable};

use crate::cpython::code::frame_table::TOO_MANY;
use crate::os::Pid;

use fs_roots::FsRoots;
use memory::suspects::Checkpoints;
use memory::weights::GrowthTable;
use thread_state::LiveThreads;

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
    live: LiveThreads,
    rss: RssSeries,
    memory: MemorySeries,
    growth_timeline: GrowthTimeline,
    growth: GrowthTable,
    /// Room for the threads' shares of a change.
    changes: Vec<attribution::ThreadDelta>,
    marks: Checkpoints,
    counts: Counts,
    last_elapsed: Duration,
    /// The label that each process had when its frame was made, and the frame's stack.
    processes: HashMap<Pid, (ProcessLabel, StackId)>,
    roots: FsRoots,
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
            live: LiveThreads::default(),
            rss: RssSeries::default(),
            memory: MemorySeries::default(),
            growth_timeline: GrowthTimeline::default(),
            growth: GrowthTable::default(),
            changes: Vec::new(),
            marks: Checkpoints::default(),
            counts: Counts::default(),
            last_elapsed: Duration::ZERO,
            processes: HashMap::new(),
            roots: FsRoots::default(),
        }
    }

    /// What was asked for.
    pub fn options(&self) -> &ProfileOptions {
        &self.options
    }

    /// How much was counted and left out.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What could not be told apart for want of room, as a share (0 to 1) of all weight; `None` when
    /// everything could.
    pub fn folded_share(&self) -> Option<f64> {
        let too_many = self.labels.too_many()?;
        let mut folded = vec![false; self.stacks.len()];
        let mut weight: u64 = 0;
        for id in self.stacks.ids() {
            let above = folded.get(self.stacks.parent(id).index()).copied();
            let is_folded = above.unwrap_or_default() || self.stacks.label(id) == Some(too_many);
            if let Some(slot) = folded.get_mut(id.index()) {
                *slot = is_folded;
            }
            if is_folded {
                weight = weight.saturating_add(self.weight(id));
            }
        }
        Some(weight as f64 / self.total_weight().max(1) as f64)
    }

    /// Resident memory over the ticks, of all processes together.
    pub fn rss(&self) -> &RssSeries {
        &self.rss
    }

    /// Memory of each process, and PSS, USS and swap of all together.
    pub fn memory(&self) -> &MemorySeries {
        &self.memory
    }

    /// By which functions, and when, the resident memory grew.
    pub fn growth_timeline(&self) -> &GrowthTimeline {
        &self.growth_timeline
    }

    /// Says that the recording stops because the program has ended; see [`RssSeries::end`].
    pub fn end(&mut self) {
        self.rss.end();
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
    /// `process 81:"python app.py"`, `<GC>`.
    pub fn name(&self, id: LabelId) -> Cow<'_, str> {
        match self.labels.get(id) {
            Some(Label::Python { name: text, .. } | Label::Process(text)) => {
                Cow::Borrowed(self.string(text))
            }
            Some(Label::Thread(thread)) => Cow::Owned(self.thread_text(thread)),
            Some(Label::Collection) => Cow::Borrowed("<GC>"),
            Some(Label::NotPython) => Cow::Borrowed("<not by a Python thread>"),
            Some(Label::TooMany) => Cow::Borrowed(TOO_MANY),
            None => Cow::Borrowed("?"),
        }
    }

    fn thread_text(&self, id: ThreadId) -> String {
        let Some(thread) = self.threads.get(id) else {
            return "?".to_owned();
        };
        match thread.name() {
            Some(name) => format!("thread ({}): {name}", thread.number()),
            None => format!("thread ({})", thread.number()),
        }
    }

    /// A label as folded stacks show it: `Thing.method (pkg/mod.py:20)`, without `:20` where lines
    /// are hidden or unknown; what is no function by its name alone.
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

    /// The whole path of a Python function's file; nothing for what is no function.
    pub fn file(&self, id: LabelId) -> Option<&str> {
        match self.labels.get(id) {
            Some(Label::Python { file, .. }) => Some(self.string(file)),
            _ => None,
        }
    }

    /// The line as py-spy's JSON formats give it: 0 for what is no function, and for code without
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod cpu_tests;
#[cfg(test)]
mod tests;
