//! A [`Profile`] in somebody's file format: one file per format, all with the same `write`.

pub mod file;
pub mod format;
pub mod memory;
pub mod memory_report;
pub mod palette;
pub mod stacks;
pub mod tables;

use memory::mprof;
use memory::timeline;
use stacks::chrometrace;
use stacks::flamegraph;
use stacks::folded;
use stacks::speedscope;
use tables::functions;
use tables::lines;

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use format::Format;
use tables::TableOptions;

use crate::profile::Profile;
use crate::profile::options::Counts;
use crate::text::sanitize::clean;

/// What a file says of its recording besides the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The program's command line, words joined with spaces.
    pub command: String,
    /// The interpreter's version, such as `3.12.1`.
    pub python_version: Option<String>,
    /// When the recording began.
    pub start: Option<SystemTime>,
    /// How long the recording took.
    pub duration: Duration,
    /// What a table shows.
    pub tables: TableOptions,
}

impl Meta {
    /// `pyspy-rs: python app.py (Python 3.12.1)`, with the command cut so that all of it has at most
    /// `max_chars` characters (though never less than 16 of the command).
    pub fn title(&self, max_chars: usize) -> String {
        self.title_after("pyspy-rs", max_chars)
    }

    /// The same with another word or two at its start.
    pub fn title_after(&self, start: &str, max_chars: usize) -> String {
        let version = self
            .python_version
            .as_deref()
            .map(|version| format!(" (Python {})", clean(version)));
        let version = version.unwrap_or_default();
        let fixed = start.chars().count() + ": ".len() + version.chars().count();
        let command = shorten(
            &clean(&self.command),
            max_chars.saturating_sub(fixed).max(16),
        );
        format!("{start}: {command}{version}")
    }
}

/// Why a profile weighs nothing, and what would have shown something.
fn no_samples(profile: &Profile) -> String {
    let Counts {
        samples,
        idle,
        without_gil,
        ..
    } = *profile.counts();
    if profile.options().memory && profile.rss().first().is_some() {
        "Resident memory has not grown; record without --memory to see where the time goes"
            .to_owned()
    } else if samples > 0 {
        format!(
            "No time on a CPU was counted in {samples} samples; record without --cpu to see them"
        )
    } else if idle > 0 {
        format!(
            "No samples: every thread was idle ({idle} idle samples; record with --idle to see them)"
        )
    } else if without_gil > 0 {
        format!(
            "No samples: no thread held the GIL ({without_gil} samples without; leave out --gil to see them)"
        )
    } else {
        "No samples: no thread ran Python while we looked".to_owned()
    }
}

/// Bytes as people read them: `1.5 MiB`, `4.0 KiB`.
fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let bytes = bytes as f64;
    if bytes < f64::from(1 << 20) / 10.0 {
        format!("{:.1} KiB", bytes / 1024.0)
    } else {
        format!("{:.1} MiB", bytes / f64::from(1 << 20))
    }
}

/// The text, or as much of its start as fits into `max_chars` characters with `…` behind it.
fn shorten(text: &str, max_chars: usize) -> String {
    if text.chars().nth(max_chars).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Writes the profile in this format.
///
/// # Errors
/// Those of `out`.
pub fn write(
    format: Format,
    profile: &Profile,
    meta: &Meta,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Flamegraph => flamegraph::write(profile, meta, out),
        Format::Raw => folded::write(profile, meta, out),
        Format::Speedscope => speedscope::write(profile, meta, out),
        Format::Chrometrace => chrometrace::write(profile, meta, out),
        Format::Timeline => timeline::write(profile, meta, out),
        Format::Mprof => mprof::write(profile, meta, out),
        Format::Lines => lines::write(profile, meta, out),
        Format::Functions => functions::write(profile, meta, out),
    }
}

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;
