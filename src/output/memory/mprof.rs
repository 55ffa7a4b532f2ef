//! Memory over time for `mprof plot` of the memory_profiler package (`-f mprof`).
//!
//! Lines of words separated by spaces; memory in MiB, times in seconds since 1970:
//!
//! | line | meaning |
//! | --- | --- |
//! | `CMDLINE command` | the title of the plot |
//! | `MEM mib time` | RSS including children, as with `mprof run -C` |
//! | `CHLD pid mib time` | RSS of one child, as with `mprof run -M` |
//! | `FUNC name mib time mib time level` | start and end of a period of growth in a function |
//!
//! `mprof run` writes a `FUNC` line for each call of a decorated function. Here, without decorators, a line
//! is a period in which the function, as the leaf of the stack, added memory.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use crate::output::meta::Meta;
use crate::profile::Profile;
use crate::profile::memory::timeline::{FunctionGrowth, LEAST_BYTES};
use crate::text::sanitize::clean;

/// Most functions with lines: each has an entry in the plot's legend.
const MAX_FUNCTIONS: usize = 6;
/// Most lines of one function: each has an entry in the legend, too.
const MAX_PERIODS: usize = 3;
/// Shortest pause that starts another line, as a share of the recording.
const LEAST_PAUSE: f64 = 0.05;
/// Least share of all growth for a function, and of a function's growth for a line of it: a few pages
/// are easily attributed to the wrong function.
const LEAST_SHARE: f64 = 0.01;
const LEAST_SHARE_OF_PERIOD: f64 = 0.1;

/// Writes the whole file.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let start = meta
        .start
        .and_then(|start| start.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let at = |elapsed: Duration| (start + elapsed).as_secs_f64();
    writeln!(out, "CMDLINE {}", escape_math(&clean(&meta.command)))?;

    let curve = curve(
        profile.rss().points(),
        profile.rss().last(),
        profile.last_elapsed(),
    );
    for (elapsed, bytes) in &curve {
        writeln!(out, "MEM {:.6} {:.4}", mib(*bytes), at(*elapsed))?;
    }
    // The first process is the target, the others are its children.
    for child in profile.memory().processes().iter().skip(1) {
        let pid = child.pid;
        let points = self::curve(child.rss.points(), child.rss.last(), child.last_elapsed);
        for (elapsed, bytes) in points {
            writeln!(out, "CHLD {pid} {:.6} {:.4}", mib(bytes), at(elapsed))?;
        }
    }
    let length = profile.last_elapsed();
    let width = profile.growth_cell_width();
    for (level, function) in top_functions(profile).iter().enumerate() {
        let name = dotted(function);
        for (from, to) in periods(function, width, length) {
            writeln!(
                out,
                "FUNC {name} {:.4} {:.4} {:.4} {:.4} {level}",
                memory_at(&curve, from),
                at(from),
                memory_at(&curve, to),
                at(to)
            )?;
        }
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The points of a series, with its end.
fn curve(
    points: &[crate::rss::series::RssPoint],
    last: Option<u64>,
    end: Duration,
) -> Vec<(Duration, u64)> {
    let points = points.iter().map(|point| (point.elapsed, point.rss_bytes));
    let mut curve: Vec<_> = points.collect();
    if let Some(last) = last
        && curve.last().is_some_and(|(elapsed, _)| *elapsed < end)
    {
        curve.push((end, last));
    }
    curve
}

/// Value of the curve at a time, in MiB, interpolated linearly: the plot draws the ends of functions on
/// the curve.
fn memory_at(curve: &[(Duration, u64)], time: Duration) -> f64 {
    let after = curve.partition_point(|(elapsed, _)| *elapsed <= time);
    let before = after.checked_sub(1).and_then(|at| curve.get(at));
    match (before, curve.get(after)) {
        (Some((from, low)), Some((to, high))) => {
            let share = (time - *from).as_secs_f64() / (*to - *from).as_secs_f64();
            mib(*low) + (mib(*high) - mib(*low)) * share
        }
        (Some((_, bytes)), None) | (None, Some((_, bytes))) => mib(*bytes),
        (None, None) => 0.0,
    }
}

fn top_functions(profile: &Profile) -> Vec<FunctionGrowth> {
    let all = profile.growth_by_function();
    let total: u64 = all.iter().map(|one| one.grown_bytes).sum();
    let least = (LEAST_BYTES as f64).max(total as f64 * LEAST_SHARE);
    all.into_iter()
        .filter(|one| one.file.is_some() && one.grown_bytes as f64 >= least)
        .take(MAX_FUNCTIONS)
        .collect()
}

/// Periods of growth in a function: from the start of its first cell to the end of its last, without the
/// longest pauses, and without periods of little growth.
fn periods(
    function: &FunctionGrowth,
    width: Duration,
    length: Duration,
) -> Vec<(Duration, Duration)> {
    let least = length.mul_f64(LEAST_PAUSE);
    let starts = || function.cells.iter().map(|cell| cell.start);
    let mut pauses: Vec<(Duration, Duration)> = starts()
        .zip(starts().skip(1))
        .map(|(before, after)| (before.saturating_add(width), after))
        .filter(|(from, to)| to.saturating_sub(*from) > least)
        .collect();
    pauses.sort_by_key(|(from, to)| std::cmp::Reverse(to.saturating_sub(*from)));
    pauses.truncate(MAX_PERIODS - 1);
    pauses.sort_unstable();
    let (Some(first), Some(last)) = (starts().next(), starts().next_back()) else {
        return Vec::new();
    };
    let end = last.saturating_add(width).min(length).max(first);
    let froms = std::iter::once(first).chain(pauses.iter().map(|(_, to)| *to));
    let tos = pauses.iter().map(|(from, _)| *from).chain([end]);
    let grown = |from: Duration, to: Duration| {
        let cells = function.cells.iter();
        let within = cells.filter(|cell| from <= cell.start && cell.start < to);
        within.map(|cell| cell.grown_bytes).sum::<u64>() as f64
    };
    let least = function.grown_bytes as f64 * LEAST_SHARE_OF_PERIOD;
    let periods = froms.zip(tos);
    periods
        .filter(|(from, to)| grown(*from, *to) >= least)
        .collect()
}

/// The function's name as in memory_profiler, `pkg.mod.Thing.method`, without spaces.
fn dotted(function: &FunctionGrowth) -> String {
    let file = function.file.as_deref().unwrap_or_default();
    let module = file.strip_suffix(".py").unwrap_or(file);
    let module = module.trim_matches(['/', '.']).replace('/', ".");
    let name = format!("{module}.{}", function.name);
    let word: String = clean(&name)
        .chars()
        .map(|c| if c.is_whitespace() { '_' } else { c })
        .collect();
    // mprof shows the part after the last dot, which must not be empty.
    let word = word.trim_matches('.');
    let word = if word.is_empty() { "?" } else { word };
    escape_math(word)
}

/// matplotlib parses text between two dollar signs as a formula, and fails on an invalid one.
fn escape_math(text: &str) -> String {
    text.replace('$', "\\$")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::profile::memory::timeline::GrowthCell;

    fn function(name: &str, file: &str, starts_ms: &[u64]) -> FunctionGrowth {
        let cell = |ms: &u64| GrowthCell {
            start: Duration::from_millis(*ms),
            grown_bytes: 1,
        };
        FunctionGrowth {
            name: name.to_owned(),
            file: Some(file.to_owned()),
            grown_bytes: starts_ms.len() as u64,
            cells: starts_ms.iter().map(cell).collect(),
        }
    }

    #[test]
    fn names_are_one_word_with_dots() {
        let cases = [
            ("Thing.method", "pkg/mod.py", "pkg.mod.Thing.method"),
            ("<module>", "/srv/my app.py", "srv.my_app.<module>"),
            ("f", "<frozen x>", "<frozen_x>.f"),
            ("", "app.py", "app"),
            ("...", "", "?"),
            ("a$b$\n", "app.py", "app.a\\$b\\$\u{fffd}"),
        ];
        for (name, file, expected) in cases {
            assert_eq!(dotted(&function(name, file, &[])), expected);
        }
    }

    #[test]
    fn only_the_longest_pauses_end_a_period() {
        let width = Duration::from_millis(10);
        let length = Duration::from_secs(10);
        let starts = [0, 10, 500, 2_000, 2_010, 3_000, 6_000, 6_010, 9_995];
        let ms = |(from, to): (Duration, Duration)| (from.as_millis(), to.as_millis());
        let found: Vec<_> = periods(&function("f", "f.py", &starts), width, length)
            .into_iter()
            .map(ms)
            .collect();
        assert_eq!(found, [(0, 3_010), (6_000, 6_020), (9_995, 10_000)]);
        // Periods of little growth are omitted.
        let mut much = function("f", "f.py", &starts);
        much.cells[0].grown_bytes = 1_000;
        much.grown_bytes = 1_008;
        let found: Vec<_> = periods(&much, width, length).into_iter().map(ms).collect();
        assert_eq!(found, [(0, 3_010)]);
        assert_eq!(periods(&function("f", "f.py", &[]), width, length), []);
    }

    #[test]
    fn ends_of_functions_are_on_the_curve() {
        let second = Duration::from_secs;
        let curve = [(second(0), 10 << 20), (second(10), 20 << 20)];
        for (time, expected) in [(0, 10.0), (5, 15.0), (10, 20.0), (11, 20.0)] {
            let found = memory_at(&curve, second(time));
            assert!((found - expected).abs() < 1e-9, "{time}: {found}");
        }
        assert!(memory_at(&[], second(1)).abs() < 1e-9);
    }
}
