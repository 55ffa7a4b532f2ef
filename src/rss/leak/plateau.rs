//! The verdict on a baseline that has risen, but not steadily: one step, a rise that has ended, or
//! inconclusive.
//!
//! *One step* means that memory was at one level and went to another. So both levels must have been
//! observed, and the step must exceed what comes and goes. A rise that was under way when the recording
//! began, or a smaller one, is the program's start or freed memory that the heap retains: it has
//! *settled*.

use std::time::Duration;

use super::baseline::{self, Reading, growth, net_rise};
use super::robust_stats::{Point, mann_kendall, theil_sen};
use super::thresholds::{
    DRIFT_OF_RSS, LATE_SLOPE, MIN_GROWTH, NEARLY_ALL, STEP_BLOCKS, STOPPED, USUAL_FALLS,
    Z_ANY_TREND,
};
use super::verdict::{Inconclusive, Verdict, bytes, seconds};

/// The verdict on the points of a baseline.
pub fn verdict(elapsed: Duration, readings: &[Reading], points: &[Point]) -> Verdict {
    let retained = baseline::never_given_back(points);
    let rise = net_rise(&retained);
    if let Some((before, after)) = one_step(&retained, rise) {
        let step = after.bytes - before.bytes;
        return if is_between_two_levels(readings, before, after) {
            Verdict::Step {
                bytes: bytes(step),
                at: seconds(f64::midpoint(before.at, after.at)),
                kind: None,
            }
        } else {
            Verdict::Settled {
                bytes: bytes(step),
                since: seconds(after.at),
            }
        };
    }
    if let Some(settled) = settled(points, MIN_GROWTH) {
        return settled;
    }
    let last = retained.last().map_or(0.0, |point| point.bytes);
    if rise < DRIFT_OF_RSS * last {
        return Verdict::Stable;
    }
    let half = points.len() / 2;
    let slope_of = |points: Option<&[Point]>| theil_sen(points.unwrap_or_default()).slope;
    let before = slope_of(points.get(..points.len() - half));
    let why = if slope_of(points.get(half..)) < LATE_SLOPE * before {
        Inconclusive::Slowing(bytes(rise))
    } else {
        Inconclusive::Unsteady(bytes(rise))
    };
    Verdict::Inconclusive { elapsed, why }
}

/// [`Verdict::Settled`] if there was no rise in the last third of the points or more: nearly nothing
/// that remains at the end, or as much down as up. Less than `least` bytes is nothing.
pub fn settled(points: &[Point], least: f64) -> Option<Verdict> {
    let retained = baseline::never_given_back(points);
    let rise = net_rise(&retained);
    let little = least.max(STOPPED * rise);
    let last = retained.last()?.bytes;
    let is_flat = |at: &usize| {
        let since = points.get(*at..).unwrap_or_default();
        let before = retained.get(*at).map_or(0.0, |point| point.bytes);
        last - before < little
            || (growth(since, theil_sen(since).slope) < little && mann_kendall(since) < Z_ANY_TREND)
    };
    let latest = points.len() - points.len() / 3;
    let at = (1..latest).find(is_flat)?;
    Some(Verdict::Settled {
        bytes: bytes(rise),
        since: seconds(points.get(at)?.at),
    })
}

/// The points before and after the step that is nearly all of the rise; two more must follow it.
fn one_step(retained: &[Point], rise: f64) -> Option<(Point, Point)> {
    let step = |width: usize| {
        let pairs = retained.iter().zip(retained.iter().skip(width));
        let later = retained.len().saturating_sub(width + 2);
        let mut pairs = pairs.take(later);
        pairs.find(|(a, b)| b.bytes - a.bytes >= NEARLY_ALL * rise)
    };
    let (before, after) = (1..=STEP_BLOCKS).find_map(step)?;
    Some((*before, *after))
}

/// Whether memory stayed at the lower level for at least as long as it took to rise, and whether the step
/// exceeds what comes and goes: a heap may retain any part of that, depending on what lies in its holes
/// and at its end.
fn is_between_two_levels(readings: &[Reading], before: Point, after: Point) -> bool {
    let step = after.bytes - before.bytes;
    baseline::last_rise(readings, before.bytes, after.bytes).is_some_and(|rise| {
        let earlier = readings.get(..=rise.from).unwrap_or_default();
        baseline::length(earlier) >= rise.duration
    }) && baseline::troughs(readings, step).len() < USUAL_FALLS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(mib: impl IntoIterator<Item = f64>) -> Vec<Point> {
        let point = |(at, mib): (usize, f64)| Point {
            at: at as f64,
            bytes: mib * 1_048_576.0,
        };
        mib.into_iter().enumerate().map(point).collect()
    }

    fn verdict_of(mib: impl IntoIterator<Item = f64>) -> Verdict {
        let points = points(mib);
        let reading = |point: &Point| Reading {
            at: point.at,
            low: point.bytes,
            high: point.bytes,
        };
        let readings: Vec<Reading> = points.iter().map(reading).collect();
        verdict(Duration::from_secs(60), &readings, &points)
    }

    #[test]
    fn a_rise_is_a_step_or_settled_or_inconclusive() {
        let step = verdict_of((0..24).map(|at| if at < 12 { 10.0 } else { 30.0 }));
        let at = Duration::from_millis(11_500);
        assert_eq!(
            step,
            Verdict::Step {
                bytes: 20 << 20,
                at,
                kind: None,
            }
        );
        // The lower level was not observed for as long as the rise took.
        let start = verdict_of((0..24).map(|at| 10.0 + f64::from(at.min(3)) * 10.0));
        assert_eq!(start.word(), "stable");
        let slowing = verdict_of((0..24).map(|at| 10.0 + 40.0 * f64::from(1 + at).ln()));
        let Verdict::Inconclusive { why, .. } = slowing else {
            panic!("{slowing}");
        };
        assert!(matches!(why, Inconclusive::Slowing(_)), "{why:?}");
        // Of a large RSS a rise of some per cent is not reported.
        let little = verdict_of((0..24).map(|at| 1_000.0 + f64::from(at) * 2.0));
        assert_eq!(little, Verdict::Stable);
    }

    #[test]
    fn a_rise_has_settled_where_it_is_flat_for_the_last_third() {
        let rise_until = |end: i32| points((0..24).map(|at| 10.0 + f64::from(at.min(end))));
        assert!(settled(&rise_until(15), 0.0).is_some());
        assert!(settled(&rise_until(23), 0.0).is_none());
        assert!(settled(&[], 0.0).is_none());
    }
}
