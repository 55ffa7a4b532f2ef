//! [`Histogram`]: how durations are spread, in constant memory.
//!
//! Durations are counted in buckets whose width grows with the duration: each power of two of
//! nanoseconds is cut into 16. So a quantile is at most 1/32 (3.1 %) off, whether it is a microsecond or
//! an hour, and all of it takes 8 KiB.

use std::time::Duration;

/// Buckets per power of two, as a power of two.
const FINENESS: u32 = 4;
/// Buckets for the 64 powers of two of a `u64`. The first 16 nanoseconds have a bucket each.
const BUCKETS: usize = (64 - FINENESS as usize + 1) << FINENESS;

/// Counted durations; see the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket; empty until there is something to count.
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.max = self.max.max(duration);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest one, exactly; `None` when there was none.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.max)
    }

    /// The median, at most 3.1 % off; `None` when there was none.
    pub fn median(&self) -> Option<Duration> {
        self.quantile(0.5)
    }

    /// The 99th percentile, at most 3.1 % off; `None` when there was none.
    pub fn p99(&self) -> Option<Duration> {
        self.quantile(0.99)
    }

    /// The duration that a share (0 to 1) of those counted does not exceed.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        found.map(|bucket| Duration::from_nanos(middle(bucket)).min(self.max))
    }
}

/// Which bucket a number of nanoseconds is counted in.
fn bucket(ns: u64) -> usize {
    let Some(above) = ns.checked_ilog2().and_then(|log| log.checked_sub(FINENESS)) else {
        return ns as usize;
    };
    // The highest bit and the four below it: 16 to 31.
    let mantissa = (ns >> above) as usize;
    ((above as usize) << FINENESS) + mantissa
}

/// The middle of a bucket, in nanoseconds.
fn middle(bucket: usize) -> u64 {
    let above = (bucket >> FINENESS).saturating_sub(1);
    let mantissa = (bucket - (above << FINENESS)) as u64;
    (mantissa << above) + ((1 << above) >> 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn every_duration_is_in_a_bucket_whose_middle_is_near() {
        let mut last = 0;
        for power in 0..64 {
            for part in 0..1000_u64 {
                let ns = ((1_u128 << power) + (1_u128 << power) * u128::from(part) / 1000) as u64;
                let bucket = bucket(ns);
                assert!(bucket < BUCKETS && bucket >= last, "{ns} is in {bucket}");
                last = bucket;
                let error = middle(bucket).abs_diff(ns) as f64 / ns as f64;
                assert!(error <= 1.0 / 32.0, "{ns} is taken for {}", middle(bucket));
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_durations() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.median(), histogram.max()), (None, None));
        // 1,000 µs down to 1 µs.
        (1..=1_000)
            .rev()
            .for_each(|us| histogram.record(Duration::from_micros(us)));
        let near = |found: Option<Duration>, us: f64| {
            let found = found.unwrap().as_secs_f64() * 1e6;
            assert!(
                (found / us - 1.0).abs() <= 1.0 / 31.0,
                "{found} is not {us}"
            );
        };
        near(histogram.median(), 500.0);
        near(histogram.p99(), 990.0);
        near(histogram.quantile(0.0), 1.0);
        near(histogram.quantile(1.0), 1_000.0);
        assert_eq!(histogram.max(), Some(Duration::from_millis(1)));
        assert_eq!(histogram.count(), 1_000);
        assert_eq!(histogram.counts.len() * 8, 7_808, "bytes");
    }

    #[test]
    fn one_duration_is_all_quantiles() {
        for duration in [Duration::ZERO, Duration::from_nanos(7), Duration::MAX] {
            let mut histogram = Histogram::default();
            histogram.record(duration);
            assert_eq!(histogram.max(), Some(duration));
            assert!(histogram.p99().unwrap() <= duration);
            assert_eq!(histogram.median(), histogram.p99());
        }
    }
}
