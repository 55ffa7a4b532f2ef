//! [`Verdict`]: how a recording's RSS behaved, as a word and as a sentence.

use std::fmt;
use std::time::Duration;

use crate::text::units::{one_unit_duration, precise_mib};

/// How a recording's RSS behaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The baseline did not rise.
    Stable,
    /// It rose at first, or by less than what comes and goes, and was flat for the last third or more.
    Settled {
        /// Size of the rise.
        bytes: u64,
        /// End of the rise, from the start of the recording.
        since: Duration,
    },
    /// It rose steadily to the end: a leak is suspected, unless the kernel takes back what it rose by.
    Growing {
        bytes_per_minute: u64,
        /// Start of this growth, after an initial rise; 0 for the whole recording.
        since: Duration,
        kind: Option<Kind>,
    },
    /// The baseline did not rise in the end, but so many bytes of written pages that were shared with other
    /// processes are the program's own now.
    Unshared { bytes: u64 },
    /// It rose once from one level to another, within an eighth of the recording, by more than what comes
    /// and goes.
    Step {
        /// Size of the rise.
        bytes: u64,
        /// Time of the step, from the start of the recording.
        at: Duration,
        kind: Option<Kind>,
    },
    /// The recording does not suffice.
    Inconclusive {
        /// Length of the recording.
        elapsed: Duration,
        why: Inconclusive,
    },
}

/// What nearly all of a rise is, other than private memory in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pages of shared memory. It is not known who else holds them.
    Shared,
    /// Pages of mapped files.
    MappedFiles,
    /// Memory that the program has freed by `MADV_FREE`.
    FreedLazily,
}

impl Kind {
    /// Whether the kernel takes such memory back on its own.
    pub fn is_reclaimable(self) -> bool {
        match self {
            Kind::Shared => false,
            Kind::MappedFiles | Kind::FreedLazily => true,
        }
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inconclusive {
    /// The recording is shorter than [`SHORTEST`](super::thresholds::SHORTEST).
    Short,
    /// The recording has too few readings: this many.
    TooFewSamples(usize),
    /// The baseline rose by this many bytes, at a falling rate.
    Slowing(u64),
    /// The baseline rose by this many bytes, at no steady rate.
    Unsteady(u64),
    /// The baseline rose by this many bytes, but as much was released before, and too rarely to show
    /// what is never released.
    ReleasedBefore(u64),
}

impl Verdict {
    /// The verdict as one word, for programs: `stable`, `growing`, `reclaimable`, `step`, `inconclusive`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Stable | Verdict::Settled { .. } | Verdict::Unshared { .. } => "stable",
            Verdict::Growing { .. } if !self.is_leak() => "reclaimable",
            Verdict::Growing { .. } => "growing",
            Verdict::Step { .. } => "step",
            Verdict::Inconclusive { .. } => "inconclusive",
        }
    }

    /// Whether the recording is too short, or has too few samples, to say anything.
    pub fn has_too_little_data(&self) -> bool {
        let Verdict::Inconclusive { why, .. } = self else {
            return false;
        };
        matches!(why, Inconclusive::Short | Inconclusive::TooFewSamples(_))
    }

    /// Whether a leak is suspected.
    pub fn is_leak(&self) -> bool {
        self.leaks_since().is_some()
    }

    /// Since when a leak is suspected, if one is.
    pub fn leaks_since(&self) -> Option<Duration> {
        match *self {
            Verdict::Growing { since, kind, .. } => {
                (!kind.is_some_and(Kind::is_reclaimable)).then_some(since)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Shared => "shared memory",
            Kind::MappedFiles => "mapped files, the kernel takes them back when it needs to",
            Kind::FreedLazily => {
                "freed memory (MADV_FREE), the kernel takes it back when it needs to"
            }
        })
    }
}

/// The verdict as a sentence.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Verdict::Stable => f.write_str("stable"),
            Verdict::Settled { bytes, since } => {
                let (size, since) = (precise_mib(bytes), one_unit_duration(since));
                write!(f, "stable after {since}, in which it grew by {size}")
            }
            Verdict::Growing {
                bytes_per_minute,
                kind,
                ..
            } => {
                write!(f, "growing at {}/min", precise_mib(bytes_per_minute))?;
                if self.is_leak() {
                    f.write_str(" (leak suspected)")?;
                }
                write_kind(f, kind)
            }
            Verdict::Unshared { bytes } => write!(
                f,
                "stable, but its own share (USS) grew by {}: pages that it shared with other processes were \
                 copied, or these have ended",
                precise_mib(bytes)
            ),
            Verdict::Step { bytes, at, kind } => {
                let (size, at) = (precise_mib(bytes), one_unit_duration(at));
                write!(f, "one step of {size} after {at}")?;
                write_kind(f, kind)
            }
            Verdict::Inconclusive { elapsed, why } => {
                if let Inconclusive::TooFewSamples(samples) = why {
                    return write!(f, "inconclusive: only {samples} samples");
                }
                write!(
                    f,
                    "inconclusive: {} is too short",
                    one_unit_duration(elapsed)
                )?;
                let (bytes, how) = match why {
                    Inconclusive::Short | Inconclusive::TooFewSamples(_) => return Ok(()),
                    Inconclusive::Slowing(bytes) => (bytes, "at a falling rate"),
                    Inconclusive::Unsteady(bytes) => (bytes, "unsteadily"),
                    Inconclusive::ReleasedBefore(bytes) => {
                        (bytes, "but had released as much before")
                    }
                };
                write!(f, "; it grew by {}, {how}", precise_mib(bytes))
            }
        }
    }
}

fn write_kind(f: &mut fmt::Formatter<'_>, kind: Option<Kind>) -> fmt::Result {
    kind.map_or(Ok(()), |kind| write!(f, ": {kind}"))
}

/// A number of bytes as verdicts hold it.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such a cast saturates, and no reported value is negative"
)]
pub fn bytes(value: f64) -> u64 {
    value.round() as u64
}

/// A time in seconds as verdicts hold it.
pub fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Long: one table.
    #[test]
    fn verdicts_read_as_sentences() {
        let second = Duration::from_secs(1);
        let inconclusive = |why| Verdict::Inconclusive {
            elapsed: 60 * second,
            why,
        };
        let growing = |bytes_per_minute| Verdict::Growing {
            bytes_per_minute,
            since: Duration::ZERO,
            kind: None,
        };
        for (verdict, text) in [
            (Verdict::Stable, "stable"),
            (
                growing(3_145_728),
                "growing at 3.00 MiB/min (leak suspected)",
            ),
            (
                growing(62_914_560),
                "growing at 60.0 MiB/min (leak suspected)",
            ),
            (
                growing(10_486),
                "growing at 0.0100 MiB/min (leak suspected)",
            ),
            (
                Verdict::Step {
                    bytes: 50 << 20,
                    at: 12 * second,
                    kind: None,
                },
                "one step of 50.0 MiB after 12 s",
            ),
            (
                Verdict::Step {
                    bytes: 50 << 20,
                    at: 12 * second,
                    kind: Some(Kind::Shared),
                },
                "one step of 50.0 MiB after 12 s: shared memory",
            ),
            (
                Verdict::Growing {
                    bytes_per_minute: 3 << 20,
                    since: second,
                    kind: Some(Kind::Shared),
                },
                "growing at 3.00 MiB/min (leak suspected): shared memory",
            ),
            (
                Verdict::Settled {
                    bytes: 1 << 20,
                    since: 40_000 * second,
                },
                "stable after 11 h, in which it grew by 1.00 MiB",
            ),
            (
                Verdict::Growing {
                    bytes_per_minute: 298 << 20,
                    since: Duration::ZERO,
                    kind: Some(Kind::MappedFiles),
                },
                "growing at 298.0 MiB/min: mapped files, the kernel takes them back when it needs to",
            ),
            (
                Verdict::Unshared { bytes: 55 << 20 },
                "stable, but its own share (USS) grew by 55.0 MiB: pages that it shared with other \
                 processes were copied, or these have ended",
            ),
            (
                inconclusive(Inconclusive::Short),
                "inconclusive: 60 s is too short",
            ),
            (
                inconclusive(Inconclusive::TooFewSamples(3)),
                "inconclusive: only 3 samples",
            ),
            (
                inconclusive(Inconclusive::Slowing(2 << 20)),
                "inconclusive: 60 s is too short; it grew by 2.00 MiB, at a falling rate",
            ),
        ] {
            assert_eq!(verdict.to_string(), text);
            assert!(
                text.starts_with(verdict.word())
                    || ["step", "reclaimable"].contains(&verdict.word())
            );
            assert_eq!(verdict.is_leak(), text.contains("leak suspected"));
        }
    }
}
