//! [`TopState`]: counts samples by function and by line.
//!
//! Pure: no clock, no terminal. [`TopState::tick`] ends an interval and returns a [`TopSnapshot`], which
//! another thread sorts and draws while sampling continues.

use std::sync::Arc;
use std::time::Duration;

use crate::cpython::code::frame_table::FrameTable;
use crate::profile::Profile;
use crate::profile::options::ProfileOptions;
use crate::sampler::sample::Sample;
use crate::tui::model::{Column, Model, SampleSource};
use crate::tui::rows::counter::{RowCounter, Rows};
use crate::tui::rows::row::Row;

/// State at the end of an interval.
#[derive(Clone, Debug, Default)]
pub struct TopSnapshot {
    /// Samples since the start or the last reset.
    pub samples: u64,
    /// Samples in the interval.
    pub samples_now: u64,
    /// The count of a row that is 100 %: samples in the interval or, with `--cpu`, nanoseconds.
    pub whole_now: u64,
    /// Ticks that were missed because sampling took too long.
    pub missed_ticks: u64,
    /// Failed reads, including torn stacks.
    pub errors: u64,
    /// Stacks that changed while they were read.
    pub torn: u64,
    /// Text of the last error: may contain hostile text from the target.
    pub last_error: Option<Arc<str>>,
    /// The last of [`Sample::notices`].
    pub notice: Option<Arc<str>>,
    /// Threads in the last sample.
    pub threads: usize,
    /// Processes in the last sample.
    pub processes: usize,
    /// Active threads, summed over the samples of the interval.
    pub active_now: u64,
    /// Threads with the GIL, summed over the samples of the interval.
    pub gil_now: u64,
    /// RSS of all processes in the last sample that has it.
    pub rss_bytes: Option<u64>,
    /// The first `rss_bytes` since the start or the last reset.
    pub rss_first_bytes: Option<u64>,
    /// The highest `rss_bytes` since the start or the last reset.
    pub rss_peak_bytes: Option<u64>,
    /// `rss_bytes` since the start or the last reset, oldest first, at regular intervals.
    pub rss_curve: Vec<u64>,
    /// One row per function.
    pub functions: Vec<Row>,
    /// One row per line.
    pub lines: Vec<Row>,
}

impl TopSnapshot {
    /// `count` as a percentage of the interval's samples. Can be above 100 with several threads.
    pub fn percent(&self, count: u64) -> f64 {
        percentage(count, self.samples_now)
    }

    /// The count of a row as a percentage of the interval. Can be above 100 with several threads.
    pub fn row_percent(&self, count: u64) -> f64 {
        percentage(count, self.whole_now)
    }

    /// The rows, greatest in `column` first; equal ones in a stable order.
    pub fn sorted(&self, by_line: bool, column: Column) -> Vec<&Row> {
        let rows = if by_line {
            &self.lines
        } else {
            &self.functions
        };
        let mut rows: Vec<&Row> = rows.iter().collect();
        let key = |row: &Row| {
            let chosen = match column {
                Column::OwnPercent => i128::from(row.own_now),
                Column::TotalPercent => i128::from(row.total_now),
                Column::OwnTime => i128::from(row.own),
                Column::TotalTime => i128::from(row.total),
                Column::Kept => i128::from(row.own_kept),
                Column::Added => i128::from(row.own_growth.grown_bytes),
                Column::Freed => i128::from(row.own_growth.released_bytes),
            };
            (chosen, row.own_now, row.own, row.total)
        };
        rows.sort_by(|a, b| {
            key(b)
                .cmp(&key(a))
                .then_with(|| (&a.name, &a.filename, a.line).cmp(&(&b.name, &b.filename, b.line)))
        });
        rows
    }
}

fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

/// Counts samples for the live table. Its memory is limited as that of a [`Profile`].
#[derive(Debug)]
pub struct TopState {
    profile: Profile,
    counter: RowCounter,
    /// Start of the interval, as time since the start of sampling.
    interval_start: Option<Duration>,
    /// Sums of the current interval; all else is filled in by [`TopState::tick`].
    interval: TopSnapshot,
}

impl TopState {
    /// Nothing counted. The header's GIL, Active and Threads always count all threads, whatever the options
    /// select for the table.
    pub fn new(options: ProfileOptions) -> Self {
        Self {
            profile: Profile::new(options),
            counter: RowCounter::default(),
            interval_start: None,
            interval: TopSnapshot::default(),
        }
    }

    /// Counts a sample whose frames are in `frames` (always the same table).
    pub fn add(&mut self, sample: &Sample, frames: &FrameTable) {
        self.profile.add(sample, frames, &|_| None);
        if sample.is_remainder {
            return;
        }
        self.interval_start.get_or_insert(sample.elapsed);
        let interval = &mut self.interval;
        interval.samples_now += 1;
        if let Some(error) = sample.errors.last() {
            interval.last_error = Some(Arc::from(error.as_str()));
        }
        if let Some(notice) = sample.notices.last() {
            interval.notice = Some(Arc::from(notice.as_str()));
        }
        interval.threads = usize::try_from(sample.idle).unwrap_or(usize::MAX);
        interval.processes = sample.processes.len();
        interval.gil_now += sample.idle_gils;
        for process in &sample.processes {
            interval.threads += process.traces.len();
            for trace in &process.traces {
                interval.active_now += u64::from(trace.thread.active);
                interval.gil_now += u64::from(trace.thread.owns_gil);
            }
        }
    }

    /// Number of samples in the current interval.
    pub fn samples_now(&self) -> u64 {
        self.interval.samples_now
    }

    /// Ends the interval and starts a new one.
    pub fn tick(&mut self) -> TopSnapshot {
        let end = self.profile.last_elapsed();
        let start = self.interval_start.unwrap_or(end);
        let whole_now = if self.profile.options().weights.time.is_some() {
            u64::try_from(end.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX)
        } else {
            self.interval.samples_now
        };
        self.interval_start = self.interval_start.map(|_| end);
        let Rows { functions, lines } = self.counter.rows(&self.profile);
        let (counts, rss) = (self.profile.counts(), self.profile.rss());
        let snapshot = TopSnapshot {
            samples: counts.ticks,
            whole_now,
            missed_ticks: counts.missed_ticks,
            errors: counts.errors.saturating_add(counts.torn),
            torn: counts.torn,
            rss_bytes: rss.last(),
            rss_first_bytes: rss.first(),
            rss_peak_bytes: rss.peak(),
            rss_curve: rss.points().iter().map(|point| point.rss_bytes).collect(),
            functions,
            lines,
            ..self.interval.clone()
        };
        self.interval.samples_now = 0;
        self.interval.active_now = 0;
        self.interval.gil_now = 0;
        snapshot
    }

    /// Discards all counts.
    pub fn reset(&mut self) {
        *self = Self::new(self.profile.options().clone());
    }
}

impl Model for TopState {
    type Snapshot = TopSnapshot;

    fn add(&mut self, sample: &Sample, source: &impl SampleSource) {
        TopState::add(self, sample, source.frames());
    }

    fn samples_now(&self) -> u64 {
        TopState::samples_now(self)
    }

    fn tick(&mut self) -> TopSnapshot {
        TopState::tick(self)
    }

    fn reset(&mut self) {
        TopState::reset(self);
    }
}

#[cfg(test)]
mod tests;
