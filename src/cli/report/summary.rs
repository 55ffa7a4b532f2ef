//! The closing lines of a recording on stderr: rates, memory, and warnings about them.

use std::path::Path;

use super::{memory, timing};
use crate::cpython::code::frame_table::TOO_MANY;
use crate::os::thread::busy::BusyThread;
use crate::output::empty;
use crate::output::format::Format;
use crate::output::stacks::speedscope;
use crate::profile::Profile;
use crate::sampler::stats::{Engine, PageFaults, SamplerStats};
use crate::text::units::mib;

#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    pub profile: &'a Profile,
    pub stats: &'a SamplerStats,
    pub format: Format,
    pub path: &'a Path,
    /// The last process or thread that could not be read.
    pub last_error: Option<&'a str>,
    /// Threads that used a CPU and run no Python.
    pub native_threads: &'a [BusyThread],
}

/// The lines to print after the file was written.
pub fn lines(closing: Closing<'_>) -> Vec<String> {
    let Closing { profile, stats, .. } = closing;
    let rate_hz = profile.options().rate_hz;
    let mut lines: Vec<String> = closing_line(closing).into_iter().collect();
    let emptiness = match closing.format.needs_memory() {
        true => None,
        false => emptiness(profile, closing.last_error),
    };
    if emptiness.is_none()
        && let Some(error) = closing.last_error
    {
        lines.push(format!("Last error: {error}"));
    }
    if emptiness.is_some() {
        let threads = closing.native_threads.iter();
        lines.extend(emptiness);
        if !has_mostly_failed(profile) {
            lines.extend(threads.take(MAX_NATIVE).map(native));
        }
    }
    lines.extend(timing::missed(stats, rate_hz));
    lines.extend(fullness(profile));
    lines.extend(folded_stacks(closing.format, profile));
    lines.extend(memory::lines(profile));
    lines
}

/// Most native threads that are named.
const MAX_NATIVE: usize = 3;

/// What burned the CPU where no Python ran.
fn native(thread: &BusyThread) -> String {
    let BusyThread { tid, name, share } = thread;
    let percent = share * 100.0;
    format!(
        "Thread {tid} ({name}) used {percent:.0} % of a CPU and runs no Python: its functions are native, and \
         `perf top -t {tid}` shows them"
    )
}

/// Torn stacks, rate, time of the threads and memory; `None` if nothing is known of these.
fn closing_line(closing: Closing<'_>) -> Option<String> {
    let Closing { profile, stats, .. } = closing;
    let (counts, rate_hz) = (profile.counts(), profile.options().rate_hz);
    let mut parts = Vec::new();
    if counts.torn > 0 {
        parts.push(format!("Torn: {}", counts.torn));
    }
    if let Some(rate) = achieved_hz(profile) {
        parts.push(format!("Rate: {rate:.1} of {rate_hz} per second"));
    }
    if stats.engine() == Engine::Kernel {
        parts.push("Engine: kernel".to_owned());
    }
    if counts.missed_ticks > 0 {
        parts.push(format!("Missed: {}", counts.missed_ticks));
    }
    if let Some(late) = timing::lateness(stats, rate_hz) {
        parts.push(format!("Late: {late}"));
    }
    if let Some(kind) = profile.options().weights.time {
        #[allow(
            clippy::cast_precision_loss,
            reason = "seconds shown with two decimals"
        )]
        let seconds = counts.time_ns as f64 / 1e9;
        parts.push(format!("{}: {seconds:.2} s", kind.title()));
    }
    if profile.options().weights.rss {
        let growth = profile.total_growth();
        parts.push(format!(
            "RSS added: {} released: {}",
            mib(growth.grown_bytes),
            mib(growth.released_bytes)
        ));
        parts.extend(page_faults(stats.page_faults));
    }
    let rss = profile.rss();
    if let (Some(first), Some(last), Some(peak)) = (rss.first(), rss.last(), rss.peak()) {
        parts.push(format!(
            "RSS: {} first, {} last, {} peak",
            mib(first),
            mib(last),
            mib(peak)
        ));
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// How many page faults growth was attributed by, if by any.
#[allow(clippy::cast_precision_loss, reason = "a ratio shown with one decimal")]
fn page_faults(faults: PageFaults) -> Option<String> {
    let PageFaults { count, recorded } = faults;
    match recorded {
        0 => None,
        _ if recorded == count => Some(format!("Page faults: {count}")),
        _ => {
            let ratio = count as f64 / recorded as f64;
            Some(format!("Page faults: {count}, one of {ratio:.1} recorded"))
        }
    }
}

/// Ticks per second of the time that was sampled; `None` if no tick was due.
#[allow(clippy::cast_precision_loss, reason = "a rate shown with one decimal")]
pub(super) fn achieved_hz(profile: &Profile) -> Option<f64> {
    let counts = profile.counts();
    // One tick is due in each period.
    let due = counts.ticks.saturating_add(counts.missed_ticks);
    let rate_hz = f64::from(profile.options().rate_hz);
    (due > 0).then(|| rate_hz * (counts.ticks as f64 / due as f64))
}

/// Whether there is nothing but errors, and many: then idle threads are not what matters.
fn has_mostly_failed(profile: &Profile) -> bool {
    let counts = profile.counts();
    counts.samples == 0 && counts.errors > counts.ticks / 10
}

/// Why a file has no stacks.
fn emptiness(profile: &Profile, last_error: Option<&str>) -> Option<String> {
    if profile.total_weight() > 0 {
        return None;
    }
    let counts = profile.counts();
    let threads = [counts.samples, counts.idle, counts.without_gil, counts.torn];
    let error = last_error.filter(|_| threads == [0; 4] || has_mostly_failed(profile));
    Some(error.map_or_else(
        || empty::reason(profile),
        |error| format!("No samples; last error: {error}"),
    ))
}

/// That a file does not have all frames of its deepest stacks.
fn folded_stacks(format: Format, profile: &Profile) -> Option<String> {
    if format != Format::Speedscope {
        return None;
    }
    let deep = speedscope::deep_stacks(profile);
    let deepest = deep.values().max()?;
    let (stacks, have) = match deep.len() {
        1 => ("1 stack".to_owned(), "has"),
        many => (format!("{many} different stacks"), "have"),
    };
    Some(format!(
        "{stacks} with up to {deepest} frames {have} only {} in the file, without their middle: the viewer fails on \
         deeper ones (-f raw writes all)",
        speedscope::MAX_DEPTH
    ))
}

/// Warnings about full tables.
fn fullness(profile: &Profile) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(share) = profile.folded_share() {
        lines.push(format!(
            "Too many distinct frames, stacks or threads: {:.1} % of the samples are merged into \
             '{TOO_MANY}'",
            share * 100.0
        ));
    }
    if profile.options().timeline && profile.threads().too_many().is_some() {
        lines.push("Too many threads for a timeline: the file has only the first ones".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use std::time::Duration;

    use super::*;
    use crate::profile::options::{ProfileOptions, Selection, Weights};
    use crate::sampler::sample::{ProcessSample, Sample};
    use crate::testing::{frames, process, sample_of, thread};

    /// 101 samples of one thread in one second.
    fn profile(active: bool, missed_ticks: u64, options: ProfileOptions) -> Profile {
        let mut frames = frames();
        let leaf = frames.id("leaf", 11);
        let trace = thread(7).active(active).stack(&[leaf]);
        let mut profile = Profile::new(options);
        for tick in 0..=100 {
            let process = ProcessSample {
                rss_bytes: Some((1 << 20) * (10 + tick)),
                ..process(7, vec![trace.clone()])
            };
            let sample = Sample {
                missed_ticks: if tick == 50 { missed_ticks } else { 0 },
                ..sample_of(tick * 10, vec![process])
            };
            profile.add(&sample, &frames.table, &|_| None);
        }
        profile
    }

    fn closing_lines(
        profile: &Profile,
        stats: &SamplerStats,
        last_error: Option<&str>,
    ) -> Vec<String> {
        lines(Closing {
            profile,
            stats,
            format: Format::Flamegraph,
            path: Path::new("/tmp/o.svg"),
            last_error,
            native_threads: &[],
        })
    }

    fn plain(profile: &Profile, last_error: Option<&str>) -> Vec<String> {
        closing_lines(profile, &SamplerStats::default(), last_error)
    }

    #[test]
    fn rate_and_memory_are_told() {
        let rate = "Rate: 100.0 of 100 per second ";
        let rss = "RSS: 10.0 MiB first, 110.0 MiB last, 110.0 MiB peak";
        let time = profile(true, 0, ProfileOptions::default());
        // A second is too short for a verdict, which only a recording of memory reports.
        assert_eq!(plain(&time, None), [format!("{rate}{rss}")]);
        let options = ProfileOptions {
            weights: Weights::RSS,
            ..ProfileOptions::default()
        };
        let memory = plain(&profile(true, 0, options), None);
        assert!(
            memory[0].starts_with(&format!("{rate}RSS added: ")),
            "{memory:?}"
        );
        assert!(
            memory.contains(&"Memory: inconclusive: 1.0 s is too short".to_owned()),
            "{memory:?}"
        );
    }

    #[test]
    fn shows_missed_late_and_torn_samples() {
        let mut profile = profile(
            true,
            3,
            ProfileOptions {
                weights: Weights::CPU_TIME,
                ..ProfileOptions::default()
            },
        );
        let torn = Sample {
            elapsed: Duration::from_secs(1),
            errors: vec!["gone".to_owned()],
            torn: 4,
            ..Sample::default()
        };
        profile.add(&torn, &frames().table, &|_| None);
        let mut stats = SamplerStats::default();
        stats.lateness.record(Duration::from_millis(2));
        let all = closing_lines(&profile, &stats, None);
        assert!(
            all[0].contains(
                "Torn: 4 Rate: 97.1 of 100 per second Missed: 3 \
                 Late: 2.00 ms median, 2.00 ms p99 CPU: 0.00 s RSS:"
            ),
            "{all:?}"
        );
        assert!(
            all[1].contains("in 101 samples; record without --cpu"),
            "{all:?}"
        );
    }

    #[test]
    fn an_empty_file_has_a_reason() {
        let text = |profile: &Profile| plain(profile, None).join("\n");
        let idle = text(&profile(false, 0, ProfileOptions::default()));
        assert!(
            idle.contains("101 idle samples; record with --idle"),
            "{idle}"
        );
        let gil = text(&profile(
            true,
            0,
            ProfileOptions {
                selection: Selection {
                    gil_only: true,
                    ..Selection::default()
                },
                ..ProfileOptions::default()
            },
        ));
        assert!(
            gil.contains("101 samples without; leave out --gil"),
            "{gil}"
        );
        let empty = Profile::new(ProfileOptions::default());
        let broken = plain(&empty, Some("torn"));
        assert!(broken.join("\n").contains("last error: torn"), "{broken:?}");
    }

    /// "Every thread was idle" was all that was said of a process that used a whole CPU.
    #[test]
    fn native_threads_are_named_where_python_is_idle() {
        let stats = SamplerStats::default();
        let burner = BusyThread {
            tid: 4_711,
            name: "blas".to_owned(),
            share: 0.984,
        };
        let idle = profile(false, 0, ProfileOptions::default());
        let busy = profile(true, 0, ProfileOptions::default());
        let closing = |profile| Closing {
            native_threads: std::slice::from_ref(&burner),
            profile,
            stats: &stats,
            format: Format::Raw,
            path: Path::new("x.txt"),
            last_error: None,
        };
        let line = "Thread 4711 (blas) used 98 % of a CPU and runs no Python: its functions are native, and \
                    `perf top -t 4711` shows them";
        assert!(lines(closing(&idle)).contains(&line.to_owned()));
        assert!(!lines(closing(&busy)).contains(&line.to_owned()));
    }

    #[test]
    fn missed_samples_are_reported() {
        let profile = profile(true, 99, ProfileOptions::default());
        let stats = |missed_ticks| SamplerStats {
            samples: 101,
            missed_ticks,
            sampling_time: Duration::from_secs(1),
            ..SamplerStats::default()
        };
        assert_eq!(closing_lines(&profile, &stats(1), None).len(), 1);
        let many = closing_lines(&profile, &stats(99), None);
        assert!(many[1].starts_with("Missed 99 of 200 samples"), "{many:?}");
    }

    /// The viewer fails on stacks of 5,000 frames; their file said nothing of it.
    #[test]
    fn folded_stacks_are_told() {
        let mut frames = frames();
        let leaf = frames.id("leaf", 11);
        let mut profile = Profile::new(ProfileOptions {
            timeline: true,
            ..ProfileOptions::default()
        });
        for (tick, depth) in [4_000, 4_001, 5_000].into_iter().enumerate() {
            let trace = thread(7).active(true).stack(&vec![leaf; depth]);
            let sample = sample_of(tick as u64 * 10, vec![process(7, vec![trace])]);
            profile.add(&sample, &frames.table, &|_| None);
        }
        let line = folded_stacks(Format::Speedscope, &profile);
        let start = "2 different stacks with up to 5000 frames have only 4000 in the file";
        assert!(
            line.as_ref().is_some_and(|line| line.starts_with(start)),
            "{line:?}"
        );
        assert_eq!(folded_stacks(Format::Raw, &profile), None);
    }
}
