//! [`GrowthTimeline`]: which functions made RSS grow, and when, in bounded space.

use std::collections::HashMap;
use std::time::Duration;

use crate::profile::tables::ids::LabelId;

/// Most buckets of time.
pub const MAX_BUCKETS: u32 = 600;
/// Initial width of a bucket: [`MAX_BUCKETS`] of them cover six seconds, then the width doubles.
pub const FIRST_WIDTH: Duration = Duration::from_millis(10);
/// Least growth for which a function is shown: the kernel's page count of a process may be off by some
/// 256 KiB per CPU, though seldom by more than a little.
pub const LEAST_BYTES: u64 = 64 << 10;
/// Most pairs of function and bucket: 1 MiB.
const MAX_CELLS: usize = 1 << 16;

/// Bytes grown by leaf function and bucket of time. When the recording outgrows the buckets, neighbours
/// are joined and all become twice as wide. When there are too many cells, the functions that grew least
/// are joined in one row of others, so that the sum is preserved.
#[derive(Debug)]
pub struct GrowthTimeline {
    width: Duration,
    rows: HashMap<LabelId, Row>,
    others: Row,
    cells: usize,
    max_cells: usize,
}

/// Growth of one label, or of all others.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub grown_bytes: u64,
    /// Bucket and bytes, ordered by bucket.
    pub cells: Vec<(u32, u64)>,
}

impl Row {
    /// Adds to a bucket; returns the number of new cells (0 or 1).
    fn add(&mut self, bucket: u32, bytes: u64) -> usize {
        self.grown_bytes = self.grown_bytes.saturating_add(bytes);
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

    /// Adds all cells of another row.
    pub fn add_all(&mut self, other: &Row) {
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

/// By how much a function made RSS grow, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionGrowth {
    /// The function's name, or a marker such as `<GC>`.
    pub name: String,
    /// Its file as stacks show it; `None` for a marker.
    pub file: Option<String>,
    pub grown_bytes: u64,
    /// Growth by bucket, oldest first, without empty buckets.
    pub cells: Vec<GrowthCell>,
}

/// Growth within one bucket of [`GrowthTimeline::width`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowthCell {
    /// Start of the bucket, from the start of the recording.
    pub start: Duration,
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
    /// Adds bytes to the label at the leaf of the stack that grew.
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

    /// Width of a bucket.
    pub fn width(&self) -> Duration {
        self.width
    }

    /// The rows by label, and the row of all other functions.
    pub fn rows(&self) -> (&HashMap<LabelId, Row>, &Row) {
        (&self.rows, &self.others)
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

    /// Retains the rows that grew most, up to half of the cells, and joins the rest.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    fn labels(count: usize) -> Vec<LabelId> {
        (0..count).map(LabelId::from_index).collect()
    }

    fn sum(timeline: &GrowthTimeline) -> u64 {
        let rows: u64 = timeline.rows.values().map(|row| row.grown_bytes).sum();
        rows + timeline.others.grown_bytes
    }

    #[test]
    fn a_day_takes_no_more_buckets_than_a_minute() {
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
        // Each bucket has the growth of its time.
        let width = timeline.width().as_secs_f64();
        let (_, first) = row.cells[0];
        assert!((first as f64 / 2.0 - width).abs() <= 1.0, "{first} {width}");
    }

    #[test]
    fn growth_reported_late_goes_to_its_time() {
        let leaf = labels(1)[0];
        let mut timeline = GrowthTimeline::default();
        for ms in [5, 45, 25, 26, 44] {
            timeline.add(Duration::from_millis(ms), leaf, 1);
        }
        timeline.add(Duration::from_millis(60), leaf, 0);
        assert_eq!(timeline.rows[&leaf].cells, [(0, 1), (2, 2), (4, 2)]);
    }

    #[test]
    fn too_many_functions_are_joined_and_the_largest_and_the_sum_remain() {
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
}
