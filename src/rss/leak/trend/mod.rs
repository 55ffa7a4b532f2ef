//! [`Trend`]: whether a program's memory leaks, from its resident set size over time alone.
//!
//! A leak is a [baseline](super::baseline) that rises and is not given back. It is *suspected* if, on the
//! lower envelope or else on the troughs,
//!
//! - the median slope (Theil-Sen) adds up to at least 1 MiB over the recording, and to a tenth of the swing;
//! - the rise is not chance (Mann-Kendall, 1 in 100), and is eight times the scatter of the points;
//! - nothing similar was ever released: no fall is a quarter of it;
//! - it goes on to the end at half the speed or more: a cache that fills up slows down;
//! - it did not come in three steps or fewer;
//! - it is too large, or too even, for the [drift](super::drift) of a cache or a heap.
//!
//! The numbers are in [`super::thresholds`]. An initial rise, as of a program that loads, may precede
//! the leak: what follows is then judged alone, more strictly.
//!
//! Known limits: a load that takes the whole recording, and a saw tooth longer than it, get the verdict of a leak.
//! A leak into holes that a heap already has does not show until they are full.

use std::time::Duration;

use super::baseline::{self, Reading, growth, net_rise};
use super::robust_stats::{Line, Point, mann_kendall, theil_sen};
use super::thresholds::{
    BLOCKS, EXIT_TAIL, LARGELY_RELEASED, LARGEST_RISES, LATE_SLOPE, LATE_SLOPE_AFTER_START,
    MAX_EMPTY_BLOCKS, MAX_EXIT_SHARE, MIN_GROWTH, MIN_GROWTH_OF_SWING, MIN_LEVEL_POINTS,
    MIN_SIGNAL_TO_NOISE, MIN_STEP, MIN_STEP_OF_RSS, MIN_STEP_OF_SWING, MIN_TREND_POINTS,
    NEARLY_ALL, RELEASED, SHORTEST, TROUGH_FALL, Z_ANY_TREND, Z_RISING,
};
use super::verdict::{Inconclusive, Verdict, bytes, seconds};
use super::{drift, plateau};
use crate::rss::series::RssSeries;

/// A verdict, and the lines to draw with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    pub verdict: Verdict,
    /// Times from the start of the recording, and the bytes of the baseline.
    pub baseline: Vec<(Duration, u64)>,
    /// Slope of the baseline from [`Trend::since`] on, in bytes per second.
    pub slope: f64,
    /// Bytes at which that line crosses the start of the recording.
    pub intercept: f64,
    /// Start of the line.
    pub since: Duration,
}

impl RssSeries {
    /// The verdict on the series, for a recording of any length.
    pub fn trend(&self) -> Trend {
        let elapsed = self.last_elapsed();
        let readings = readings(self);
        let envelope = baseline::envelope(&readings);
        let enough =
            u32::try_from(envelope.len()).is_ok_and(|points| points + MAX_EMPTY_BLOCKS >= BLOCKS);
        let inconclusive = |why| trend(Verdict::Inconclusive { elapsed, why }, &envelope);
        if elapsed < SHORTEST {
            inconclusive(Inconclusive::Short)
        } else if enough {
            judge(elapsed, &readings, envelope)
        } else {
            inconclusive(Inconclusive::TooFewSamples(readings.len()))
        }
    }
}

/// The curve in seconds and bytes, without what the program releases as it exits.
fn readings(series: &RssSeries) -> Vec<Reading> {
    let points = series.points();
    let all = points.iter().map(|point| Reading {
        at: point.elapsed.as_secs_f64(),
        low: point.low_bytes as f64,
        high: point.rss_bytes as f64,
    });
    let mut all: Vec<Reading> = all.collect();
    if !series.has_ended() {
        return all;
    }
    let end = series.last_elapsed().as_secs_f64();
    let mut until = end;
    while let [.., before, last] = all.as_slice() {
        let in_tail = until > end - EXIT_TAIL;
        let falling = last.low < before.low && last.at > end * (1.0 - MAX_EXIT_SHARE);
        if !in_tail && !falling {
            break;
        }
        until = last.at;
        all.pop();
    }
    all
}

fn judge(elapsed: Duration, readings: &[Reading], envelope: Vec<Point>) -> Trend {
    let first = baseline::first_level(readings);
    let fall = baseline::greatest_fall(first, &envelope);
    let share_released = fall / net_rise(&envelope).max(min_step(readings, &envelope));
    let since_lowest = baseline::since_lowest(&envelope);
    let mut points = envelope;
    if is_growing(readings, &points, first, None) {
        return growing(&points, theil_sen(&points), 0.0);
    }
    if share_released >= RELEASED {
        let troughs = baseline::troughs(readings, fall * TROUGH_FALL);
        let level = troughs.first().map_or(0.0, |point| point.bytes);
        if is_growing(readings, &troughs, level, None) {
            return growing(&troughs, theil_sen(&troughs), 0.0);
        }
        if share_released >= LARGELY_RELEASED {
            points = troughs;
        }
    }
    let grown = net_rise(&points);
    if share_released >= LARGELY_RELEASED {
        let enough = points.len() >= MIN_TREND_POINTS;
        if enough && mann_kendall(&points).abs() < Z_ANY_TREND {
            return trend(Verdict::Stable, &points);
        }
        // A single trough has no trend; what has come since the lowest point counts instead, which is
        // nothing if the curve ends there.
        let grown = if points.len() < 2 {
            since_lowest
        } else {
            grown
        };
        if !enough && grown >= min_step(readings, &points) {
            if points.len() >= MIN_LEVEL_POINTS
                && let Some(settled) = plateau::settled(&points, 0.0)
            {
                return trend(settled, &points);
            }
            let why = Inconclusive::ReleasedBefore(bytes(grown));
            return trend(Verdict::Inconclusive { elapsed, why }, &points);
        }
    }
    if grown < min_step(readings, &points) {
        return trend(Verdict::Stable, &points);
    }
    if let Some((since, line)) = growing_after_start(readings, &points) {
        return growing(&points, line, since);
    }
    trend(plateau::verdict(elapsed, readings, &points), &points)
}

/// Whether a leak is suspected from these points. `level`: bytes before them; `start`: duration of the
/// rise before them, in seconds, if there was one.
fn is_growing(readings: &[Reading], points: &[Point], level: f64, start: Option<f64>) -> bool {
    let line = theil_sen(points);
    let growth = growth(points, line.slope);
    let swing = baseline::swing(readings, points);
    let half = points.len() / 2;
    let third = (points.len() / 3).max(2);
    let slope_of = |points: Option<&[Point]>| theil_sen(points.unwrap_or_default()).slope;
    let before = slope_of(points.get(..points.len() - half));
    let after = slope_of(points.get(half..));
    let at_first = slope_of(points.get(..third));
    let from_last = points.len().checked_sub(third);
    let at_last = slope_of(from_last.and_then(|at| points.get(at..)));
    let is_strict = start.is_some();
    let goes_on = if is_strict {
        LATE_SLOPE_AFTER_START
    } else {
        LATE_SLOPE
    };
    // The median slope does not include a step before the leak.
    let (few, all) = rises(points);

    points.len() >= MIN_TREND_POINTS
        && growth >= MIN_GROWTH.max(MIN_GROWTH_OF_SWING * swing)
        && mann_kendall(points) >= Z_RISING
        && growth >= MIN_SIGNAL_TO_NOISE * line.residual_quantile(points, 0.5)
        && baseline::greatest_fall(level, points) < RELEASED * growth
        && after >= goes_on * before
        && at_last >= LATE_SLOPE * line.slope
        && (!is_strict || at_last >= goes_on * at_first)
        && (few < NEARLY_ALL * growth || (!is_strict && few < NEARLY_ALL * all))
        && (!drift::may_be_drift(readings, points, growth, start)
            || drift::is_too_even_for_drift(points, growth, line))
}

/// Sum of the [`LARGEST_RISES`], and of all rises, in bytes.
fn rises(points: &[Point]) -> (f64, f64) {
    let pairs = points.iter().zip(points.iter().skip(1));
    let mut rises: Vec<f64> = pairs.map(|(a, b)| (b.bytes - a.bytes).max(0.0)).collect();
    rises.sort_by(|a, b| b.total_cmp(a));
    let few = rises.iter().take(LARGEST_RISES).sum();
    (few, rises.iter().sum())
}

/// A leak that follows a rise at the start: its start in seconds, and its line. The initial rise ends
/// where nearly all of the rise is done or, if what follows is as large, after the steepest part.
fn growing_after_start(readings: &[Reading], points: &[Point]) -> Option<(f64, Line)> {
    let retained = baseline::never_given_back(points);
    let level = retained.first()?.bytes;
    let enough = level + NEARLY_ALL * (retained.last()?.bytes - level);
    let settled = retained.iter().position(|point| point.bytes >= enough)?;
    let rises = retained.iter().zip(retained.iter().skip(LARGEST_RISES));
    let rises = rises.map(|(a, b)| b.bytes - a.bytes).enumerate();
    let (steepest, _) = rises.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let mut starts = [settled, steepest + LARGEST_RISES].into_iter();
    starts.find_map(|start| growing_after(start, readings, points, level))
}

/// The same for an initial rise that ends with this point, from the level `low`.
fn growing_after(
    start: usize,
    readings: &[Reading],
    points: &[Point],
    low: f64,
) -> Option<(f64, Line)> {
    let width = baseline::length(readings) / f64::from(BLOCKS);
    let since = points.get(start)?.at + width / 2.0;
    let first = readings.partition_point(|reading| reading.at < since);
    let tail = readings.get(first..)?;
    let length = baseline::length(tail);
    if length < baseline::length(readings) / 2.0 || length + 1.0 < SHORTEST.as_secs_f64() {
        return None;
    }
    let before = points.iter().take(start).map(|point| point.bytes);
    let level = before.fold(tail.first()?.low, f64::max);
    let envelope = baseline::envelope(tail);
    let took = baseline::last_rise(readings, low, level)?.duration;
    is_growing(tail, &envelope, level, Some(took)).then(|| (since, theil_sen(&envelope)))
}

/// The least rise that is reported, in bytes.
fn min_step(readings: &[Reading], points: &[Point]) -> f64 {
    let last = points.last().map_or(0.0, |point| point.bytes);
    let swing = baseline::swing(readings, points);
    MIN_STEP
        .max(MIN_STEP_OF_RSS * last)
        .max(MIN_STEP_OF_SWING * swing)
}

fn growing(points: &[Point], line: Line, since: f64) -> Trend {
    let since = seconds(since);
    let bytes_per_minute = bytes(line.slope * 60.0);
    let verdict = Verdict::Growing {
        bytes_per_minute,
        since,
        kind: None,
    };
    Trend {
        slope: line.slope,
        intercept: line.intercept,
        since,
        ..trend(verdict, points)
    }
}

fn trend(verdict: Verdict, points: &[Point]) -> Trend {
    let baseline = points.iter();
    let baseline = baseline.map(|point| (seconds(point.at), bytes(point.bytes)));
    let line = theil_sen(points);
    Trend {
        verdict,
        baseline: baseline.collect(),
        slope: line.slope,
        intercept: line.intercept,
        since: Duration::ZERO,
    }
}

#[cfg(test)]
mod heap_tests;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;
