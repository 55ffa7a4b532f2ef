//! [`RssSeries`]: resident set size over time, in bounded space.

use std::time::Duration;

/// Most points of a series: no screen is wider. They take 32 KiB.
pub const MAX_POINTS: usize = 1_024;

/// The highest and the lowest reading of successive ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RssPoint {
    /// Time from the start of the recording to the first of these ticks.
    pub elapsed: Duration,
    /// The highest RSS of all processes together, in bytes.
    pub rss_bytes: u64,
    /// The lowest, in bytes.
    pub low_bytes: u64,
}

/// RSS over the ticks: exact first, last and peak values, and a curve of at most [`MAX_POINTS`] points.
/// When the curve is full, neighbours are joined and each point stands for twice as many ticks. A point
/// has the highest and the lowest reading, so no peak and no trough is lost.
#[derive(Debug)]
pub struct RssSeries {
    points: Vec<RssPoint>,
    ticks_per_point: u64,
    /// Ticks in the last point so far.
    ticks_in_last: u64,
    first: Option<u64>,
    last: Option<u64>,
    peak: Option<u64>,
    last_elapsed: Duration,
    has_ended: bool,
}

impl Default for RssSeries {
    fn default() -> Self {
        RssSeries {
            points: Vec::new(),
            ticks_per_point: 1,
            ticks_in_last: 0,
            first: None,
            last: None,
            peak: None,
            last_elapsed: Duration::ZERO,
            has_ended: false,
        }
    }
}

impl RssSeries {
    /// Adds one tick's reading.
    pub fn add(&mut self, elapsed: Duration, rss_bytes: u64) {
        self.first.get_or_insert(rss_bytes);
        self.last = Some(rss_bytes);
        self.peak = self.peak.max(Some(rss_bytes));
        self.last_elapsed = elapsed;
        if self.ticks_in_last < self.ticks_per_point
            && let Some(point) = self.points.last_mut()
        {
            point.rss_bytes = point.rss_bytes.max(rss_bytes);
            point.low_bytes = point.low_bytes.min(rss_bytes);
            self.ticks_in_last += 1;
            return;
        }
        if self.points.len() >= MAX_POINTS {
            self.halve();
        }
        self.points.push(RssPoint {
            elapsed,
            rss_bytes,
            low_bytes: rss_bytes,
        });
        self.ticks_in_last = 1;
    }

    fn halve(&mut self) {
        let joined = self.points.chunks(2).filter_map(|pair| {
            Some(RssPoint {
                elapsed: pair.first()?.elapsed,
                rss_bytes: pair.iter().map(|point| point.rss_bytes).max()?,
                low_bytes: pair.iter().map(|point| point.low_bytes).min()?,
            })
        });
        self.points = joined.collect();
        self.ticks_per_point = self.ticks_per_point.saturating_mul(2);
    }

    /// The first reading, in bytes.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// The last reading, in bytes.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// The highest reading, in bytes.
    pub fn peak(&self) -> Option<u64> {
        self.peak
    }

    /// Time from the start of the recording to the last reading.
    pub fn last_elapsed(&self) -> Duration {
        self.last_elapsed
    }

    /// Marks the series as complete because the program has exited: what it freed last, it freed by
    /// exiting.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// Whether [`RssSeries::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The curve, oldest point first.
    pub fn points(&self) -> &[RssPoint] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_last_and_peak_are_exact_and_no_extreme_is_lost() {
        let mut series = RssSeries::default();
        for tick in 0..100_000_u64 {
            let rss = match tick {
                54_321 => 9_000_000,
                12_345 => 7,
                _ => 1_000 + tick,
            };
            series.add(Duration::from_millis(tick * 10), rss);
        }
        assert_eq!(series.first(), Some(1_000));
        assert_eq!(series.last(), Some(100_999));
        assert_eq!(series.peak(), Some(9_000_000));
        assert!(series.points().len() <= MAX_POINTS);
        assert!(series.points().len() > MAX_POINTS / 2);
        assert_eq!(
            series
                .points()
                .iter()
                .filter(|p| p.rss_bytes == 9_000_000)
                .count(),
            1
        );
        let lows = || series.points().iter().map(|point| point.low_bytes);
        assert_eq!(lows().filter(|low| *low == 7).count(), 1);
        assert!(lows().skip(512).all(|low| low > 10_000));
        assert_eq!(series.last_elapsed(), Duration::from_millis(999_990));
        assert!(series.points().is_sorted_by_key(|p| p.elapsed));
    }

    #[test]
    fn an_empty_series_has_no_values() {
        let series = RssSeries::default();
        assert_eq!(
            (series.first(), series.last(), series.peak()),
            (None, None, None)
        );
        assert!(series.points().is_empty());
    }
}
