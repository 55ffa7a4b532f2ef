//! [`Timeline`]: contents of the picture.

use std::time::Duration;

use super::text::moment;
use crate::output::meta::Meta;
use crate::profile::Profile;
use crate::profile::memory::timeline::{FunctionGrowth, LEAST_BYTES};
use crate::rss::leak::trend::Trend;
use crate::rss::leak::verdict::Verdict;
use crate::text::sanitize::clean;
use crate::text::units::size;

/// Most processes with their own line.
const MAX_PROCESSES: usize = 8;
/// Most functions below the plot.
const MAX_FUNCTIONS: usize = 6;
/// Longest title, in characters, which the picture is wide enough for.
const MAX_TITLE_CHARS: usize = 82;
/// Least share of all growth for a row of its own.
const LEAST_SHARE: f64 = 0.001;

/// Time since the start of the recording, and bytes.
pub type Reading = (Duration, u64);

/// A recording's memory over time: all that the picture depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    pub title: String,
    /// Such as `Memory: growing at 60.2 MiB/min (leak suspected)`.
    pub verdict: String,
    /// Whether the verdict suspects a leak.
    pub is_alarming: bool,
    /// A line of numbers.
    pub facts: String,
    /// Where, when and how it was recorded.
    pub details: String,
    pub length: Duration,
    /// Resident memory of all processes together: time, lowest and highest reading of each stretch.
    pub rss: Vec<(Duration, u64, u64)>,
    /// The highest reading.
    pub peak: Option<Reading>,
    /// Memory in the troughs of the curve.
    pub baseline: Vec<Reading>,
    /// Both ends of the straight line through the baseline; empty without a verdict.
    pub trend: Vec<Reading>,
    /// PSS, USS and swap of all processes together.
    pub shares: Vec<Line>,
    /// One line per process, if there are several.
    pub processes: Vec<Line>,
    /// Number of processes without a line.
    pub more_processes: usize,
    /// The functions with the most growth, greatest first.
    pub functions: Vec<FunctionGrowth>,
    /// Number of further functions, and their growth in bytes.
    pub more_functions: (usize, u64),
    /// Length of each of [`FunctionGrowth::cells`].
    pub cell_width: Duration,
}

/// A line of the plot, with its name in the legend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    /// Oldest first.
    pub points: Vec<Reading>,
}

impl Timeline {
    pub fn of(profile: &Profile, meta: &Meta) -> Timeline {
        let series = profile.rss();
        let length = profile.last_elapsed();
        let mut rss: Vec<(Duration, u64, u64)> = series
            .points()
            .iter()
            .map(|point| (point.elapsed, point.low_bytes, point.rss_bytes))
            .collect();
        rss.extend(series.last().map(|last| (length, last, last)));
        let peak = rss
            .iter()
            .map(|(at, _, high)| (*at, *high))
            .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)));
        let trend = profile.memory_trend();
        let (processes, more_processes) = processes(profile);
        let (functions, more_functions) = functions(profile);
        Timeline {
            title: meta.title(MAX_TITLE_CHARS),
            verdict: format!("Memory: {}", trend.verdict),
            is_alarming: trend.verdict.is_leak(),
            facts: facts(profile, length),
            details: meta.details().join(" · "),
            length,
            rss,
            peak,
            trend: trend_line(&trend, length),
            baseline: trend.baseline,
            shares: shares(profile),
            processes,
            more_processes,
            functions,
            more_functions,
            cell_width: profile.growth_cell_width(),
        }
    }
}

/// Both ends of the trend's line; empty if the verdict is inconclusive.
fn trend_line(trend: &Trend, length: Duration) -> Vec<Reading> {
    if matches!(trend.verdict, Verdict::Inconclusive { .. }) {
        return Vec::new();
    }
    let at = |time: Duration| {
        let bytes = trend.intercept + trend.slope * time.as_secs_f64();
        (time, bytes.max(0.0) as u64)
    };
    vec![at(trend.since.min(length)), at(length)]
}

/// `RSS 10.3 MiB first, 71.0 MiB last · …`
fn facts(profile: &Profile, length: Duration) -> String {
    let mut parts = Vec::new();
    let rss = profile.rss();
    if let (Some(first), Some(last), Some(peak)) = (rss.first(), rss.last(), rss.peak()) {
        parts.push(format!(
            "RSS {} first, {} last, {} peak",
            size(first),
            size(last),
            size(peak)
        ));
        let kernel = profile.memory().kernel_peak();
        // The kernel's peak and current RSS are separate counters that differ by some pages.
        if let Some(highest) = kernel.filter(|highest| *highest > peak + peak / 50 + (1 << 20)) {
            parts.push(format!("{} before or between samples", size(highest)));
        }
    }
    if let Some(last) = profile.memory().footprints().last() {
        let (name, bytes) = if profile.memory().processes().len() > 1 {
            ("PSS", last.pss_bytes)
        } else {
            ("USS", last.uss_bytes)
        };
        let mut part = format!("{name} {}", size(bytes));
        if last.swap_bytes > 0 {
            part += &format!(" and {} swapped out", size(last.swap_bytes));
        }
        // Read less often than RSS, so the time may differ from that of the last RSS.
        parts.push(format!("{part} at {}", moment(last.elapsed, length)));
    }
    parts.join(" · ")
}

/// The command line with absolute paths reduced to their last part, to save room.
fn without_folders(command: &str) -> String {
    let words = command.split(' ').map(|word| match word.rsplit_once('/') {
        Some((_, last)) if word.starts_with('/') && !last.is_empty() => last,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// PSS, USS and swap, each if it adds information to the other lines.
fn shares(profile: &Profile) -> Vec<Line> {
    let points = profile.memory().footprints();
    let line = |name: &str, value: &dyn Fn(usize) -> u64| Line {
        name: name.to_owned(),
        points: points
            .iter()
            .enumerate()
            .map(|(at, point)| (point.elapsed, value(at)))
            .collect(),
    };
    let of = |at: usize| points.get(at).copied().unwrap_or_default();
    let (pss, uss, swap) = (
        line("PSS", &|at| of(at).pss_bytes),
        line("USS", &|at| of(at).uss_bytes),
        line("swapped out", &|at| of(at).swap_bytes),
    );
    // Only PSS counts shared pages once in a sum over processes. For one process USS is the better
    // measure, and PSS is shown only if it differs.
    let has_several = profile.memory().processes().len() > 1;
    let mut lines = Vec::new();
    let shared = |at: usize| of(at).pss_bytes.saturating_sub(of(at).uss_bytes);
    if has_several || (0..points.len()).any(|at| shared(at) > of(at).pss_bytes / 20) {
        lines.push(pss);
    }
    if !has_several {
        lines.push(uss);
    }
    if points.iter().any(|point| point.swap_bytes > 0) {
        lines.push(swap);
    }
    lines.retain(|line| line.points.len() > 1);
    lines
}

/// The processes with the highest peaks, in the order of their start, and the number of the others.
fn processes(profile: &Profile) -> (Vec<Line>, usize) {
    let all = profile.memory().processes();
    if all.len() < 2 {
        return (Vec::new(), 0);
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    let peak = |at: &usize| all.get(*at).and_then(|one| one.rss.peak());
    order.sort_by_key(|at| std::cmp::Reverse(peak(at)));
    order.truncate(MAX_PROCESSES);
    order.sort_unstable();
    let lines: Vec<Line> = order
        .iter()
        .filter_map(|at| all.get(*at))
        .map(|one| {
            let points = one.rss.points().iter();
            let last = one.rss.last().map(|last| (one.last_elapsed, last));
            Line {
                name: format!("{} {}", one.pid, clean(&without_folders(&one.command))),
                points: points
                    .map(|point| (point.elapsed, point.rss_bytes))
                    .chain(last)
                    .collect(),
            }
        })
        .collect();
    let more = all.len() - lines.len();
    (lines, more)
}

fn functions(profile: &Profile) -> (Vec<FunctionGrowth>, (usize, u64)) {
    let mut all = profile.growth_by_function();
    let total: u64 = all.iter().map(|one| one.grown_bytes).sum();
    let least = LEAST_BYTES.max((total as f64 * LEAST_SHARE) as u64);
    let count = all.iter().take_while(|one| one.grown_bytes > least).count();
    let more = all.split_off(count.min(MAX_FUNCTIONS));
    for function in &mut all {
        function.name = clean(&function.name).into_owned();
        function.file = function.file.take().map(|file| clean(&file).into_owned());
    }
    let left: u64 = more.iter().map(|one| one.grown_bytes).sum();
    (all, (more.len(), left))
}
