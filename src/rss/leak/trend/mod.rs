//! [`Trend`]: whether a program's memory leaks, from nothing but its resident set size over time.
//!
//! A leak is a [baseline](super::baseline) that rises and does not come back. It is *suspected* if, on
//! the lower envelope or else on the troughs,
//!
//! - the median slope (Theil-Sen) comes to at least 1 MiB over the recording, and to a tenth of the swing;
//! - the rise is no chance (Mann-Kendall, 1 in 100), and eight times what the points scatter;
//! - nothing like it was ever given back: no fall is a quarter of it;
//! - it goes on to the end at half the speed or more: a cache that fills up slows down;
//! - it did not come in three steps or fewer;
//! - it is too large, or too even, for the [creep](super::drift) of a cache or a heap.
//!
//! A rise at the start, as of a program that loads, may come before it: what follows is then judged
//! alone, more strictly. What this cannot know: a load that takes all of the recording, and a tooth
//! that is longer than it, look like leaks; and a leak into gaps that a heap already has does not show
//! until they are full.

use std::time::Duration;

use super::baseline::{self, BLOCKS, Reading};
use super::robust_stats::{Line, Point, mann_kendall, theil_sen};
use super::verdict::{Inconclusive, Verdict};
use super::{drift, plateau};
use crate::rss::series::RssSeries;

/// A verdict, and the lines to draw with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// What to say.
    pub verdict: Verdict,
    /// Times from the start of the recording, and the bytes that were left then.
    pub baseline: Vec<(Duration, u64)>,
    /// The slope of the baseline, from [`Trend::since`] on, in bytes per second.
    pub slope: f64,
    /// Where that line is at the start of the recording, in bytes.
    pub intercept: f64,
    /// From when on the line holds.
    pub since: Duration,
}

/// The shortest recording that gets a verdict: a block of a second is enough for a collection of
/// garbage or a few requests.
pub const SHORTEST: Duration = Duration::from_secs(25);

/// How much of the end is left out when the program has ended: an interpreter that ends frees what it
/// has, which is no sign that it would have.
const LAST: f64 = 1.0;
/// The largest share of a recording that may be left out for that.
const LARGEST_LAST: f64 = 0.1;

const MIB: f64 = 1_048_576.0;

/// The least growth that is a leak: kernels keep a process's count of pages with an error of some
/// 100 KiB for each CPU.
pub(crate) const LEAST_GROWTH: f64 = MIB;

/// The same as a share of the swing: a heap that is filled and freed over and over keeps a little more
/// each time, some 2 % in all.
const LEAST_GROWTH_OF_SWING: f64 = 0.1;
/// What 1 in 100 recordings without a trend reaches, for [`mann_kendall`].
const SIGNIFICANT: f64 = 2.33;
/// What 1 in 20 does, in either direction.
pub(crate) const SOME_TREND: f64 = 1.96;
/// A fall of this share of the growth shows that it may be given back.
const GIVEN_BACK: f64 = 0.25;
/// A fall of this share of the rise shows that the envelope is no baseline.
const MOSTLY_GIVEN_BACK: f64 = 0.5;
/// The later slope must have this share of the earlier one.
pub(crate) const GOES_ON: f64 = 0.5;
/// The same for what follows a rise at the start. Strict: the tail of anything that slows down is
/// nearly straight.
const GOES_ON_STRICTLY: f64 = 0.75;
/// The growth must be so many times what the middle one of the points is off the line.
const CLEAR: f64 = 8.0;
/// So many of the largest rises must not make up nearly all of the growth.
const FEW_RISES: usize = 3;
/// What "nearly all" is; also the share of a rise that is a step or a start.
pub(crate) const NEARLY_ALL: f64 = 0.8;
/// Fewest points that can show a trend: of six, chance orders one in 720.
const FEWEST_POINTS: usize = 6;
/// Fewest points that can show that a rise has stopped: of a leak's, no two are level, and here it is the last
/// two or more.
const FEWEST_LEVELS: usize = 4;

/// The least rise that is worth a word when it has stopped, in bytes. CPython takes and gives back memory
/// by arenas of 256 KiB, from 3.10 on of 1 MiB (`ARENA_BITS` in pycore_obmalloc.h); an arena stays for a single object
/// in it, so that a heap which is filled and freed over and over is now and then one or two larger.
const LEAST_STEP: f64 = 2.0 * MIB;
/// The same as a share of the memory.
const LEAST_STEP_OF_RSS: f64 = 0.05;
/// The same as a share of the swing.
const LEAST_STEP_OF_SWING: f64 = 0.1;

impl RssSeries {
    /// What the memory did, for any length of recording.
    pub fn trend(&self) -> Trend {
        let elapsed = self.last_elapsed();
        let readings = readings(self);
        let envelope = baseline::envelope(&readings);
        let enough = u32::try_from(envelope.len()).is_ok_and(|points| points + 4 >= BLOCKS);
        let unclear = |why| trend(Verdict::Inconclusive { elapsed, why }, &envelope);
        if elapsed < SHORTEST {
            unclear(Inconclusive::Short)
        } else if enough {
            judge(elapsed, &readings, envelope)
        } else {
            unclear(Inconclusive::TooFewSamples(readings.len()))
        }
    }

    /// The lower envelope or, where memory comes and goes slowly, the troughs: times from the start of
    /// the recording, and the bytes that were left then.
    pub fn baseline(&self) -> Vec<(Duration, u64)> {
        self.trend().baseline
    }
}

/// The curve in seconds and bytes, without what a program does as it ends.
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
        let in_last_second = until > end - LAST;
        let falling = last.low < before.low && last.at > end * (1.0 - LARGEST_LAST);
        if !in_last_second && !falling {
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
    let share_given_back = fall / rise(&envelope).max(least_step(readings, &envelope));
    // What has come and not gone since memory was at its lowest.
    let since_lowest = baseline::since_lowest(&envelope);
    let mut points = envelope;
    if is_growing(readings, &points, first, None) {
        return growing(&points, theil_sen(&points), 0.0);
    }
    if share_given_back >= GIVEN_BACK {
        let troughs = baseline::troughs(readings, fall / 3.0);
        let level = troughs.first().map_or(0.0, |point| point.bytes);
        if is_growing(readings, &troughs, level, None) {
            return growing(&troughs, theil_sen(&troughs), 0.0);
        }
        if share_given_back >= MOSTLY_GIVEN_BACK {
            points = troughs;
        }
    }
    let grown = rise(&points);
    if share_given_back >= MOSTLY_GIVEN_BACK {
        let enough = points.len() >= FEWEST_POINTS;
        if enough && mann_kendall(&points).abs() < SOME_TREND {
            return trend(Verdict::Stable, &points);
        }
        // Of a single trough nobody knows what the next one would be, unless it is where all has ended.
        let grown = if points.len() < 2 {
            since_lowest
        } else {
            grown
        };
        if !enough && grown >= least_step(readings, &points) {
            if points.len() >= FEWEST_LEVELS
                && let Some(settled) = plateau::settled(&points, 0.0)
            {
                return trend(settled, &points);
            }
            let why = Inconclusive::ReleasedBefore(bytes(grown));
            return trend(Verdict::Inconclusive { elapsed, why }, &points);
        }
    }
    if grown < least_step(readings, &points) {
        return trend(Verdict::Stable, &points);
    }
    if let Some((since, line)) = growing_after_start(readings, &points) {
        return growing(&points, line, since);
    }
    trend(plateau::verdict(elapsed, readings, &points), &points)
}

/// Whether these points say that a leak is suspected; `level`: where memory was before them; `start`:
/// how long it had been rising before, in seconds, if it had.
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
    let at_last = slope_of(
        points
            .len()
            .checked_sub(third)
            .and_then(|at| points.get(at..)),
    );
    let is_strict = start.is_some();
    let goes_on = if is_strict { GOES_ON_STRICTLY } else { GOES_ON };
    // A step before the leak is no part of the growth that the median slope sees.
    let (few, all) = rises(points);

    points.len() >= FEWEST_POINTS
        && growth >= LEAST_GROWTH.max(LEAST_GROWTH_OF_SWING * swing)
        && mann_kendall(points) >= SIGNIFICANT
        && growth >= CLEAR * line.off(points, 0.5)
        && baseline::greatest_fall(level, points) < GIVEN_BACK * growth
        && after >= goes_on * before
        && at_last >= GOES_ON * line.slope
        && (!is_strict || at_last >= goes_on * at_first)
        && (few < NEARLY_ALL * growth || (!is_strict && few < NEARLY_ALL * all))
        && (!drift::may_be(readings, points, growth, start) || drift::is_none(points, growth, line))
}

/// What a slope comes to over the time that the points stand for, in bytes.
pub(crate) fn growth(points: &[Point], slope: f64) -> f64 {
    let ends = points.first().zip(points.last());
    let between = ends.map_or(0.0, |(first, last)| last.at - first.at);
    let gaps = points.len().saturating_sub(1).max(1) as f64;
    slope * between * (gaps + 1.0) / gaps
}

/// How much a few rises make up, in bytes, and how much all of them do.
fn rises(points: &[Point]) -> (f64, f64) {
    let pairs = points.iter().zip(points.iter().skip(1));
    let mut rises: Vec<f64> = pairs.map(|(a, b)| (b.bytes - a.bytes).max(0.0)).collect();
    rises.sort_by(|a, b| b.total_cmp(a));
    let few = rises.iter().take(FEW_RISES).sum();
    (few, rises.iter().sum())
}

/// A leak that follows a rise at the start: from when on, and how fast. The start ends where nearly all of
/// the rise is done; or, if what follows is as large, with the fastest of it.
fn growing_after_start(readings: &[Reading], points: &[Point]) -> Option<(f64, Line)> {
    let kept = baseline::kept(points);
    let level = kept.first()?.bytes;
    let enough = level + NEARLY_ALL * (kept.last()?.bytes - level);
    let settled = kept.iter().position(|point| point.bytes >= enough)?;
    let rises = kept.iter().zip(kept.iter().skip(FEW_RISES));
    let rises = rises.map(|(a, b)| b.bytes - a.bytes).enumerate();
    let (fastest, _) = rises.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let mut starts = [settled, fastest + FEW_RISES].into_iter();
    starts.find_map(|start| growing_after(start, readings, points, level))
}

/// The same for a start that ends with this point, from the level `low` on.
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
    let took = baseline::climb(readings, low, level)?.takes;
    is_growing(tail, &envelope, level, Some(took)).then(|| (since, theil_sen(&envelope)))
}

/// From the first point to the last, in bytes.
pub(crate) fn rise(points: &[Point]) -> f64 {
    let ends = points.first().zip(points.last());
    ends.map_or(0.0, |(first, last)| last.bytes - first.bytes)
}

/// The least rise that is worth a word.
fn least_step(readings: &[Reading], points: &[Point]) -> f64 {
    let last = points.last().map_or(0.0, |point| point.bytes);
    let swing = baseline::swing(readings, points);
    LEAST_STEP
        .max(LEAST_STEP_OF_RSS * last)
        .max(LEAST_STEP_OF_SWING * swing)
}

fn growing(points: &[Point], line: Line, since: f64) -> Trend {
    let since = seconds(since);
    let bytes_per_minute = bytes(line.slope * 60.0);
    let verdict = Verdict::Growing {
        bytes_per_minute,
        since,
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

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such a cast saturates, and nothing is negative that matters"
)]
pub(crate) fn bytes(value: f64) -> u64 {
    value.round() as u64
}

pub(crate) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

#[cfg(test)]
mod heap_tests;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;
