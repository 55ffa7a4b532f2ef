//! [`Histogram`]: the distribution of durations, in constant memory.

use std::time::Duration;

use hdrhistogram::Histogram as Buckets;

/// Precision of the quantiles in decimal digits: at most 1 % off, in at most 56 KiB.
const SIGNIFICANT_DIGITS: u8 = 2;
/// Longest duration that the buckets cover, in nanoseconds: the limit of the crate.
const MAX_NS: u64 = i64::MAX as u64 / 2;

/// Counted durations.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Durations in nanoseconds. Never `None`: that would take more than 5 significant digits.
    buckets: Option<Buckets<u64>>,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: Buckets::new(SIGNIFICANT_DIGITS).ok(),
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(buckets) = &mut self.buckets {
            // Fails only for values above the limit.
            let _ = buckets.record(ns.min(MAX_NS));
        }
        self.max = self.max.max(duration);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.as_ref().map_or(0, Buckets::len)
    }

    /// The longest duration, exactly; `None` if there is none.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.max)
    }

    /// The median; `None` if there is no duration.
    pub fn median(&self) -> Option<Duration> {
        self.quantile(0.5)
    }

    /// The 99th percentile; `None` if there is no duration.
    pub fn p99(&self) -> Option<Duration> {
        self.quantile(0.99)
    }

    /// The duration that a share (0 to 1) of all durations does not exceed.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let max = self.max()?;
        let ns = self.buckets.as_ref()?.value_at_quantile(share);
        Some(Duration::from_nanos(ns).min(max))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

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
            assert!((found / us - 1.0).abs() <= 0.01, "{found} is not {us}");
        };
        near(histogram.median(), 500.0);
        near(histogram.p99(), 990.0);
        near(histogram.quantile(0.0), 1.0);
        near(histogram.quantile(1.0), 1_000.0);
        assert_eq!(histogram.max(), Some(Duration::from_millis(1)));
        assert_eq!(histogram.count(), 1_000);
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

    #[test]
    fn memory_is_bounded_and_durations_are_never_lost() {
        let mut histogram = Histogram::default();
        (0..=64).for_each(|power| {
            let ns = 1_u64.checked_shl(power).unwrap_or(u64::MAX);
            histogram.record(Duration::from_nanos(ns));
        });
        assert_eq!(histogram.count(), 65);
        assert!(
            histogram.buckets.unwrap().distinct_values() * 8 <= 56 << 10,
            "bytes"
        );
    }
}
