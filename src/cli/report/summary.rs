//! The lines that end a recording: what was written, and what to know about it.

use std::path::Path;

use super::{memory, timing};
use crate::cpython::code::frame_table::TOO_MANY;
use crate::output::format::Format;
use crate::profile::Profile;
use crate::sampler::stats::SamplerStats;
use crate::text::units::mib;

/// What a closed recording has to say.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// What was written.
    pub profile: &'a Profile,
    /// How it was sampled.
    pub stats: &'a SamplerStats,
    /// Whether nothing was to be paused.
    pub nonblocking: bool,
    /// In which format.
    pub format: Format,
    /// To which file.
    pub path: &'a Path,
    /// The last thing that could not be read.
    pub last_error: Option<&'a str>,
}

/// The lines to print after a file was written; the first one is always there.
pub fn lines(closing: Closing<'_>) -> Vec<String> {
    let Closing { profile, stats, .. } = closing;
    let rate_hz = profile.options().rate_hz;
    let mut lines = vec![closing_line(closing)];
    if !closing.format.needs_memory() {
        lines.extend(emptiness(profile, closing.last_error));
    }
    lines.extend(timing::missed(stats, rate_hz, closing.nonblocking));
    lines.extend(fullness(profile));
    lines.extend(memory::lines(profile));
    lines
}

/// py-spy's closing line, and behind it the rate and the memory.
fn closing_line(closing: Closing<'_>) -> String {
    let Closing {
        profile,
        stats,
        format,
        path,
        ..
    } = closing;
    let what = match format {
        Format::Flamegraph => "flamegraph data",
        Format::Raw => "raw flamegraph data",
        Format::Speedscope => "speedscope file",
        Format::Chrometrace => "chrome trace",
        Format::Timeline => "timeline",
        Format::Mprof => "mprof data",
        Format::Lines => "table of lines",
        Format::Functions => "table of functions",
    };
    let (counts, rate_hz) = (profile.counts(), profile.options().rate_hz);
    let mut line = format!(
        "Wrote {what} to '{}'. Samples: {} Errors: {}",
        path.display(),
        counts.samples,
        counts.errors.saturating_add(counts.torn)
    );
    if counts.torn > 0 {
        line += &format!(" ({} torn)", counts.torn);
    }
    if let Some(rate) = achieved_hz(profile) {
        line += &format!(" Rate: {rate:.1} of {rate_hz} per second");
    }
    if counts.missed_ticks > 0 {
        line += &format!(" Missed: {}", counts.missed_ticks);
    }
    if let Some(late) = timing::lateness(stats, rate_hz) {
        line += &format!(" Late: {late}");
    }
    if profile.options().cpu_time {
        #[allow(
            clippy::cast_precision_loss,
            reason = "seconds shown with two decimals"
        )]
        let seconds = counts.cpu_ns as f64 / 1e9;
        line += &format!(" CPU: {seconds:.2} s");
    }
    if profile.options().memory {
        let growth = profile.total_growth();
        line += &format!(
            " Grown: {} Given back: {}",
            mib(growth.grown_bytes),
            mib(growth.released_bytes)
        );
    }
    let rss = profile.rss();
    if let (Some(first), Some(last), Some(peak)) = (rss.first(), rss.last(), rss.peak()) {
        line += &format!(
            " RSS: {} first, {} last, {} peak",
            mib(first),
            mib(last),
            mib(peak)
        );
    }
    line
}

/// Ticks per second; `None` with fewer than three.
pub(super) fn achieved_hz(profile: &Profile) -> Option<f64> {
    let intervals = profile.counts().ticks.checked_sub(1).filter(|n| *n > 0)?;
    let seconds = profile.last_elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate shown with one decimal")]
    (seconds > 0.0).then(|| intervals as f64 / seconds)
}

/// Why a file has no samples, and what would show some.
fn emptiness(profile: &Profile, last_error: Option<&str>) -> Option<String> {
    let counts = profile.counts();
    if profile.total_weight() > 0 {
        return None;
    }
    Some(if profile.options().memory && counts.ticks > 1 {
        format!(
            "Resident memory has not grown: the file holds no stacks; without --memory it would show \
             {} samples",
            counts.samples
        )
    } else if counts.samples > 0 {
        format!(
            "No time on a CPU was counted: nothing ran, or the kernel does not count; without --cpu \
             the file would show {} samples",
            counts.samples
        )
    } else if counts.idle > 0 {
        format!(
            "Every thread was idle: the file holds no stacks; --idle would show {} idle samples",
            counts.idle
        )
    } else if counts.without_gil > 0 {
        format!(
            "No thread held the GIL: the file holds no stacks; without --gil it would show {} \
             samples",
            counts.without_gil
        )
    } else if counts.torn > 0 {
        format!(
            "No stack could be read: all {} changed while they were read",
            counts.torn
        )
    } else if let Some(error) = last_error {
        format!("No stack could be read; the last error: {error}")
    } else {
        "No Python ran while we looked: the file holds no stacks".to_owned()
    })
}

/// A word when there was no room to tell everything apart.
fn fullness(profile: &Profile) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(share) = profile.folded_share() {
        lines.push(format!(
            "There were too many different frames, stacks or threads to keep them all: {:.1} % is \
             under '{TOO_MANY}'",
            share * 100.0
        ));
    }
    if profile.options().timeline && profile.threads().too_many().is_some() {
        lines.push(
            "There were too many threads to keep the order of what they did: the file holds only \
             the first"
                .to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use std::time::Duration;

    use super::*;
    use crate::cpython::code::frame_table::{Frame, FrameTable};
    use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
    use crate::profile::options::ProfileOptions;
    use crate::sampler::sample::{ProcessSample, Sample};

    /// 101 looks in one second at a thread.
    fn profile(active: bool, missed_ticks: u64, options: ProfileOptions) -> Profile {
        let mut frames = FrameTable::default();
        let leaf = frames.intern(Frame {
            name: "leaf".into(),
            filename: "/srv/app.py".into(),
            short_filename: "app.py".into(),
            line: Some(11),
            first_line: 10,
            columns: None,
        });
        let thread = ThreadInfo {
            os_thread_id: Some(7),
            pthread_id: 7,
            name: None,
            interpreter_ids: vec![0],
            active,
            owns_gil: false,
            collecting: false,
            waits_for_cpu: false,
            is_main: true,
            cpu_ns: None,
            faults: None,
        };
        let mut profile = Profile::new(options);
        for tick in 0..=100 {
            let sample = Sample {
                elapsed: Duration::from_millis(tick * 10),
                missed_ticks: if tick == 50 { missed_ticks } else { 0 },
                processes: vec![ProcessSample {
                    pid: 7,
                    traces: vec![StackTrace {
                        thread: thread.clone(),
                        frames: [leaf].into(),
                    }],
                    rss_bytes: Some((1 << 20) * (10 + tick)),
                    rss_change: None,
                }],
                ..Sample::default()
            };
            profile.add(&sample, &frames, &|_| None);
        }
        profile
    }

    fn said(profile: &Profile, stats: &SamplerStats, last_error: Option<&str>) -> Vec<String> {
        lines(Closing {
            profile,
            stats,
            nonblocking: false,
            format: Format::Flamegraph,
            path: Path::new("/tmp/o.svg"),
            last_error,
        })
    }

    fn plain(profile: &Profile, last_error: Option<&str>) -> Vec<String> {
        said(profile, &SamplerStats::default(), last_error)
    }

    #[test]
    fn closes_with_py_spys_line_and_more() {
        let profile = profile(true, 0, ProfileOptions::default());
        assert_eq!(
            plain(&profile, None),
            [
                "Wrote flamegraph data to '/tmp/o.svg'. Samples: 101 Errors: 0 Rate: 100.0 of 100 \
                 per second RSS: 10.0 MiB first, 110.0 MiB last, 110.0 MiB peak",
                "Memory: inconclusive: 1.0 s is too short"
            ]
        );
    }

    #[test]
    fn tells_what_was_missed_late_and_torn() {
        let mut profile = profile(
            true,
            3,
            ProfileOptions {
                cpu_time: true,
                ..ProfileOptions::default()
            },
        );
        let torn = Sample {
            elapsed: Duration::from_secs(1),
            errors: vec!["gone".to_owned()],
            torn: 4,
            ..Sample::default()
        };
        profile.add(&torn, &FrameTable::default(), &|_| None);
        let mut stats = SamplerStats::default();
        stats.lateness.record(Duration::from_millis(2));
        let all = said(&profile, &stats, None);
        assert!(
            all[0].contains(
                "Samples: 101 Errors: 5 (4 torn) Rate: 101.0 of 100 per second Missed: 3 \
                 Late: 2.00 ms median, 2.00 ms p99 CPU: 0.00 s RSS:"
            ),
            "{all:?}"
        );
        assert!(
            all[1].contains("without --cpu the file would show 101"),
            "{all:?}"
        );
    }

    #[test]
    fn says_why_there_is_nothing() {
        let text = |profile: &Profile| plain(profile, None).join("\n");
        let idle = text(&profile(false, 0, ProfileOptions::default()));
        assert!(
            idle.contains("--idle would show 101 idle samples"),
            "{idle}"
        );
        let gil = text(&profile(
            true,
            0,
            ProfileOptions {
                gil_only: true,
                ..ProfileOptions::default()
            },
        ));
        assert!(gil.contains("without --gil it would show 101"), "{gil}");
        let empty = Profile::new(ProfileOptions::default());
        let broken = plain(&empty, Some("torn"));
        assert!(
            broken.join("\n").contains("the last error: torn"),
            "{broken:?}"
        );
    }

    #[test]
    fn owns_up_to_missed_looks() {
        let profile = profile(true, 99, ProfileOptions::default());
        let stats = |missed_ticks| SamplerStats {
            samples: 101,
            missed_ticks,
            sampling_time: Duration::from_secs(1),
            ..SamplerStats::default()
        };
        assert_eq!(said(&profile, &stats(1), None).len(), 2);
        let many = said(&profile, &stats(99), None);
        assert!(many[1].starts_with("99 of 200 looks"), "{many:?}");
    }
}
