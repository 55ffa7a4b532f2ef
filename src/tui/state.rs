//! [`TopState`]: samples counted by function and by line, as the live table shows them.
//!
//! Pure: no clock, no terminal. [`TopState::tick`] closes an interval and hands out a [`Snapshot`]
//! that another thread may sort and draw while sampling goes on.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cpython::{Frame, FrameId, FrameTable, ThreadInfo};
use crate::sampler::Sample;

/// Distinct functions (and, apart, lines) that are counted by name. A program that makes up
/// functions without end is counted in one row from there on.
const MAX_ROWS: usize = 20_000;
/// Frames whose row is remembered (12 bytes each); the row of any other is looked up by name.
const MAX_PLACES: usize = 1 << 20;
/// The name of the row that takes what no longer has its own.
const OTHERS: &str = "(other functions)";

/// The column by which the table is ordered, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Share of the last interval's samples with the function as leaf.
    OwnPercent,
    /// Share of the last interval's samples with the function anywhere on the stack.
    TotalPercent,
    /// Time as leaf since the start or the last reset.
    OwnTime,
    /// Time anywhere on the stack since the start or the last reset.
    TotalTime,
}

/// Which threads the table counts. The header's GIL, Active and Threads always count all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Count threads that wait, too.
    pub idle: bool,
    /// Count only threads that hold the GIL.
    pub gil: bool,
}

impl Filter {
    fn wants(self, thread: &ThreadInfo) -> bool {
        (self.idle || thread.active) && (!self.gil || thread.owns_gil)
    }
}

/// One line of the table. Counts are stacks seen; divide by the rate for seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The function's name, as the target gave it: hostile text.
    pub name: Arc<str>,
    /// Its file; empty for the row that takes the functions beyond the limit.
    pub filename: Arc<str>,
    /// The line, in the table by line.
    pub line: Option<u32>,
    /// Stacks of the last interval that have it as leaf.
    pub own_now: u64,
    /// Stacks of the last interval that hold it, each counted once however deep the recursion.
    pub total_now: u64,
    /// As `own_now`, since the start or the last reset.
    pub own: u64,
    /// As `total_now`, since the start or the last reset.
    pub total: u64,
}

/// What was known at the end of an interval.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Samples since the start or the last reset.
    pub samples: u64,
    /// Samples in the interval.
    pub samples_now: u64,
    /// Ticks that were left out because reading took too long.
    pub missed_ticks: u64,
    /// Reads that failed.
    pub errors: u64,
    /// The last failure's text: may quote the target, so hostile.
    pub last_error: Option<Arc<str>>,
    /// Threads in the last sample.
    pub threads: usize,
    /// Active threads, summed over the interval's samples.
    pub active_now: u64,
    /// GIL holders, summed over the interval's samples.
    pub gil_now: u64,
    /// Resident memory of all processes in the last sample that knew it.
    pub rss_bytes: Option<u64>,
    /// The highest `rss_bytes` since the start or the last reset.
    pub rss_peak_bytes: Option<u64>,
    /// A row for every function.
    pub functions: Vec<Row>,
    /// A row for every line.
    pub lines: Vec<Row>,
}

impl Snapshot {
    /// `count` as a percentage of the interval's samples. Above 100 when several threads run.
    pub fn percent(&self, count: u64) -> f64 {
        if self.samples_now == 0 {
            return 0.0;
        }
        100.0 * count as f64 / self.samples_now as f64
    }

    /// The rows, highest in `column` first; equal ones in an order that does not jump about.
    pub fn sorted(&self, by_line: bool, column: Column) -> Vec<&Row> {
        let rows = if by_line {
            &self.lines
        } else {
            &self.functions
        };
        let mut rows: Vec<&Row> = rows.iter().collect();
        let key = |row: &Row| {
            let chosen = match column {
                Column::OwnPercent => row.own_now,
                Column::TotalPercent => row.total_now,
                Column::OwnTime => row.own,
                Column::TotalTime => row.total,
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

/// Counts samples for the live table. Its memory grows with the functions seen, up to a limit, and
/// never with time.
#[derive(Debug)]
pub struct TopState {
    filter: Filter,
    full_filenames: bool,
    functions: Rows,
    lines: Rows,
    /// By [`FrameId::index`]: where in `functions` and `lines` the frame is counted.
    places: Vec<Option<(u32, u32)>>,
    /// Number of the stack that is being counted.
    stack: u64,
    /// Everything of the running interval but the rows.
    header: Snapshot,
}

impl TopState {
    /// Nothing counted yet. With `full_filenames`, files are told apart and shown by `co_filename`.
    pub fn new(filter: Filter, full_filenames: bool) -> Self {
        Self {
            filter,
            full_filenames,
            functions: Rows::default(),
            lines: Rows::default(),
            places: Vec::new(),
            stack: 0,
            header: Snapshot::default(),
        }
    }

    /// Counts a sample whose frames are in `frames` (always the same table).
    pub fn add(&mut self, sample: &Sample, frames: &FrameTable) {
        let header = &mut self.header;
        header.samples += 1;
        header.samples_now += 1;
        header.missed_ticks += sample.missed_ticks;
        header.errors += sample.errors.len() as u64;
        if let Some(error) = sample.errors.last() {
            header.last_error = Some(Arc::from(error.as_str()));
        }
        let rss = sample
            .processes
            .iter()
            .filter_map(|process| process.rss_bytes);
        if let Some(rss) = rss.reduce(u64::saturating_add) {
            header.rss_bytes = Some(rss);
            header.rss_peak_bytes = header.rss_peak_bytes.max(Some(rss));
        }
        header.threads = sample
            .processes
            .iter()
            .map(|process| process.traces.len())
            .sum();
        for trace in sample.processes.iter().flat_map(|process| &process.traces) {
            self.header.active_now += u64::from(trace.thread.active);
            self.header.gil_now += u64::from(trace.thread.owns_gil);
            if self.filter.wants(&trace.thread) {
                self.count(&trace.frames, frames);
            }
        }
    }

    fn count(&mut self, stack: &[FrameId], frames: &FrameTable) {
        self.stack += 1;
        for (depth, id) in stack.iter().enumerate() {
            let Some((function, line)) = self.place(*id, frames) else {
                continue;
            };
            self.functions.count(function, self.stack, depth == 0);
            self.lines.count(line, self.stack, depth == 0);
        }
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
    pub fn tick(&mut self) -> Snapshot {
        let snapshot = Snapshot {
            functions: self.functions.close_interval(),
            lines: self.lines.close_interval(),
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

/// Name, file and line: rows that look the same are the same.
type Key = (Arc<str>, Arc<str>, Option<u32>);

/// Rows that are found by name and counted by number.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Counter>,
    by_key: HashMap<Key, u32>,
}

#[derive(Debug)]
struct Counter {
    row: Row,
    /// The last stack that was counted in `total`: a recursive function counts once per stack.
    stack: u64,
}

impl Rows {
    /// The number of the row with this name, made when there is none.
    fn find(&mut self, name: &Arc<str>, filename: &Arc<str>, line: Option<u32>) -> u32 {
        let mut key = (Arc::clone(name), Arc::clone(filename), line);
        if let Some(number) = self.by_key.get(&key) {
            return *number;
        }
        if self.rows.len() >= MAX_ROWS {
            key = (Arc::from(OTHERS), Arc::from(""), None);
            if let Some(number) = self.by_key.get(&key) {
                return *number;
            }
        }
        // At most MAX_ROWS + 1 rows, so the number always fits.
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let (name, filename, line) = key.clone();
        let row = Row {
            name,
            filename,
            line,
            own_now: 0,
            total_now: 0,
            own: 0,
            total: 0,
        };
        self.rows.push(Counter { row, stack: 0 });
        self.by_key.insert(key, number);
        number
    }

    fn count(&mut self, number: u32, stack: u64, leaf: bool) {
        let Some(counter) = self.rows.get_mut(number as usize) else {
            return;
        };
        if leaf {
            counter.row.own_now += 1;
            counter.row.own += 1;
        }
        if counter.stack != stack {
            counter.stack = stack;
            counter.row.total_now += 1;
            counter.row.total += 1;
        }
    }

    fn close_interval(&mut self) -> Vec<Row> {
        let closed = self
            .rows
            .iter()
            .map(|counter| counter.row.clone())
            .collect();
        for counter in &mut self.rows {
            counter.row.own_now = 0;
            counter.row.total_now = 0;
        }
        closed
    }
}
