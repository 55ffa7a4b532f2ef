//! The *baseline* of a curve of resident memory: what remains in its troughs.
//!
//! Loading something and dropping it again makes a peak, which says nothing about a leak. So only lows
//! count: the lowest reading of each of [`BLOCKS`] equal intervals ([`envelope`]) or, where memory comes
//! and goes more slowly than that, the lowest reading after each great fall ([`troughs`]).

use super::robust_stats::Point;
use super::thresholds::{BLOCKS, LEFT_LEVEL, REACHED_LEVEL, USUAL_FALLS};

/// The lowest and the highest reading of successive ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Seconds from the start of the recording to the first of the ticks.
    pub at: f64,
    /// Bytes.
    pub low: f64,
    /// Bytes.
    pub high: f64,
}

/// Time from the first reading to the last, in seconds.
pub fn length(readings: &[Reading]) -> f64 {
    let ends = readings.first().zip(readings.last());
    ends.map_or(0.0, |(first, last)| last.at - first.at)
}

/// The readings of each of [`BLOCKS`] equal intervals, joined; `at` is the middle of the interval.
/// Intervals without a reading are left out.
fn blocks(readings: &[Reading]) -> Vec<Reading> {
    let start = readings.first().map_or(0.0, |first| first.at);
    let width = length(readings) / f64::from(BLOCKS);
    let block = |reading: &Reading| {
        let block = ((reading.at - start) / width).floor();
        // The last reading is exactly at the end. A width of 0 makes one block.
        if block.is_finite() {
            block.min(f64::from(BLOCKS - 1))
        } else {
            0.0
        }
    };
    readings
        .chunk_by(|a, b| block(a).total_cmp(&block(b)).is_eq())
        .filter_map(|chunk| {
            let first = chunk.first()?;
            let lows = chunk.iter().map(|one| one.low);
            Some(Reading {
                at: start + (block(first) + 0.5) * width,
                low: lows.fold(f64::INFINITY, f64::min),
                high: chunk.iter().map(|one| one.high).fold(0.0, f64::max),
            })
        })
        .collect()
}

/// The rolling lower envelope: the lowest reading of each block.
pub fn envelope(readings: &[Reading]) -> Vec<Point> {
    blocks(readings).iter().map(low_point).collect()
}

fn low_point(reading: &Reading) -> Point {
    Point {
        at: reading.at,
        bytes: reading.low,
    }
}

/// The lowest reading after each fall by at least `fall` bytes; between two of them, memory rises by as
/// much. A single reading never counts as a fall, because it is unknown whether its high came before its
/// low: in a steep rise, or in a fall that takes longer than a reading, each would seem to hold a trough.
pub fn troughs(readings: &[Reading], fall: f64) -> Vec<Point> {
    let mut found = Vec::new();
    let mut top = f64::NEG_INFINITY;
    let mut trough: Option<Point> = None;
    for reading in readings {
        match &mut trough {
            None if top - reading.low >= fall => trough = Some(low_point(reading)),
            None => top = top.max(reading.high),
            Some(lowest) if reading.low < lowest.bytes => *lowest = low_point(reading),
            Some(lowest) if reading.high - lowest.bytes >= fall => {
                found.push(*lowest);
                trough = None;
                top = reading.high;
            }
            Some(_) => {}
        }
    }
    // A fall at the end of the curve may go on: it counts only if it is lower than those before.
    let last = readings.last().map_or(0.0, |last| last.at);
    let before = found
        .last()
        .map_or(f64::INFINITY, |before: &Point| before.bytes);
    found.extend(trough.filter(|trough| trough.at < last || trough.bytes < before));
    found
}

/// The greatest fall, from `first` or any point to a later point, in bytes.
pub fn greatest_fall(first: f64, points: &[Point]) -> f64 {
    let mut top = first;
    let falls = points.iter().map(|point| {
        top = top.max(point.bytes);
        top - point.bytes
    });
    falls.fold(0.0, f64::max)
}

/// How far the last point is above the lowest, in bytes.
pub fn since_lowest(points: &[Point]) -> f64 {
    let last = points.last().map_or(0.0, |point| point.bytes);
    let lowest = points.iter().map(|point| point.bytes).fold(last, f64::min);
    last - lowest
}

/// The level at the start of the recording. A recording may begin just before something large is given
/// back, which the envelope does not show: then the first reading is the level. But where falls of that
/// size are [usual](USUAL_FALLS), it was one peak of many, and the envelope's first point is the level.
pub fn first_level(readings: &[Reading]) -> f64 {
    let blocks = blocks(readings);
    let (Some(first), Some(envelope)) = (readings.first(), blocks.first()) else {
        return 0.0;
    };
    let fall = first.low - envelope.low;
    let later = blocks.iter().skip(1).zip(blocks.iter().skip(2));
    let falls = later.filter(|(a, b)| a.high - a.low.min(b.low) >= fall / 2.0);
    if falls.count() >= USUAL_FALLS {
        envelope.low
    } else {
        first.low
    }
}

/// How a curve went from one level to a higher one for good.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    /// Index of the reading in which it left the lower level.
    pub from: usize,
    /// Seconds from one level to the other, extrapolated linearly from the part that is timed.
    pub duration: f64,
}

/// The last rise from the level `low` to `high`, in bytes; `None` if the curve was never that low.
pub fn last_rise(readings: &[Reading], low: f64, high: f64) -> Option<Rise> {
    let last_below = |part: f64| {
        let level = low + part * (high - low);
        readings.iter().rposition(|one| one.low < level)
    };
    let (from, to) = last_below(LEFT_LEVEL).zip(last_below(REACHED_LEVEL))?;
    let duration = length(readings.get(from..=to)?) / (REACHED_LEVEL - LEFT_LEVEL);
    Some(Rise { from, duration })
}

/// How far the curve rises above the lowest of these points, in bytes.
pub fn swing(readings: &[Reading], points: &[Point]) -> f64 {
    let top = readings.iter().map(|one| one.high).fold(0.0, f64::max);
    let bottom = points.iter().map(|one| one.bytes).fold(top, f64::min);
    top - bottom
}

/// The points without what was given back by the end: each point, or the lowest later one if that is
/// lower.
pub fn never_given_back(points: &[Point]) -> Vec<Point> {
    let mut lowest = f64::INFINITY;
    let backwards = points.iter().rev().map(|point| {
        lowest = lowest.min(point.bytes);
        Point {
            at: point.at,
            bytes: lowest,
        }
    });
    let mut retained: Vec<Point> = backwards.collect();
    retained.reverse();
    retained
}

/// From the first point to the last, in bytes.
pub fn net_rise(points: &[Point]) -> f64 {
    let ends = points.first().zip(points.last());
    ends.map_or(0.0, |(first, last)| last.bytes - first.bytes)
}

/// What a slope adds up to over the time that the points stand for, in bytes.
pub fn growth(points: &[Point], slope: f64) -> f64 {
    let ends = points.first().zip(points.last());
    let between = ends.map_or(0.0, |(first, last)| last.at - first.at);
    let gaps = points.len().saturating_sub(1).max(1) as f64;
    slope * between * (gaps + 1.0) / gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading every second.
    fn readings(values: impl IntoIterator<Item = f64>) -> Vec<Reading> {
        let reading = |(at, bytes): (usize, f64)| Reading {
            at: at as f64,
            low: bytes,
            high: bytes,
        };
        values.into_iter().enumerate().map(reading).collect()
    }

    fn bytes(points: &[Point]) -> Vec<f64> {
        points.iter().map(|point| point.bytes).collect()
    }

    #[test]
    fn the_envelope_has_the_lows_and_covers_the_whole_recording() {
        // One low in ten readings.
        let all = readings((0..=480).map(|at| if at % 10 == 7 { 5.0 } else { 90.0 }));
        let envelope = envelope(&all);
        assert_eq!(bytes(&envelope), [5.0; BLOCKS as usize]);
        let first = envelope.first().map(|point| point.at);
        let last = envelope.last().map(|point| point.at);
        assert_eq!((first, last), (Some(10.0), Some(470.0)));
        assert_eq!(swing(&all, &envelope), 85.0);
        assert!(super::envelope(&[]).is_empty());
        assert_eq!(super::envelope(&readings([3.0])).len(), 1);
    }

    #[test]
    fn a_great_fall_ends_in_a_trough() {
        let all = readings([9.0, 1.0, 2.0, 8.0, 7.0, 8.0, 2.0, 3.0, 3.0, 9.0]);
        assert_eq!(bytes(&troughs(&all, 5.0)), [1.0, 2.0]);
        assert!(troughs(&all, 10.0).is_empty());
        // A fall over several readings is one.
        let slow = readings([9.0, 6.0, 4.0, 2.0, 1.0]);
        assert_eq!(bytes(&troughs(&slow, 3.0)), [1.0]);
        // One that has not ended counts only if it is the lowest so far.
        let ends_in = |last: f64| bytes(&troughs(&readings([9.0, 2.0, 9.0, last]), 3.0));
        assert_eq!((ends_in(4.0), ends_in(1.0)), (vec![2.0], vec![2.0, 1.0]));
        // Each reading may stand for several ticks: a rise of 12 in three readings, a fall, a rise.
        let joined = [
            (2.0, 1.0),
            (6.0, 2.0),
            (12.0, 6.0),
            (12.0, 7.0),
            (7.0, 3.0),
            (3.0, 1.0),
            (9.0, 2.0),
        ];
        let joined: Vec<Reading> = joined
            .into_iter()
            .zip(0_u8..)
            .map(|((high, low), at)| Reading {
                at: at.into(),
                low,
                high,
            })
            .collect();
        assert_eq!(bytes(&troughs(&joined, 3.0)), [1.0]);
    }

    #[test]
    fn what_was_given_back_does_not_count() {
        let points = |values: &[f64]| envelope(&readings(values.iter().copied()));
        let all = points(&[1.0, 5.0, 2.0, 6.0, 6.0]);
        assert_eq!(bytes(&never_given_back(&all)), [1.0, 2.0, 2.0, 6.0, 6.0]);
        assert_eq!(greatest_fall(0.0, &all), 3.0);
        assert_eq!(greatest_fall(8.0, &all), 7.0);
        assert_eq!(since_lowest(&all), 5.0);
        assert_eq!(since_lowest(&points(&[5.0, 1.0])), 0.0);
        assert_eq!((net_rise(&all), net_rise(&[])), (5.0, 0.0));
    }

    #[test]
    fn growth_is_extrapolated_to_the_whole_recording() {
        // Each of 24 points is the middle of a block of 20 s.
        let envelope = envelope(&readings((0..=480).map(f64::from)));
        assert!((growth(&envelope, 2.0) - 960.0).abs() < 1e-9);
        assert_eq!(growth(&[], 2.0), 0.0);
    }

    #[test]
    fn a_rise_is_timed_between_the_last_readings_below_two_levels() {
        // Flat, a peak that is given back, 20 s of rise.
        let curve = |at: i32| match at {
            30 => 300.0,
            ..100 => 100.0,
            100..120 => 100.0 + 10.0 * f64::from(at - 100),
            _ => 300.0,
        };
        let rise = last_rise(&readings((0..200).map(curve)), 100.0, 300.0);
        let Some(Rise { from, duration }) = rise else {
            panic!("no rise");
        };
        assert_eq!(from, 103);
        assert!((duration - 20.0).abs() < 0.01, "{duration}");
        assert!(last_rise(&readings([5.0, 6.0]), 1.0, 2.0).is_none());
    }

    #[test]
    fn the_first_reading_is_the_level_unless_such_peaks_are_usual() {
        let once = |at: i32| if at == 0 { 50.0 } else { 1.0 };
        assert_eq!(first_level(&readings((0..240).map(once))), 50.0);
        let often = |at: i32| if at % 24 == 0 { 50.0 } else { 1.0 };
        assert_eq!(first_level(&readings((0..240).map(often))), 1.0);
    }
}
