//! [`TopState`]: counts samples by function and by line.
//!
//! Pure: no clock, no terminal. [`TopState::tick`] ends an interval and returns a [`TopSnapshot`], which
//! another thread sorts and draws while sampling continues.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cpython::code::frame_table::{Frame, FrameId, FrameTable};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::os::{Pid, Tid};
use crate::profile::deferred_cpu::DeferredCpuTime;
use crate::sampler::sample::Sample;
use crate::tui::model::{Column, Model, SampleSource};
use crate::tui::rows::counter::Rows;
use crate::tui::rows::growth::FunctionGrowth;
use crate::tui::rows::row::Row;

/// Frames whose row is remembered (12 bytes each); the row of any other is looked up by name.
const MAX_PLACES: usize = 1 << 20;
/// The name of the row for garbage collections.
const COLLECTION: &str = "<GC>";

/// Which threads and what time the table counts. The header's GIL, Active and Threads always count all
/// threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Include idle threads.
    pub idle: bool,
    /// Only threads that hold the GIL.
    pub gil: bool,
    /// Count on-CPU nanoseconds instead of samples; see `profile/ingest.rs` for the combinations.
    pub cpu: bool,
    /// Count garbage collections as the function `<GC>`, called where they started.
    pub collections: bool,
}

impl Filter {
    fn wants(self, thread: &ThreadInfo) -> bool {
        (self.idle || thread.active) && (!self.gil || thread.owns_gil)
    }
}

/// State at the end of an interval.
#[derive(Clone, Debug, Default)]
pub struct TopSnapshot {
    /// Samples since the start or the last reset.
    pub samples: u64,
    /// Samples in the interval.
    pub samples_now: u64,
    /// The count of a row that is 100 %: samples in the interval or, with [`Filter::cpu`], nanoseconds.
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
                Column::OwnGrowth => i128::from(row.own_growth.net_bytes()),
                Column::TotalGrowth => i128::from(row.total_growth.net_bytes()),
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

/// Counts samples for the live table. Its memory grows with the functions seen, up to a limit, and
/// never with time.
#[derive(Debug)]
pub struct TopState {
    filter: Filter,
    full_filenames: bool,
    functions: Rows,
    lines: Rows,
    growth: FunctionGrowth,
    /// By [`FrameId::index`]: where in `functions` and `lines` the frame is counted.
    places: Vec<Option<(u32, u32)>>,
    /// Number of the stack that is being counted.
    stack: u64,
    /// By thread, the time that waits for a stack, and the last sample that showed the thread.
    pending: HashMap<(Pid, Option<Tid>, u64), (DeferredCpuTime, u64)>,
    /// Time of the interval's start and of the last sample, from the start of sampling.
    interval: Option<(Duration, Duration)>,
    /// Everything of the running interval but the rows.
    header: TopSnapshot,
}

impl TopState {
    /// Nothing counted yet. With `full_filenames`, files are told apart and shown by `co_filename`.
    pub fn new(filter: Filter, full_filenames: bool) -> Self {
        Self {
            filter,
            full_filenames,
            functions: Rows::default(),
            lines: Rows::default(),
            growth: FunctionGrowth::new(filter, full_filenames),
            places: Vec::new(),
            stack: 0,
            pending: HashMap::new(),
            interval: None,
            header: TopSnapshot::default(),
        }
    }

    /// Counts a sample whose frames are in `frames` (always the same table).
    pub fn add(&mut self, sample: &Sample, frames: &FrameTable) {
        let header = &mut self.header;
        header.samples += 1;
        header.samples_now += 1;
        header.missed_ticks += sample.missed_ticks;
        header.errors += sample.errors.len() as u64 + sample.torn;
        header.torn += sample.torn;
        let begin = self.interval.map_or(sample.elapsed, |(begin, _)| begin);
        self.interval = Some((begin, sample.elapsed));
        if let Some(error) = sample.errors.last() {
            header.last_error = Some(Arc::from(error.as_str()));
        }
        if let Some(notice) = sample.notices.last() {
            header.notice = Some(Arc::from(notice.as_str()));
        }
        let rss = sample
            .processes
            .iter()
            .filter_map(|process| process.rss_bytes);
        if let Some(rss) = rss.reduce(u64::saturating_add) {
            header.rss_bytes = Some(rss);
        }
        self.growth.add(sample, frames);
        header.threads = sample
            .processes
            .iter()
            .map(|process| process.traces.len())
            .sum();
        for process in &sample.processes {
            for trace in &process.traces {
                let thread = &trace.thread;
                self.header.active_now += u64::from(thread.active);
                self.header.gil_now += u64::from(thread.owns_gil);
                let weight = if self.filter.cpu {
                    self.cpu_time(process.pid, thread)
                } else {
                    1
                };
                if self.filter.wants(thread) {
                    self.count(trace, weight, frames);
                }
            }
        }
    }

    /// The nanoseconds that this sight of a thread stands for.
    fn cpu_time(&mut self, pid: Pid, thread: &ThreadInfo) -> u64 {
        let key = (pid, thread.os_thread_id, thread.pthread_id);
        let (pending, last_sample) = self.pending.entry(key).or_default();
        *last_sample = self.header.samples;
        pending.take(thread).unwrap_or_default()
    }

    fn count(&mut self, trace: &StackTrace, weight: u64, frames: &FrameTable) {
        self.stack += 1;
        let collects = self.filter.collections && trace.thread.collecting;
        if collects && !trace.frames.is_empty() {
            let (name, no_file) = (Arc::from(COLLECTION), Arc::from(""));
            let place = (
                self.functions.find(&name, &no_file, None),
                self.lines.find(&name, &no_file, None),
            );
            self.count_at(place, weight, true);
        }
        for (depth, id) in trace.frames.iter().enumerate() {
            if let Some(place) = self.place(*id, frames) {
                self.count_at(place, weight, depth == 0 && !collects);
            }
        }
    }

    fn count_at(&mut self, (function, line): (u32, u32), weight: u64, leaf: bool) {
        self.functions.count(function, self.stack, weight, leaf);
        self.lines.count(line, self.stack, weight, leaf);
    }

    /// Where the frame is counted; `None` for an id that is not of this table.
    fn place(&mut self, id: FrameId, frames: &FrameTable) -> Option<(u32, u32)> {
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

    /// Samples of the running interval.
    pub fn samples_now(&self) -> u64 {
        self.header.samples_now
    }

    /// Ends the interval: what it saw, and a new one begins.
    pub fn tick(&mut self) -> TopSnapshot {
        let (begin, end) = self.interval.unwrap_or_default();
        self.header.whole_now = if self.filter.cpu {
            u64::try_from(end.saturating_sub(begin).as_nanos()).unwrap_or(u64::MAX)
        } else {
            self.header.samples_now
        };
        self.interval = self.interval.map(|_| (end, end));
        let first = self.header.samples - self.header.samples_now;
        // What a thread has left when it ends is lost here: there is no end to come for it.
        if self.header.samples_now > 0 {
            self.pending.retain(|_, (_, last)| *last > first);
        }
        let mut functions = self.functions.close_interval();
        let mut lines = self.lines.close_interval();
        self.growth.fill_in(&mut functions, &mut lines);
        let rss = self.growth.rss();
        let snapshot = TopSnapshot {
            functions,
            lines,
            rss_first_bytes: rss.first(),
            rss_peak_bytes: rss.peak(),
            rss_curve: rss.points().iter().map(|point| point.rss_bytes).collect(),
            ..self.header.clone()
        };
        self.header.samples_now = 0;
        self.header.active_now = 0;
        self.header.gil_now = 0;
        snapshot
    }

    /// Forgets everything counted so far.
    pub fn reset(&mut self) {
        *self = Self::new(self.filter, self.full_filenames);
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
