//! The verdict on a baseline that has risen, but does not rise steadily: one step, or a rise that has
//! ended, or nothing that is clear yet.
//!
//! *One step* says that memory was at one level and went to another, so both must have been seen, and it
//! must be more than what comes and goes. A rise that was under way when the recording began, or is
//! less than that, is a start, or what a heap keeps of the things that it has freed: it has *settled*.

use std::time::Duration;

use super::baseline::{self, Reading, USUAL_FALLS};
use super::drift::SHARE_OF_RSS;
use super::robust_stats::{Point, mann_kendall, theil_sen};
use super::trend::{GOES_ON, LEAST_GROWTH, NEARLY_ALL, SOME_TREND, bytes, growth, rise, seconds};
use super::verdict::{Inconclusive, Verdict};

/// What has risen by less than this share of the whole rise has stopped.
const STOPPED: f64 = 0.1;
/// A step has nearly all of its rise within so many blocks, an eighth of the time.
const STEP_BLOCKS: usize = 3;

/// What to say of the points of a baseline.
pub fn verdict(elapsed: Duration, readings: &[Reading], points: &[Point]) -> Verdict {
    let kept = baseline::kept(points);
    let rise = rise(&kept);
    if let Some((before, after)) = one_step(&kept, rise) {
        let step = after.bytes - before.bytes;
        return if is_between_two_levels(readings, before, after) {
            Verdict::Step {
                bytes: bytes(step),
                at: seconds(f64::midpoint(before.at, after.at)),
            }
        } else {
            Verdict::Settled {
                bytes: bytes(step),
                since: seconds(after.at),
            }
        };
    }
    if let Some(settled) = settled(points, LEAST_GROWTH) {
        return settled;
    }
    let last = kept.last().map_or(0.0, |point| point.bytes);
    if rise < SHARE_OF_RSS * last {
        return Verdict::Stable;
    }
    let half = points.len() / 2;
    let slope_of = |points: Option<&[Point]>| theil_sen(points.unwrap_or_default()).slope;
    let before = slope_of(points.get(..points.len() - half));
    let why = if slope_of(points.get(half..)) < GOES_ON * before {
        Inconclusive::Slowing(bytes(rise))
    } else {
        Inconclusive::Unsteady(bytes(rise))
    };
    Verdict::Inconclusive { elapsed, why }
}

/// Whether, for the last third of the points or more, there was no more rise: nearly nothing that is still
/// there at the end, or as much down as up. Less than `least` bytes is nothing.
pub fn settled(points: &[Point], least: f64) -> Option<Verdict> {
    let kept = baseline::kept(points);
    let rise = rise(&kept);
    let little = least.max(STOPPED * rise);
    let last = kept.last()?.bytes;
    let is_still = |at: &usize| {
        let since = points.get(*at..).unwrap_or_default();
        let before = kept.get(*at).map_or(0.0, |point| point.bytes);
        last - before < little
            || (growth(since, theil_sen(since).slope) < little && mann_kendall(since) < SOME_TREND)
    };
    let latest = points.len() - points.len() / 3;
    let at = (1..latest).find(is_still)?;
    Some(Verdict::Settled {
        bytes: bytes(rise),
        since: seconds(points.get(at)?.at),
    })
}

/// The points before and after the rise that is nearly all of it; it must have stayed for two more.
fn one_step(kept: &[Point], rise: f64) -> Option<(Point, Point)> {
    let step = |width: usize| {
        let pairs = kept.iter().zip(kept.iter().skip(width));
        let later = kept.len().saturating_sub(width + 2);
        let mut pairs = pairs.take(later);
        pairs.find(|(a, b)| b.bytes - a.bytes >= NEARLY_ALL * rise)
    };
    let (before, after) = (1..=STEP_BLOCKS).find_map(step)?;
    Some((*before, *after))
}

/// Whether memory stayed at the level before for as long as it then took to rise, and whether the step is more
/// than what comes and goes: of that, a heap may keep any part from one time to the next, as what lies in
/// its holes and at its end decides what it can give back.
fn is_between_two_levels(readings: &[Reading], before: Point, after: Point) -> bool {
    let step = after.bytes - before.bytes;
    baseline::climb(readings, before.bytes, after.bytes).is_some_and(|climb| {
        let earlier = readings.get(..=climb.from).unwrap_or_default();
        baseline::length(earlier) >= climb.takes
    }) && baseline::troughs(readings, step).len() < USUAL_FALLS
}
