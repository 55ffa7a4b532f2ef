//! *Creep*: growth of a cache that is full, or of a heap that is filled and freed over and over. What is
//! freed leaves holes that what comes next does not quite fit, so that resident memory goes on a little,
//! by fits and starts, and ever more rarely. Over a minute it can rise as much as a slow leak does.
//!
//! A leak comes of something that is done over and over, and is even. So growth that is small enough to be
//! creep is a leak only if it is in every part of the time, and close to a straight line.

use super::baseline::{self, Reading, USUAL_FALLS};
use super::robust_stats::{Line, Point};

/// A growth of less than this share of the memory may be a cache's: those of `fixtures/memory_shapes.py` go
/// on by 5 to 7 % while all that is in them is replaced two or three times.
pub const SHARE_OF_RSS: f64 = 0.1;
/// The same where memory was seen to rise before: that may be a cache that has just filled up, and one with
/// few entries, of very different sizes, was seen to go on by a sixth as larger ones came.
const SHARE_AFTER_START: f64 = 0.25;
/// Not any more when a start that was seen is over for so many times as long as it took: as often would
/// a cache that filled up then have been replaced.
const TIMES_REPLACED: f64 = 10.0;
/// A growth of less than this share of what comes and goes over and over may be a heap's. Of small teeth
/// of some 4 MiB one was seen to keep a quarter in a minute, bit by bit.
const SHARE_OF_FALLS: f64 = 0.5;
/// The parts of the time in which a leak must show: in the sixth of a minute one of 50 KiB a second is
/// 0.5 MiB, what a heap takes at once or a little more.
const STRETCHES: usize = 6;
/// Points that make such a part, where they are few.
const POINTS_PER_STRETCH: usize = 4;
/// The share of its part of the growth that each must have: more than none, and no more than that, since
/// one may begin after a rise by half a MiB and end before the next.
const SOME: f64 = 0.1;
/// The growth must be so many times what nearly all of the points are off the line. Stairs of half a MiB
/// are off by half of that, a twelfth of what 50 KiB a second come to in a minute.
const CLEAR: f64 = 12.0;
/// What "nearly all" of the points is: a peak may take all of a block or two.
const NEARLY_ALL: f64 = 0.9;

/// Whether these points may have grown by so many bytes without a leak; `start`: how long it had been
/// rising before, in seconds, if that was seen.
pub fn may_be(readings: &[Reading], points: &[Point], growth: f64, start: Option<f64>) -> bool {
    let last = points.last().map_or(0.0, |point| point.bytes);
    let is_over = start.is_some_and(|start| baseline::length(readings) >= TIMES_REPLACED * start);
    let falls = || baseline::troughs(readings, growth / SHARE_OF_FALLS).len();
    let share = if start.is_some() {
        SHARE_AFTER_START
    } else {
        SHARE_OF_RSS
    };
    (growth < share * last && !is_over) || falls() >= USUAL_FALLS
}

/// Whether it is too even for that.
pub fn is_none(points: &[Point], growth: f64, line: Line) -> bool {
    let stretches = (points.len() / POINTS_PER_STRETCH).clamp(1, STRETCHES);
    let gaps = points.len().saturating_sub(1);
    let ends = (0..=stretches).filter_map(|end| points.get(end * gaps / stretches));
    let ends: Vec<f64> = ends.map(|point| point.bytes).collect();
    let least = SOME * growth / stretches as f64;
    ends.is_sorted_by(|a, b| b - a >= least) && growth >= CLEAR * line.off(points, NEARLY_ALL)
}
