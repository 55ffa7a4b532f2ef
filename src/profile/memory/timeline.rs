//! [`GrowthTimeline`]: which functions made the resident memory grow, and when, in bounded space.

use std::collections::HashMap;
use std::time::Duration;

use crate::profile::Profile;
use crate::profile::tables::labels::{Label, LabelId};

/// Most stretches of time that are told apart.
pub const MAX_BUCKETS: u32 = 600;
/// How long a stretch is at first: six seconds fit in before it doubles.
const FIRST_WIDTH: Duration = Duration::from_millis(10);
/// What a function must have grown to be worth a word of its own: the kernel's count of a process's
/// pages is off by some 256 KiB for each CPU, though seldom by more than a little.
pub const LEAST_BYTES: u64 = 64 << 10;
/// Most pairs of function and stretch that are kept: 1 MiB.
const MAX_CELLS: usize = 1 << 16;

/// Bytes grown by leaf function and stretch of time. When the time is longer than the stretches
/// reach, neighbours are joined and all become twice as wide. When there are too many cells, the
/// functions that have grown least go into one row of others, so that the sum stays what it was.
#[derive(Debug)]
pub struct GrowthTimeline {
    width: Duration,
    rows: HashMap<LabelId, Row>,
    others: Row,
    cells: usize,
    max_cells: usize,
}

/// What one label, or all the others, grew by.
#[derive(Clone, Debug, Default)]
struct Row {
    grown_bytes: u64,
    /// Bucket and bytes, in order of time.
    cells: Vec<(u32, u64)>,
}

impl Row {
    /// Adds to a bucket; the number of cells that are new (0 or 1).
    fn add(&mut self, bucket: u32, bytes: u64) -> usize {
        self.grown_bytes = self.grown_bytes.saturating_add(bytes);
        // Mostly the last one, or one behind it.
        match self.cells.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(at) => {
                if let Some((_, sum)) = self.cells.get_mut(at) {
                    *sum = sum.saturating_add(bytes);
                }
                0
            }
            Err(at) => {
                self.cells.insert(at, (bucket, bytes));
                1
            }
        }
    }

    fn add_all(&mut self, other: &Row) {
        for (bucket, bytes) in &other.cells {
            self.add(*bucket, *bytes);
        }
    }

    fn halve(&mut self) {
        let mut joined: Vec<(u32, u64)> = Vec::with_capacity(self.cells.len());
        for (bucket, bytes) in &self.cells {
            match joined.last_mut() {
                Some((last, sum)) if *last == bucket / 2 => *sum = sum.saturating_add(*bytes),
                _ => joined.push((bucket / 2, *bytes)),
            }
        }
        self.cells = joined;
    }
}

/// When a function made the resident memory grow, and by how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionGrowth {
    /// The function's name, or that of what is none, such as `<GC>`.
    pub name: String,
    /// Its file, as stacks show it; `None` for what is no function.
    pub file: Option<String>,
    /// Bytes grown in all.
    pub grown_bytes: u64,
    /// Bytes grown by stretch of time, the oldest first, without those that have none.
    pub cells: Vec<GrowthCell>,
}

/// Growth within a stretch of time of [`GrowthTimeline::width`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowthCell {
    /// Time from the start of the recording to the start of the stretch.
    pub start: Duration,
    /// Bytes grown in it.
    pub grown_bytes: u64,
}

impl Default for GrowthTimeline {
    fn default() -> Self {
        GrowthTimeline {
            width: FIRST_WIDTH,
            rows: HashMap::new(),
            others: Row::default(),
            cells: 0,
            max_cells: MAX_CELLS,
        }
    }
}

impl GrowthTimeline {
    /// Lays bytes that were grown at a time on the label at the leaf of the stack that grew them.
    pub fn add(&mut self, elapsed: Duration, leaf: LabelId, grown_bytes: u64) {
        if grown_bytes == 0 {
            return;
        }
        let bucket = self.bucket(elapsed);
        self.cells += self.rows.entry(leaf).or_default().add(bucket, grown_bytes);
        if self.cells > self.max_cells {
            self.fold();
        }
    }

    /// How long each stretch of time is.
    pub fn width(&self) -> Duration {
        self.width
    }

    fn bucket(&mut self, elapsed: Duration) -> u32 {
        loop {
            let bucket = elapsed.as_nanos() / self.width.as_nanos().max(1);
            match u32::try_from(bucket) {
                Ok(bucket) if bucket < MAX_BUCKETS => return bucket,
                _ => self.halve(),
            }
        }
    }

    fn halve(&mut self) {
        self.width = self.width.saturating_mul(2);
        self.others.halve();
        self.rows.values_mut().for_each(Row::halve);
        self.cells = self.rows.values().map(|row| row.cells.len()).sum();
    }

    /// Keeps the rows that grew most, as many as fill half of the room, and joins the rest.
    fn fold(&mut self) {
        let mut rows: Vec<(LabelId, Row)> = self.rows.drain().collect();
        rows.sort_by(|(a_label, a), (b_label, b)| {
            (b.grown_bytes, a_label.index()).cmp(&(a.grown_bytes, b_label.index()))
        });
        self.cells = 0;
        for (label, row) in rows {
            if self.cells + row.cells.len() <= self.max_cells / 2 {
                self.cells += row.cells.len();
                self.rows.insert(label, row);
            } else {
                self.others.add_all(&row);
            }
        }
    }
}

/// What a row of several functions is called.
const OTHERS: &str = "<other functions>";

impl Profile {
    /// Lays what stacks were given since the last time on the functions at their leaves, at the time
    /// of the last tick.
    pub(crate) fn date_growth(&mut self) {
        for (stack, bytes) in self.growth.take_news() {
            if let Some(leaf) = self.stacks.label(stack) {
                self.growth_timeline.add(self.last_elapsed, leaf, bytes);
            }
        }
    }

    /// The functions that made the resident memory grow, those that grew it most first: each line of
    /// a function counts for the function. Only the leaf of a stack counts. Empty unless memory was
    /// sampled.
    pub fn growth_by_function(&self) -> Vec<FunctionGrowth> {
        let timeline = self.growth_timeline();
        let mut by_function: HashMap<(String, Option<String>), Row> = HashMap::new();
        for (label, row) in &timeline.rows {
            let key = (self.name(*label).into_owned(), self.shown_file(*label));
            by_function.entry(key).or_default().add_all(row);
        }
        if timeline.others.grown_bytes > 0 {
            by_function.insert((OTHERS.to_owned(), None), timeline.others.clone());
        }
        let mut functions: Vec<FunctionGrowth> = by_function
            .into_iter()
            .map(|((name, file), row)| FunctionGrowth {
                name,
                file,
                grown_bytes: row.grown_bytes,
                cells: row
                    .cells
                    .into_iter()
                    .map(|(bucket, grown_bytes)| GrowthCell {
                        start: timeline.width.saturating_mul(bucket),
                        grown_bytes,
                    })
                    .collect(),
            })
            .collect();
        functions.sort_by(|a, b| {
            let by_growth = b.grown_bytes.cmp(&a.grown_bytes);
            by_growth.then_with(|| (&a.name, &a.file).cmp(&(&b.name, &b.file)))
        });
        functions
    }

    fn shown_file(&self, id: LabelId) -> Option<String> {
        match self.labels().get(id) {
            Some(Label::Python { shown_file, .. }) => Some(self.string(shown_file).to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::profile::options::ProfileOptions;
    use crate::profile::tables::labels::LabelTable;

    fn labels(count: u32) -> Vec<LabelId> {
        let mut table = LabelTable::default();
        let mut strings = crate::profile::tables::strings::StringTable::default();
        let text = strings.intern("f").unwrap_or_else(|| unreachable!());
        (0..count)
            .map(|line| {
                table.intern(Label::Python {
                    name: text,
                    shown_file: text,
                    file: text,
                    line: Some(line + 1),
                    first_line: None,
                })
            })
            .collect()
    }

    fn sum(timeline: &GrowthTimeline) -> u64 {
        let rows: u64 = timeline.rows.values().map(|row| row.grown_bytes).sum();
        rows + timeline.others.grown_bytes
    }

    #[test]
    fn a_long_time_is_kept_in_as_many_stretches_as_a_short_one() {
        let leaf = labels(1)[0];
        let mut timeline = GrowthTimeline::default();
        for second in 0..86_400_u64 {
            timeline.add(Duration::from_secs(second), leaf, 2);
        }
        let row = &timeline.rows[&leaf];
        assert_eq!(row.grown_bytes, 172_800);
        assert_eq!(
            row.cells.iter().map(|(_, bytes)| bytes).sum::<u64>(),
            172_800
        );
        assert!(row.cells.len() <= MAX_BUCKETS as usize);
        assert!(row.cells.len() > MAX_BUCKETS as usize / 2);
        assert!(row.cells.is_sorted_by_key(|(bucket, _)| *bucket));
        assert_eq!(timeline.cells, row.cells.len());
        // Each stretch has what belongs to it.
        let width = timeline.width().as_secs_f64();
        let (_, first) = row.cells[0];
        assert!((first as f64 / 2.0 - width).abs() <= 1.0, "{first} {width}");
    }

    #[test]
    fn growth_that_is_told_late_goes_to_its_time() {
        let leaf = labels(1)[0];
        let mut timeline = GrowthTimeline::default();
        for ms in [5, 45, 25, 26, 44] {
            timeline.add(Duration::from_millis(ms), leaf, 1);
        }
        timeline.add(Duration::from_millis(60), leaf, 0);
        assert_eq!(timeline.rows[&leaf].cells, [(0, 1), (2, 2), (4, 2)]);
    }

    #[test]
    fn of_too_many_functions_the_large_ones_stay_and_the_sum_too() {
        let leaves = labels(100);
        let mut timeline = GrowthTimeline {
            max_cells: 64,
            ..GrowthTimeline::default()
        };
        let mut added = 0;
        for round in 0..40_u64 {
            for (at, leaf) in leaves.iter().enumerate() {
                let bytes = if at == 7 { 1_000 } else { 1 };
                timeline.add(Duration::from_millis(round), *leaf, bytes);
                added += bytes;
            }
            assert!(timeline.cells <= 64);
        }
        assert_eq!(sum(&timeline), added);
        assert_eq!(timeline.rows[&leaves[7]].grown_bytes, 40_000);
        assert!(timeline.others.cells.len() <= MAX_BUCKETS as usize);
    }

    #[test]
    fn lines_of_a_function_are_one_row() {
        let mut profile = Profile::new(ProfileOptions::default());
        let name = profile.strings.intern("load");
        let file = profile.strings.intern("app.py");
        let (Some(name), Some(file)) = (name, file) else {
            unreachable!()
        };
        let mut label = |line| {
            profile.labels.intern(Label::Python {
                name,
                shown_file: file,
                file,
                line: Some(line),
                first_line: None,
            })
        };
        let (first, second) = (label(3), label(4));
        let collection = profile.labels.intern(Label::Collection);
        let growth = &mut profile.growth_timeline;
        growth.add(Duration::from_millis(1), first, 10);
        growth.add(Duration::from_millis(2), second, 20);
        growth.add(Duration::from_millis(31), second, 5);
        growth.add(Duration::from_millis(31), collection, 70);
        let cell = |ms, grown_bytes| GrowthCell {
            start: Duration::from_millis(ms),
            grown_bytes,
        };
        assert_eq!(
            profile.growth_by_function(),
            [
                FunctionGrowth {
                    name: "<GC>".to_owned(),
                    file: None,
                    grown_bytes: 70,
                    cells: vec![cell(30, 70)],
                },
                FunctionGrowth {
                    name: "load".to_owned(),
                    file: Some("app.py".to_owned()),
                    grown_bytes: 35,
                    cells: vec![cell(0, 30), cell(30, 5)],
                },
            ]
        );
    }
}
