//! [`Profile`]: the aggregated samples of a recording. No files, no clock, no process is read.
//!
//! Each sample is reduced to what the options select and is counted in a prefix tree of stacks,
//! [`StackTable`]. So a profile grows with the number of distinct stacks and not with time, up to a
//! limit; new stacks beyond it are counted as [`Label::TooMany`]. Only formats that need the order of the
//! samples set [`ProfileOptions::timeline`]: it costs 16 bytes (24 with [`Weights::time`])
//! whenever a thread is in another stack than at the tick before.

pub mod options;

pub mod tables;

pub mod deferred_cpu;

pub mod thread_state;

pub mod fs_roots;

pub mod stack_builder;

pub mod memory;

pub mod ingest;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use crate::cpython::code::frame_table::TOO_MANY;
use crate::os::Pid;
use crate::rss::leak::kinds::KindSeries;
use crate::rss::leak::trend::Trend;
use crate::rss::series::RssSeries;
use fs_roots::FsRoots;
use memory::tracking::MemoryTracking;
use options::{Counts, ProcessLabel, ProfileOptions};
use tables::ids::{LabelId, StackId, StringId, ThreadId};
use tables::labels::{Label, LabelTable};
use tables::stacks::StackTable;
use tables::strings::StringTable;
use tables::threads::{Slice, ThreadTable};
use thread_state::LiveThreads;

/// Most process frames on top of each other. A chain of parents is as long as its process tree is deep;
/// the limit is for labels whose parents form a cycle.
const MAX_PROCESS_DEPTH: usize = 64;

/// The aggregated samples of a recording; see the [module](self).
#[derive(Debug)]
pub struct Profile {
    options: ProfileOptions,
    strings: StringTable,
    labels: LabelTable,
    stacks: StackTable,
    threads: ThreadTable,
    live: LiveThreads,
    counts: Counts,
    last_elapsed: Duration,
    /// The label of each process when its frame was made, and the frame's stack.
    processes: HashMap<Pid, (ProcessLabel, StackId)>,
    roots: FsRoots,
    /// Always recorded: flame graphs, Chrome traces and the closing lines show it.
    rss: RssSeries,
    kinds: KindSeries,
    memory: Option<MemoryTracking>,
}

impl Profile {
    /// An empty profile.
    pub fn new(options: ProfileOptions) -> Profile {
        Profile {
            memory: options.weights.rss.then(MemoryTracking::default),
            options,
            strings: StringTable::default(),
            labels: LabelTable::default(),
            stacks: StackTable::default(),
            threads: ThreadTable::default(),
            live: LiveThreads::default(),
            counts: Counts::default(),
            last_elapsed: Duration::ZERO,
            processes: HashMap::new(),
            roots: FsRoots::default(),
            rss: RssSeries::default(),
            kinds: KindSeries::default(),
        }
    }

    /// The options of [`Profile::new`].
    pub fn options(&self) -> &ProfileOptions {
        &self.options
    }

    /// Numbers of samples that were counted and left out.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The weight of [`Label::TooMany`] as a share (0 to 1) of all weight; `None` if no table was full.
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

    /// RSS of all processes together, over the ticks.
    pub fn rss(&self) -> &RssSeries {
        &self.rss
    }

    /// The verdict on memory, in view of its kinds, and its baseline.
    pub fn memory_trend(&self) -> Trend {
        let trend = self.rss.trend();
        let verdict = self.kinds.explain(trend.verdict, self.rss.last_elapsed());
        Trend { verdict, ..trend }
    }

    /// Marks the recording as ended by the program's exit; see [`RssSeries::end`].
    pub fn end(&mut self) {
        self.rss.end();
    }

    /// Counts ticks that were due without a sample.
    pub fn add_missed(&mut self, ticks: u64) {
        let missed = &mut self.counts.missed_ticks;
        *missed = missed.saturating_add(ticks);
    }

    /// Sets which of the file systems a process sees: the same number for all processes with the same root
    /// directory, 0 for that of the first. To be called before the first sample of the process; it only
    /// has an effect on processes with [frames of their own](ProfileOptions::subprocesses).
    pub fn set_fs_root(&mut self, pid: Pid, root: u32) {
        self.roots.set(pid, root);
    }

    /// The number of [`Profile::set_fs_root`] of the process with this frame; `None` for other frames.
    pub fn root_of(&self, frame: LabelId) -> Option<u32> {
        self.roots.of(frame)
    }

    /// The frame of the first process with this root directory, as it is shown.
    pub fn root_name(&self, root: u32) -> Option<String> {
        let frame = self.roots.first_frame(root)?;
        Some(self.name(frame).into_owned())
    }

    /// The command line of a process, with [`ProfileOptions::subprocesses`].
    pub fn process_command(&self, pid: Pid) -> Option<&str> {
        self.processes.get(&pid).map(|(label, _)| &*label.command)
    }

    /// The prefix tree.
    pub fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    /// The entries of the stacks.
    pub fn labels(&self) -> &LabelTable {
        &self.labels
    }

    /// The threads, with [`ProfileOptions::show_threads`] or [`ProfileOptions::timeline`].
    pub fn threads(&self) -> &ThreadTable {
        &self.threads
    }

    /// Time from the start of the recording to the last tick.
    pub fn last_elapsed(&self) -> Duration {
        self.last_elapsed
    }

    /// The timeline of a thread, oldest first; empty without [`ProfileOptions::timeline`].
    pub fn slices(&self, thread: ThreadId) -> impl Iterator<Item = Slice> {
        let interval_us = 1_000_000 / u64::from(self.options.rate_hz.max(1));
        self.threads.slices(
            thread,
            micros(self.last_elapsed).saturating_add(interval_us),
        )
    }

    /// The text of a handle.
    pub fn string(&self, id: StringId) -> &str {
        self.strings.get(id)
    }

    /// A label's name without its file: `Thing.method`, `thread (81): worker`,
    /// `process 81:"python app.py"`, `<GC>`.
    pub fn name(&self, id: LabelId) -> Cow<'_, str> {
        match self.labels.get(id) {
            Some(Label::Python { name: text, .. } | Label::Process(text)) => {
                Cow::Borrowed(self.string(text))
            }
            Some(Label::Thread(thread)) => Cow::Owned(self.thread_text(thread)),
            Some(Label::Collection) => Cow::Borrowed("<GC>"),
            Some(Label::NotPython) => Cow::Borrowed("<not by a Python thread>"),
            Some(Label::BetweenSamples) => Cow::Borrowed("<between samples>"),
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

    /// A label as folded stacks show it: `Thing.method (pkg/mod.py:20)`, without `:20` if lines are hidden
    /// or unknown; only the name if it is no Python function.
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

    /// The full path of a Python function's file.
    pub fn file(&self, id: LabelId) -> Option<&str> {
        match self.labels.get(id) {
            Some(Label::Python { file, .. }) => Some(self.string(file)),
            _ => None,
        }
    }

    /// The line as in py-spy's JSON formats: 0 for other labels and for code without lines; `None` for all
    /// if lines are hidden.
    pub fn json_line(&self, id: LabelId) -> Option<u32> {
        self.options
            .show_line_numbers
            .then(|| self.line(id).unwrap_or(0))
    }

    /// The shown line of a Python function.
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
