//! The lines that end a recording: what was written, and what to know about it.

use std::path::Path;

use super::clock::mib;
use crate::output::Format;
use crate::profile::Profile;

/// The lines to print after a file was written; the first one is always there.
pub fn lines(
    profile: &Profile,
    format: Format,
    path: &Path,
    last_error: Option<&str>,
) -> Vec<String> {
    let mut lines = vec![closing_line(profile, format, path)];
    lines.extend(emptiness(profile, last_error));
    lines.extend(lateness(profile));
    lines
}

/// py-spy's closing line, and behind it the rate and the memory.
fn closing_line(profile: &Profile, format: Format, path: &Path) -> String {
    let what = match format {
        Format::Flamegraph => "flamegraph data",
        Format::Raw => "raw flamegraph data",
        Format::Speedscope => "speedscope file",
        Format::Chrometrace => "chrome trace",
    };
    let counts = profile.counts();
    let mut line = format!(
        "Wrote {what} to '{}'. Samples: {} Errors: {}",
        path.display(),
        counts.samples,
        counts.errors
    );
    if let Some(rate) = achieved_hz(profile) {
        line += &format!(
            " Rate: {rate:.1} of {} per second",
            profile.options().rate_hz
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

/// Looks per second; `None` when there were too few to tell.
fn achieved_hz(profile: &Profile) -> Option<f64> {
    let intervals = profile.counts().ticks.checked_sub(1).filter(|n| *n > 0)?;
    let seconds = profile.last_elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate shown with one decimal")]
    (seconds > 0.0).then(|| intervals as f64 / seconds)
}

/// Why a file has no samples, and what would show some.
fn emptiness(profile: &Profile, last_error: Option<&str>) -> Option<String> {
    let counts = profile.counts();
    if counts.samples > 0 {
        return None;
    }
    Some(if counts.idle > 0 {
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
    } else if let Some(error) = last_error {
        format!("No stack could be read; the last error: {error}")
    } else {
        "No Python ran while we looked: the file holds no stacks".to_owned()
    })
}

/// A word when so many looks fell out that the picture suffers.
fn lateness(profile: &Profile) -> Option<String> {
    let counts = profile.counts();
    let planned = counts.ticks.saturating_add(counts.missed_ticks);
    // Looks are spaced at random, so that some always fall into the one before; it matters when
    // looking takes a good part of the time.
    (counts.missed_ticks > planned / 4).then(|| {
        format!(
            "{} of {planned} looks were left out because earlier ones took too long; a lower --rate \
             or --nonblocking would help",
            counts.missed_ticks
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cpython::{Frame, FrameTable, StackTrace, ThreadInfo};
    use crate::profile::ProfileOptions;
    use crate::sampler::{ProcessSample, Sample};

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
            is_main: true,
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
                        frames: vec![leaf],
                    }],
                    rss_bytes: Some((1 << 20) * (10 + tick)),
                }],
                ..Sample::default()
            };
            profile.add(&sample, &frames, &|_| None);
        }
        profile
    }

    #[test]
    fn closes_with_py_spys_line_and_more() {
        let profile = profile(true, 0, ProfileOptions::default());
        assert_eq!(
            lines(&profile, Format::Flamegraph, Path::new("/tmp/o.svg"), None),
            [
                "Wrote flamegraph data to '/tmp/o.svg'. Samples: 101 Errors: 0 Rate: 100.0 of 100 \
                 per second RSS: 10.0 MiB first, 110.0 MiB last, 110.0 MiB peak"
            ]
        );
    }

    #[test]
    fn says_why_there_is_nothing() {
        let text = |profile: &Profile| lines(profile, Format::Raw, Path::new("o"), None).join("\n");
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
        let broken = lines(&empty, Format::Raw, Path::new("o"), Some("torn"));
        assert!(
            broken.join("\n").contains("the last error: torn"),
            "{broken:?}"
        );
    }

    #[test]
    fn owns_up_to_missed_looks() {
        let few = lines(
            &profile(true, 1, ProfileOptions::default()),
            Format::Raw,
            Path::new("o"),
            None,
        );
        assert_eq!(few.len(), 1);
        let many = lines(
            &profile(true, 99, ProfileOptions::default()),
            Format::Raw,
            Path::new("o"),
            None,
        );
        assert!(
            many.iter().any(|line| line.starts_with("99 of 200 looks")),
            "{many:?}"
        );
    }
}
