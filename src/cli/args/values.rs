//! Parsers of option values: seconds, PIDs, names of formats and columns.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::os::Pid;
use crate::output::format::Format;
use crate::output::table_options::SortKey;

/// How long to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFor {
    Unlimited,
    Time(Duration),
}

/// What `dump` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DumpFormat {
    #[default]
    Text,
    Json,
}

/// Who takes the samples of `record`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// The best one that the system permits.
    #[default]
    Auto,
    /// The kernel, in timer interrupts: nothing is paused.
    Kernel,
    /// Threads are paused while they are read.
    Pause,
    /// Threads are read while they run, as with --nonblocking.
    Read,
}

/// Time between refreshes. Its own type, so that clap shows the default as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay(pub Duration);

/// The formats' names, case-insensitive as in py-spy.
pub(crate) fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name))
        .try_map(|name| name.to_ascii_lowercase().parse::<Format>())
}

pub(crate) fn sort_parser() -> impl TypedValueParser<Value = SortKey> {
    PossibleValuesParser::new(SortKey::ALL.map(SortKey::name)).try_map(|name| {
        let mut keys = SortKey::ALL.into_iter();
        keys.find(|key| key.name().eq_ignore_ascii_case(&name))
            .ok_or("no such column")
    })
}

pub(crate) fn parse_pid(text: &str) -> Result<Pid, String> {
    let pid = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => Pid::from_str_radix(hex, 16),
        None => text.parse::<Pid>(),
    };
    match pid {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err("not a PID: use a number such as 8172 or 0x1fec".to_owned()),
    }
}

pub(crate) fn parse_rate(text: &str) -> Result<u32, String> {
    let rate: Option<u32> = text.parse().ok();
    rate.filter(|rate| (1..=1_000_000).contains(rate))
        .ok_or_else(|| "use whole samples per second, from 1 to 1000000".to_owned())
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
}

pub(crate) fn parse_duration(text: &str) -> Result<RecordFor, String> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(RecordFor::Unlimited);
    }
    let seconds: Option<f64> = text.parse().ok();
    // Zero, too, as in py-spy.
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(RecordFor::Time)
        .ok_or_else(|| "use seconds, such as 30, or `unlimited`".to_owned())
}

pub(crate) fn parse_delay(text: &str) -> Result<Delay, String> {
    parse_seconds(text)
        .map(Delay)
        .ok_or_else(|| "use seconds, such as 0.5".to_owned())
}
