//! *Drift*: growth of a full cache, or of a heap that is filled and emptied repeatedly. Freed blocks
//! leave holes that new objects do not quite fit, so RSS rises a little, irregularly and ever more
//! rarely. Over a minute it can rise as much as with a slow leak.
//!
//! A leak comes from repeated work and is even. So a growth small enough to be drift is a leak only if
//! it shows in every part of the recording and is close to a straight line.

use super::baseline::{self, Reading};
use super::robust_stats::{Line, Point};
use super::thresholds::{
    CACHE_TURNOVERS, DRIFT_NEARLY_ALL, DRIFT_OF_FALLS, DRIFT_OF_RSS, DRIFT_OF_RSS_AFTER_START,
    DRIFT_SIGNAL_TO_NOISE, DRIFT_SLICES, MIN_SLICE_SHARE, POINTS_PER_SLICE, USUAL_FALLS,
};

/// Whether a growth of so many bytes is small enough to be drift; `start`: duration of the rise before
/// these points, in seconds, if one was observed.
pub fn may_be_drift(
    readings: &[Reading],
    points: &[Point],
    growth: f64,
    start: Option<f64>,
) -> bool {
    let last = points.last().map_or(0.0, |point| point.bytes);
    let is_over = start.is_some_and(|start| baseline::length(readings) >= CACHE_TURNOVERS * start);
    let falls = || baseline::troughs(readings, growth / DRIFT_OF_FALLS).len();
    let share = if start.is_some() {
        DRIFT_OF_RSS_AFTER_START
    } else {
        DRIFT_OF_RSS
    };
    (growth < share * last && !is_over) || falls() >= USUAL_FALLS
}

/// Whether the growth is too even for drift.
pub fn is_too_even_for_drift(points: &[Point], growth: f64, line: Line) -> bool {
    let slices = (points.len() / POINTS_PER_SLICE).clamp(1, DRIFT_SLICES);
    let gaps = points.len().saturating_sub(1);
    let ends = (0..=slices).filter_map(|end| points.get(end * gaps / slices));
    let ends: Vec<f64> = ends.map(|point| point.bytes).collect();
    let least = MIN_SLICE_SHARE * growth / slices as f64;
    ends.is_sorted_by(|a, b| b - a >= least)
        && growth >= DRIFT_SIGNAL_TO_NOISE * line.residual_quantile(points, DRIFT_NEARLY_ALL)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::super::robust_stats::theil_sen;
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        let point = |(at, mib): (usize, f64)| Point {
            at: at as f64,
            bytes: mib * MIB,
        };
        values.into_iter().enumerate().map(point).collect()
    }

    fn readings(points: &[Point]) -> Vec<Reading> {
        let reading = |point: &Point| Reading {
            at: point.at,
            low: point.bytes,
            high: point.bytes,
        };
        points.iter().map(reading).collect()
    }

    #[test]
    fn only_a_growth_that_is_small_for_the_rss_may_be_drift() {
        let large = points((0..24).map(|at| 100.0 + f64::from(at) * 0.2));
        let all = readings(&large);
        for (mib, start, expected) in [
            (4.0, None, true),
            (12.0, None, false),
            // After a start of 2 s a cache may have grown by more, after one of 1 s it is replaced.
            (12.0, Some(3.0), true),
            (12.0, Some(1.0), false),
        ] {
            let found = may_be_drift(&all, &large, mib * MIB, start);
            assert_eq!(found, expected, "{mib} MiB after {start:?}");
        }
    }

    #[test]
    fn a_growth_below_half_of_the_usual_falls_may_be_drift() {
        let teeth = points((0..40).map(|at| 1.0 + f64::from(at % 4) * 10.0));
        let all = readings(&teeth);
        assert!(may_be_drift(&all, &teeth[..1], 14.0 * MIB, None));
        assert!(!may_be_drift(&all, &teeth[..1], 16.0 * MIB, None));
    }

    #[test]
    fn growth_in_every_slice_is_too_even_for_drift() {
        let even = points((0..24).map(|at| 50.0 + f64::from(at) * 0.1));
        assert!(is_too_even_for_drift(&even, 2.4 * MIB, theil_sen(&even)));
        // As much, but flat in the fourth of the six slices.
        let uneven = points((0..24).map(|at| 50.0 + f64::from(at.min(11).max(at - 5)) * 0.1));
        let line = theil_sen(&uneven);
        assert!(!is_too_even_for_drift(&uneven, 2.4 * MIB, line));
    }
}
