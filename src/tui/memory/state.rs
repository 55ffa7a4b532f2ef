//! [`MemoryState`]: a recording of memory while it goes on, as the live plot shows it.

use std::cmp::Reverse;
use std::time::Duration;

use crate::profile::Profile;
use crate::profile::options::ProfileOptions;
use crate::rss::leak::verdict::Verdict;
use crate::rss::process_series::SharePoint;
use crate::sampler::sample::Sample;
use crate::tui::SampleSource;
use crate::tui::app::Model;
use crate::tui::rows::growth::fill_in;
use crate::tui::rows::row::Row;

/// Most rows that are shown: no screen has more.
const MAX_ROWS: usize = 200;

/// What was known at one time.
#[derive(Clone, Debug, Default)]
pub struct MemorySeen {
    /// Time since the start.
    pub elapsed: Duration,
    /// Resident memory of all processes, in bytes: the last, the first and the highest reading.
    pub rss_bytes: Option<[u64; 3]>,
    /// PSS, USS and swap, as last asked for.
    pub shares: Option<SharePoint>,
    /// Resident memory over time, oldest first: time since the start, and bytes.
    pub curve: Vec<(Duration, u64)>,
    /// What was left in the troughs of the curve.
    pub baseline: Vec<(Duration, u64)>,
    /// What the memory did so far.
    pub verdict: Option<Verdict>,
    /// The functions that added most and did not give it back, highest first.
    pub functions: Vec<Row>,
    /// The same by line.
    pub lines: Vec<Row>,
}

impl MemorySeen {
    /// The last reading less the first one, in bytes.
    pub fn growth(&self) -> Option<i64> {
        let [last, first, _] = self.rss_bytes?;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(signed(last) - signed(first))
    }
}

/// A recording that can be looked at meanwhile.
#[derive(Debug)]
pub struct MemoryState {
    profile: Profile,
    samples_now: u64,
}

impl MemoryState {
    /// Nothing recorded yet; `memory` of the options should be on.
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

    /// What is known now.
    pub fn seen(&self) -> MemorySeen {
        let rss = self.profile.rss();
        let (mut functions, mut lines) = (Vec::new(), Vec::new());
        fill_in(&self.profile, &mut functions, &mut lines);
        let highest = match (rss.peak(), self.profile.memory().kernel_peak()) {
            (Some(seen), Some(kernel)) => Some(seen.max(kernel)),
            (seen, _) => seen,
        };
        let trend = rss.trend();
        MemorySeen {
            elapsed: self.profile.last_elapsed(),
            rss_bytes: rss
                .last()
                .zip(rss.first())
                .zip(highest)
                .map(|((last, first), highest)| [last, first, highest]),
            shares: self.profile.memory().shares().last().copied(),
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

/// The rows that have grown by themselves, in an order that does not jump about.
fn highest_first(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.own_growth.net_bytes() > 0);
    rows.sort_by(|a, b| {
        let key = |row: &Row| Reverse(row.own_growth.net_bytes());
        key(a)
            .cmp(&key(b))
            .then_with(|| (&a.name, &a.filename, a.line).cmp(&(&b.name, &b.filename, b.line)))
    });
    rows.truncate(MAX_ROWS);
    rows
}

impl Model for MemoryState {
    type Seen = MemorySeen;

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

    fn tick(&mut self) -> MemorySeen {
        self.samples_now = 0;
        self.seen()
    }

    fn reset(&mut self) {
        // It is being recorded: what a key forgets would be missing in the file.
    }
}
