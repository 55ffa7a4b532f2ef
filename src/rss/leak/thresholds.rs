//! All thresholds of the leak verdict: the one file to edit when it is too strict or too lax.
//!
//! | group | decides | constants |
//! |---|---|---|
//! | Recording | whether there is enough to judge | [`SHORTEST`] [`BLOCKS`] [`MAX_EMPTY_BLOCKS`] [`MIN_TREND_POINTS`] [`MIN_LEVEL_POINTS`] [`EXIT_TAIL`] [`MAX_EXIT_SHARE`] |
//! | Noise | how small a rise is ignored | [`MIN_GROWTH`] [`MIN_GROWTH_OF_SWING`] [`MIN_STEP`] [`MIN_STEP_OF_RSS`] [`MIN_STEP_OF_SWING`] |
//! | Trend | whether points rise steadily | [`Z_RISING`] [`Z_ANY_TREND`] [`MIN_SIGNAL_TO_NOISE`] [`LATE_SLOPE`] [`LATE_SLOPE_AFTER_START`] [`LARGEST_RISES`] [`NEARLY_ALL`] |
//! | Releases | whether memory was given back | [`RELEASED`] [`LARGELY_RELEASED`] [`TROUGH_FALL`] [`USUAL_FALLS`] |
//! | Drift | whether a cache or a heap explains it | [`DRIFT_OF_RSS`] [`DRIFT_OF_RSS_AFTER_START`] [`CACHE_TURNOVERS`] [`DRIFT_OF_FALLS`] [`DRIFT_SLICES`] [`POINTS_PER_SLICE`] [`MIN_SLICE_SHARE`] [`DRIFT_SIGNAL_TO_NOISE`] [`DRIFT_NEARLY_ALL`] |
//! | Plateau | a step, or a rise that has ended | [`STOPPED`] [`STEP_BLOCKS`] [`LEFT_LEVEL`] [`REACHED_LEVEL`] |
//!
//! Shares are from 0 to 1, z scores and ratios are plain numbers; other units are stated.
//!
//! *Halved* and *Doubled* give the verdicts that change with that value, on the simulated programs of
//! `trend/tests.rs` and `trend/heap_tests.rs` and on the recorded ones of `fixtures/rss_series.txt`
//! (made with `fixtures/memory_shapes.py`). Where a comment has neither, no verdict changes there: the
//! threshold is for programs beyond these, and its comment states the reason. To repeat this, change
//! one number and run `cargo test --lib rss::leak`.

use std::time::Duration;

const MIB: f64 = 1_048_576.0;

// # Recording

/// Shortest recording that gets a verdict: 25 s, so that a block is a second, which is long enough for
/// a garbage collection or a few requests.
/// *Halved*: a recording of 24 s gets a verdict. *Doubled*: a leak of 1 MiB/s over 30 s gets none, and a
/// leak after a start is missed, as the time after the start must be as long.
pub const SHORTEST: Duration = Duration::from_secs(25);

/// Number of points of the lower envelope. Few enough that a block spans several periods of the
/// program's work and that neighbouring points are nearly independent, as [`Z_RISING`] assumes; many
/// enough to show when something happened.
/// *Halved*: leaks after a start and steps are missed. *Doubled*: no simulated or recorded verdict
/// changes.
pub const BLOCKS: u32 = 24;

/// Blocks that may be without a reading.
pub const MAX_EMPTY_BLOCKS: u32 = 4;

/// Fewest points that can show a trend: chance orders one set of six in 720.
/// *Doubled*: leaks below a saw tooth are inconclusive, as there are few troughs.
pub const MIN_TREND_POINTS: usize = 6;

/// Fewest points that can show that a rise has stopped: of a leak's points no two are level, and here
/// the last two or more are.
pub const MIN_LEVEL_POINTS: usize = 4;

/// Seconds at the end that are ignored when the program has exited: an exiting interpreter frees its
/// memory, which does not show that it would have done so otherwise.
/// *Halved*: a leak is missed if the program frees everything in its last 0.8 s.
pub const EXIT_TAIL: f64 = 1.0;

/// Largest share of a recording that is ignored as [`EXIT_TAIL`] while memory still falls.
pub const MAX_EXIT_SHARE: f64 = 0.1;

// # Noise

/// Least growth that is a leak, in bytes: the kernel's page count of a process is off by some 100 KiB
/// per CPU.
pub const MIN_GROWTH: f64 = MIB;

/// The same as a share of the swing: a heap that is filled and emptied repeatedly retains a little more
/// each time, some 2 % in all.
/// *Doubled*: leaks below bursts of requests or slow peaks are inconclusive.
pub const MIN_GROWTH_OF_SWING: f64 = 0.1;

/// Least rise that is reported when it has stopped, in bytes. CPython allocates and frees arenas of
/// 256 KiB, from 3.10 on of 1 MiB (`ARENA_BITS` in pycore_obmalloc.h). One live object retains an arena,
/// so a heap that is filled and emptied repeatedly is at times one or two arenas larger.
pub const MIN_STEP: f64 = 2.0 * MIB;

/// The same as a share of the RSS.
pub const MIN_STEP_OF_RSS: f64 = 0.05;

/// The same as a share of the swing.
pub const MIN_STEP_OF_SWING: f64 = 0.1;

// # Trend

/// Mann-Kendall z score of a rise: 1 in 100 recordings without a trend reaches it.
/// *Doubled*: leaks below a saw tooth are inconclusive: a few troughs never reach it.
pub const Z_RISING: f64 = 2.33;

/// Mann-Kendall z score of a trend in either direction: 1 in 20 recordings without one reaches it.
pub const Z_ANY_TREND: f64 = 1.96;

/// The growth must be at least this multiple of the median distance of the points from the line.
pub const MIN_SIGNAL_TO_NOISE: f64 = 8.0;

/// The slope of the later half must be at least this share of that of the earlier half: a cache that
/// fills up slows down.
/// *Halved*: growth that slows down is called a leak. *Doubled*: steady leaks are missed.
pub const LATE_SLOPE: f64 = 0.5;

/// The same for what follows a rise at the start. Strict, as the tail of anything that slows down is
/// nearly straight.
/// *Halved*: growth that slows down is called a leak. *Doubled*: leaks
/// after a start are missed.
pub const LATE_SLOPE_AFTER_START: f64 = 0.75;

/// So many of the largest rises must not make up [`NEARLY_ALL`] of the growth.
/// *Doubled*: leaks after a start, and below slow peaks, are inconclusive.
pub const LARGEST_RISES: usize = 3;

/// The share of a growth that is nearly all of it; also the share of a rise that is a step or a start.
/// *Halved*: a full cache and leaks below a saw tooth get wrong verdicts.
pub const NEARLY_ALL: f64 = 0.8;

// # Releases

/// A fall of this share of the growth shows that the growth may be given back.
/// *Doubled*: some saw teeth of up to 40 s are called leaks.
pub const RELEASED: f64 = 0.25;

/// A fall of this share of the rise shows that the envelope is no baseline, and the troughs are used.
pub const LARGELY_RELEASED: f64 = 0.5;

/// Troughs are separated by falls of at least this share of the greatest fall.
pub const TROUGH_FALL: f64 = 1.0 / 3.0;

/// After so many falls of one size, memory is taken to come and go by that much repeatedly, and a fall
/// at the start of the recording is one of them.
/// *Doubled*: a recorded saw tooth is called a leak.
pub const USUAL_FALLS: usize = 3;

// # Drift

/// A growth below this share of the RSS may be a full cache's: the caches of `fixtures/memory_shapes.py`
/// grow by 5 to 7 % while all entries are replaced two or three times.
/// *Doubled*: a recorded leak of 50 KiB/s is called stable.
pub const DRIFT_OF_RSS: f64 = 0.1;

/// The same after an observed rise at the start, which may have been a cache that filled up: one with
/// few entries of very different sizes grew by a further sixth as larger ones came.
pub const DRIFT_OF_RSS_AFTER_START: f64 = 0.25;

/// [`DRIFT_OF_RSS_AFTER_START`] no longer applies when the start is over for this multiple of its
/// duration: a cache that filled up then has been replaced as often.
pub const CACHE_TURNOVERS: f64 = 10.0;

/// A growth below this share of falls that are [usual](USUAL_FALLS) may be a heap's. One with teeth of
/// some 4 MiB retained a quarter of that in a minute, bit by bit.
/// *Halved*: a recorded saw tooth is called a leak.
pub const DRIFT_OF_FALLS: f64 = 0.5;

/// Slices of the recording in each of which a leak must show: in the sixth of a minute, 50 KiB/s is
/// 0.5 MiB, which is what a heap takes at once or a little more.
pub const DRIFT_SLICES: usize = 6;

/// Points per slice where there are few.
pub const POINTS_PER_SLICE: usize = 4;

/// Least growth of each slice, as a share of the average slice. Small, because RSS moves in steps of
/// 0.5 MiB and a slice may lie between two of them.
/// *Doubled*: a recorded leak below slow peaks is inconclusive.
pub const MIN_SLICE_SHARE: f64 = 0.1;

/// The growth must be at least this multiple of the distance of [`DRIFT_NEARLY_ALL`] of the points from
/// the line. Steps of 0.5 MiB are off by half of that, a twelfth of what 50 KiB/s add in a minute.
/// *Halved*: a recorded cache is called a leak. *Doubled*: leaks of 60 KiB/s are called stable.
pub const DRIFT_SIGNAL_TO_NOISE: f64 = 12.0;

/// The share of the points for [`DRIFT_SIGNAL_TO_NOISE`]: a peak may take a block or two. *Halved*: a
/// recorded cache is called a leak.
pub const DRIFT_NEARLY_ALL: f64 = 0.9;

// # Plateau

/// What has risen by less than this share of the whole rise has stopped.
pub const STOPPED: f64 = 0.1;

/// A step has [`NEARLY_ALL`] of the rise within so many blocks, an eighth of the recording.
/// *Halved*: some loads of up to 3 s are not recognised as a step.
pub const STEP_BLOCKS: usize = 3;

/// A rise from one level to another is timed from this share of the way, as noise hides where exactly
/// it leaves the lower level,
pub const LEFT_LEVEL: f64 = 0.2;

/// to this one.
pub const REACHED_LEVEL: f64 = 0.8;
