//! [`MemoryState`]: a recording of memory in progress, with snapshots for the live plot.

use std::cmp::Reverse;
use std::time::Duration;

use crate::profile::Profile;
use crate::profile::options::ProfileOptions;
use crate::rss::leak::verdict::Verdict;
use crate::rss::process_series::FootprintPoint;
use crate::sampler::sample::Sample;
use crate::tui::model::{Model, SampleSource};
use crate::tui::rows::counter::{RowCounter, Rows};
use crate::tui::rows::row::Row;

/// Most rows of a snapshot: no screen has more.
const MAX_ROWS: usize = 200;

#[derive(Clone, Debug, Default)]
pub struct MemorySnapshot {
    /// Time since the start.
    pub elapsed: Duration,
    /// RSS of all processes in bytes: the last, the first and the highest reading.
    pub rss_bytes: Option<[u64; 3]>,
    /// The last reading of PSS, USS and swap.
    pub shares: Option<FootprintPoint>,
    /// RSS over time, oldest first: time since the start, and bytes.
    pub curve: Vec<(Duration, u64)>,
    /// RSS in the troughs of the curve.
    pub baseline: Vec<(Duration, u64)>,
    pub verdict: Option<Verdict>,
    /// The functions that made memory grow: those with the most that was never released first.
    pub functions: Vec<Row>,
    /// The lines, in the same way.
    pub lines: Vec<Row>,
}

impl MemorySnapshot {
    /// The last reading minus the first one, in bytes.
    pub fn growth(&self) -> Option<i64> {
        let [last, first, _] = self.rss_bytes?;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(signed(last) - signed(first))
    }
}

#[derive(Debug)]
pub struct MemoryState {
    profile: Profile,
    samples_now: u64,
}

impl MemoryState {
    /// An empty recording; `memory` of the options should be set.
    pub fn new(options: ProfileOptions) -> Self {
        Self {
            profile: Profile::new(options),
            samples_now: 0,
        }
    }

    /// The recording.
    pub fn into_profile(self) -> Profile {
        self.profile
    }

    /// The current state.
    pub fn snapshot(&self) -> MemorySnapshot {
        let rss = self.profile.rss();
        let Rows { functions, lines } = RowCounter::default().rows(&self.profile);
        let highest = match (rss.peak(), self.profile.memory().kernel_peak()) {
            (Some(sampled), Some(kernel)) => Some(sampled.max(kernel)),
            (sampled, _) => sampled,
        };
        let trend = self.profile.memory_trend();
        MemorySnapshot {
            elapsed: self.profile.last_elapsed(),
            rss_bytes: rss
                .last()
                .zip(rss.first())
                .zip(highest)
                .map(|((last, first), highest)| [last, first, highest]),
            shares: self.profile.memory().footprints().last().copied(),
            curve: rss
                .points()
                .iter()
                .map(|point| (point.elapsed, point.rss_bytes))
                .collect(),
            baseline: trend.baseline,
            verdict: Some(trend.verdict).filter(|_| rss.last().is_some()),
            functions: highest_first(functions),
            lines: highest_first(lines),
        }
    }
}

/// The rows with own growth, those that kept most first; equal ones in a stable order.
fn highest_first(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.own_growth.grown_bytes > 0);
    rows.sort_by(|a, b| {
        let key = |row: &Row| Reverse((row.own_kept, row.own_growth.grown_bytes));
        key(a)
            .cmp(&key(b))
            .then_with(|| (&a.name, &a.filename, a.line).cmp(&(&b.name, &b.filename, b.line)))
    });
    rows.truncate(MAX_ROWS);
    rows
}

impl Model for MemoryState {
    type Snapshot = MemorySnapshot;

    fn add(&mut self, sample: &Sample, source: &impl SampleSource) {
        for (pid, root) in source.new_fs_roots() {
            self.profile.set_fs_root(*pid, *root);
        }
        let frames = source.frames();
        self.profile.add(sample, frames, &|pid| source.process(pid));
        self.samples_now += 1;
    }

    fn samples_now(&self) -> u64 {
        self.samples_now
    }

    fn tick(&mut self) -> MemorySnapshot {
        self.samples_now = 0;
        self.snapshot()
    }

    fn reset(&mut self) {
        // The counts are also the recording, which a key must not discard.
    }
}
