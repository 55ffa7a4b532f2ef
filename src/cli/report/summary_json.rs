//! `record --summary FILE`: how a recording went, for programs to read. The schema, version 1:
//!
//! ```text
//! {
//!   "schema": 1,               changes when a key goes or changes its meaning; keys may be added
//!   "pyspy_rs_version": "0.1.0",
//!   "command": "python3 app.py",       of the target
//!   "python_version": "3.12.1",        null when the program ended before it was attached to
//!   "format": "flamegraph",    of the recording, by its name for -f
//!   "file": "profile.svg",     "-" for stdout
//!   "engine": "pausing",       threads are paused while they are read; "nonblocking": they are not,
//!                              with --nonblocking or because they could not be paused; or
//!                              "kernel": the kernel takes the samples
//!   "ended_by": "duration",    or "signal", or "program": no process is left
//!   "duration_seconds": 10.0,
//!   "rate_hz": 100,            requested
//!   "achieved_hz": 99.8,       ticks per second; null if none was due
//!   "ticks": 999,              at which all processes were sampled
//!   "missed_ticks": 1,         left out because an earlier sample took too long
//!   "samples": 2997,           stacks of threads that are in the file
//!   "left_out": {              stacks of threads that are not
//!     "idle": 120,             without --idle
//!     "without_gil": 0,        with --gil
//!     "without_python": 0      threads that run no Python
//!   },
//!   "errors": {                stacks that are missing; "Errors" of the closing line is the sum
//!     "unreadable": 0,         processes or threads that could not be read
//!     "torn": 3                stacks that changed while they were read
//!   },
//!   "last_error": null,        of those that are unreadable, as text
//!   "lateness": {              of the ticks against their deadlines
//!     "count": 999,
//!     "median_seconds": 0.00006,       null, as the two below, when the count is 0
//!     "p99_seconds": 0.0002,
//!     "max_seconds": 0.0011
//!   },
//!   "pauses": { …,             of threads of the target, one by one; keys as in "lateness", and
//!     "fell_short": 0          samples in which a thread was read without the pause that it needed, as
//!   },                         on a machine that is short of CPUs: its stack may be torn
//!   "mean_sample_seconds": 0.00012,    that one tick takes for all processes; null without ticks
//!   "cpu_seconds": null,       of the threads that were counted; null without --cpu
//!   "wall_seconds": null,      the same, with the time in which they waited; null without --wall
//!   "merged_share": 0.0,       of all weight, merged because a table was full
//!   "memory": {                null when none was read
//!     "first_rss_bytes": 59873690,     of all processes together
//!     "last_rss_bytes": 63963136,
//!     "peak_rss_bytes": 63963136,
//!     "grown_bytes": null,     by all stacks together; these two are null without --memory
//!     "released_bytes": null,
//!     "page_faults": null,     that growth was attributed by: {"count": 52341, "recorded": 16230}, of which the
//!                              stacks are known; null without --memory, or without the kernel engine
//!     "verdict": "growing",    a leak is suspected; or "stable", "reclaimable" (growing, but no leak), "step",
//!                              "inconclusive"
//!     "text": "growing at …",  the verdict as the closing line has it
//!     "bytes_per_minute": 1048576,     of "growing" and "reclaimable", else null
//!     "bytes": null,           of "step", of a rise before "stable", or no longer shared; else null
//!     "at_seconds": 0.0,       when that was, or since when it grows; else null
//!     "suspects": [{           the stacks that it grew in; [] without --memory and a leak
//!       "kept_bytes": 1048576,
//!       "added_bytes": 1572864,  if this is more than 100 times as much, others may have added what stayed
//!       "frames": ["…"]        root first
//!     }]
//!   }
//! }
//! ```

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::summary::{Closing, achieved_hz};
use crate::output::memory_report::MemoryReport;
use crate::output::meta::Meta;
use crate::profile::Profile;
use crate::profile::options::TimeWeight;
use crate::sampler::histogram::Histogram;
use crate::sampler::stats::PageFaults;
use crate::session::recording::Ending;
use crate::text::escape::in_json;

/// The version of the schema.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    pyspy_rs_version: &'static str,
    command: &'a str,
    python_version: Option<&'a str>,
    format: &'static str,
    file: String,
    engine: &'static str,
    ended_by: &'static str,
    duration_seconds: f64,
    rate_hz: u32,
    achieved_hz: Option<f64>,
    ticks: u64,
    missed_ticks: u64,
    samples: u64,
    left_out: LeftOut,
    errors: Errors,
    last_error: Option<&'a str>,
    lateness: Spread,
    pauses: Pauses,
    mean_sample_seconds: Option<f64>,
    cpu_seconds: Option<f64>,
    wall_seconds: Option<f64>,
    merged_share: f64,
    memory: Option<Memory>,
}

#[derive(Serialize)]
struct LeftOut {
    idle: u64,
    without_gil: u64,
    without_python: u64,
}

#[derive(Serialize)]
struct Errors {
    unreadable: u64,
    torn: u64,
}

#[derive(Serialize)]
struct Spread {
    count: u64,
    median_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    max_seconds: Option<f64>,
}

#[derive(Serialize)]
struct FaultCounts {
    count: u64,
    recorded: u64,
}

#[derive(Serialize)]
struct Pauses {
    #[serde(flatten)]
    times: Spread,
    fell_short: u64,
}

#[derive(Serialize)]
struct Memory {
    first_rss_bytes: u64,
    last_rss_bytes: u64,
    peak_rss_bytes: u64,
    grown_bytes: Option<u64>,
    released_bytes: Option<u64>,
    page_faults: Option<FaultCounts>,
    verdict: &'static str,
    text: String,
    bytes_per_minute: Option<u64>,
    bytes: Option<u64>,
    at_seconds: Option<f64>,
    suspects: Vec<Suspect>,
}

#[derive(Serialize)]
struct Suspect {
    kept_bytes: u64,
    added_bytes: u64,
    frames: Vec<String>,
}

/// Writes the document and a newline.
///
/// # Errors
/// What writing fails with.
pub fn write(
    closing: Closing<'_>,
    meta: &Meta,
    ending: Ending,
    out: &mut impl Write,
) -> io::Result<()> {
    let document = document(closing, meta, ending);
    let json = serde_json::to_string_pretty(&document)?;
    writeln!(out, "{}", in_json(&json))
}

fn document<'a>(closing: Closing<'a>, meta: &'a Meta, ending: Ending) -> Document<'a> {
    let Closing { profile, stats, .. } = closing;
    let counts = profile.counts();
    let seconds_of = |kind| {
        let is_of = profile.options().weights.time == Some(kind);
        is_of.then(|| Duration::from_nanos(counts.time_ns).as_secs_f64())
    };
    Document {
        schema: SCHEMA,
        pyspy_rs_version: env!("CARGO_PKG_VERSION"),
        command: &meta.command,
        python_version: meta.python_version.as_deref(),
        format: closing.format.name(),
        file: closing.path.display().to_string(),
        engine: stats.engine().name(),
        ended_by: match ending {
            Ending::Duration => "duration",
            Ending::Stopped => "signal",
            Ending::ProgramEnded => "program",
        },
        duration_seconds: meta.duration.as_secs_f64(),
        rate_hz: profile.options().rate_hz,
        achieved_hz: achieved_hz(profile),
        ticks: counts.ticks,
        missed_ticks: counts.missed_ticks,
        samples: counts.samples,
        left_out: LeftOut {
            idle: counts.idle,
            without_gil: counts.without_gil,
            without_python: counts.without_python,
        },
        errors: Errors {
            unreadable: counts.errors,
            torn: counts.torn,
        },
        last_error: closing.last_error,
        lateness: Spread::of(&stats.lateness),
        pauses: Pauses {
            times: Spread::of(&stats.pauses),
            fell_short: stats.short_pauses,
        },
        mean_sample_seconds: seconds(stats.mean_sample_time()),
        cpu_seconds: seconds_of(TimeWeight::Cpu),
        wall_seconds: seconds_of(TimeWeight::Wall),
        merged_share: profile.folded_share().unwrap_or(0.0),
        memory: Memory::of(profile, stats.page_faults),
    }
}

impl Spread {
    fn of(times: &Histogram) -> Spread {
        Spread {
            count: times.count(),
            median_seconds: seconds(times.median()),
            p99_seconds: seconds(times.p99()),
            max_seconds: seconds(times.max()),
        }
    }
}

impl Memory {
    fn of(profile: &Profile, faults: PageFaults) -> Option<Memory> {
        let report = MemoryReport::of(profile)?;
        let growth = profile
            .options()
            .weights
            .rss
            .then(|| profile.total_growth());
        let suspects = report.suspects.into_iter().map(|suspect| Suspect {
            kept_bytes: suspect.kept_bytes,
            added_bytes: suspect.added_bytes,
            frames: suspect.frames,
        });
        Some(Memory {
            first_rss_bytes: report.first_rss_bytes,
            last_rss_bytes: report.last_rss_bytes,
            peak_rss_bytes: report.peak_rss_bytes,
            grown_bytes: growth.map(|growth| growth.grown_bytes),
            released_bytes: growth.map(|growth| growth.released_bytes),
            page_faults: (faults.recorded > 0).then_some(FaultCounts {
                count: faults.count,
                recorded: faults.recorded,
            }),
            verdict: report.verdict,
            text: report.text,
            bytes_per_minute: report.bytes_per_minute,
            bytes: report.bytes,
            at_seconds: report.at_seconds,
            suspects: suspects.collect(),
        })
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::cpython::code::frame_table::FrameTable;
    use crate::output::format::Format;
    use crate::profile::options::{ProfileOptions, Weights};
    use crate::sampler::sample::{ProcessSample, Sample};
    use crate::sampler::stats::SamplerStats;

    fn written(profile: &Profile, stats: &SamplerStats) -> Value {
        let meta = Meta {
            command: "python3 app.py".to_owned(),
            duration: Duration::from_millis(1500),
            ..Meta::default()
        };
        let closing = Closing {
            profile,
            stats,
            format: Format::Raw,
            path: Path::new("/tmp/o.txt"),
            last_error: Some("gone\u{1b}[31m"),
            native_threads: &[],
        };
        let mut bytes = Vec::new();
        write(closing, &meta, Ending::Stopped, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with("}\n") && !text.contains('\u{1b}'), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// All keys with the paths to them, in the order of the document.
    fn keys(value: &Value, path: &str, all: &mut Vec<String>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            all.push(format!("{path}{key}"));
            keys(value, &format!("{path}{key}."), all);
        }
    }

    #[test]
    fn counts_are_what_was_counted() {
        let mut profile = Profile::new(ProfileOptions {
            weights: Weights::RSS,
            ..ProfileOptions::default()
        });
        let mut stats = SamplerStats::default();
        for tick in 0..=10 {
            let sample = Sample {
                elapsed: Duration::from_millis(tick * 100),
                missed_ticks: u64::from(tick == 5) * 3,
                errors: vec!["gone".to_owned(); usize::from(tick == 7)],
                torn: u64::from(tick == 8) * 2,
                processes: vec![ProcessSample {
                    pid: 7,
                    traces: Vec::new(),
                    rss_bytes: Some((1 << 20) * (10 + tick)),
                    rss_change: None,
                    fault_growth: Vec::new(),
                }],
                ..Sample::default()
            };
            profile.add(&sample, &FrameTable::default(), &|_| None);
            stats.lateness.record(Duration::from_millis(2));
        }
        let json = written(&profile, &stats);
        assert_eq!(json["engine"], "pausing");
        assert_eq!(json["ended_by"], "signal");
        assert_eq!(
            (&json["ticks"], &json["missed_ticks"]),
            (&11.into(), &3.into())
        );
        // 11 of 14 that were due.
        let achieved = json["achieved_hz"].as_f64().unwrap();
        assert!((achieved - 1_100.0 / 14.0).abs() < 1e-9, "{achieved}");
        assert_eq!(json["errors"]["unreadable"], 1);
        assert_eq!(json["errors"]["torn"], 2);
        assert_eq!(json["last_error"], "gone\u{1b}[31m");
        assert_eq!(json["lateness"]["max_seconds"], 0.002);
        assert_eq!(json["memory"]["peak_rss_bytes"], 20 << 20);
        assert_eq!(json["memory"]["verdict"], "inconclusive");
        assert_eq!(json["memory"]["grown_bytes"], 0);
    }

    /// All keys are present in every run, so that readers need no special cases.
    #[test]
    fn the_same_keys_are_always_there() {
        let mut profile = Profile::new(ProfileOptions::default());
        let shape = |profile: &Profile| {
            let (mut all, stats) = (Vec::new(), SamplerStats::default());
            keys(&written(profile, &stats), "", &mut all);
            all
        };
        let empty = shape(&profile);
        let sample = Sample {
            processes: vec![ProcessSample {
                pid: 7,
                traces: Vec::new(),
                rss_bytes: Some(1 << 20),
                rss_change: None,
                fault_growth: Vec::new(),
            }],
            ..Sample::default()
        };
        profile.add(&sample, &FrameTable::default(), &|_| None);
        let mut full = shape(&profile);
        let documented = include_str!("summary_json.rs");
        let documented = documented.split("use std::io").next().unwrap();
        for key in &full {
            let last = key.rsplit('.').next().unwrap();
            assert!(documented.contains(&format!("\"{last}\"")), "{key}");
        }
        full.retain(|key| !key.starts_with("memory."));
        assert_eq!(empty, full);
    }
}
