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
    /// It rose steadily to the end: a leak is suspected.
    Growing {
        bytes_per_minute: u64,
        /// Start of this growth, after an initial rise; 0 for the whole recording.
        since: Duration,
    },
    /// The same, and nearly all of it is shared memory. It is not known who else holds that.
    GrowingShared {
        bytes_per_minute: u64,
        /// As for `Growing`.
        since: Duration,
    },
    /// It rose steadily to the end, nearly only by pages that the kernel takes back when it needs to: no leak.
    Reclaimable {
        bytes_per_minute: u64,
        /// As for `Growing`.
        since: Duration,
        what: Reclaimable,
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
    },
    /// The same, nearly only by memory of one kind.
    StepOf {
        bytes: u64,
        at: Duration,
        what: Kind,
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
    /// Pages of shared memory.
    Shared,
    /// Resident memory that the kernel takes back on its own.
    Reclaimable(Reclaimable),
}

/// Resident memory that the kernel takes back on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaimable {
    /// Pages of mapped files.
    MappedFiles,
    /// Memory that the program has freed by `MADV_FREE`.
    FreedLazily,
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
            Verdict::Reclaimable { .. } => "reclaimable",
            Verdict::Growing { .. } | Verdict::GrowingShared { .. } => "growing",
            Verdict::Step { .. } | Verdict::StepOf { .. } => "step",
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
            Verdict::Growing { since, .. } | Verdict::GrowingShared { since, .. } => Some(since),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Shared => "shared memory",
            Kind::Reclaimable(Reclaimable::MappedFiles) => {
                "mapped files, the kernel takes them back when it needs to"
            }
            Kind::Reclaimable(Reclaimable::FreedLazily) => {
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
                bytes_per_minute, ..
            } => write!(
                f,
                "growing at {}/min (leak suspected)",
                precise_mib(bytes_per_minute)
            ),
            Verdict::GrowingShared {
                bytes_per_minute,
                since,
            } => {
                let growing = Verdict::Growing {
                    bytes_per_minute,
                    since,
                };
                write!(f, "{growing}: {}", Kind::Shared)
            }
            Verdict::StepOf { bytes, at, what } => {
                write!(f, "{}: {what}", Verdict::Step { bytes, at })
            }
            Verdict::Reclaimable {
                bytes_per_minute,
                what,
                ..
            } => {
                let rate = precise_mib(bytes_per_minute);
                write!(f, "growing at {rate}/min: {}", Kind::Reclaimable(what))
            }
            Verdict::Unshared { bytes } => write!(
                f,
                "stable, but its own share (USS) grew by {}: pages that it shared with other processes were \
                 copied, or these have ended",
                precise_mib(bytes)
            ),
            Verdict::Step { bytes, at } => {
                write!(
                    f,
                    "one step of {} after {}",
                    precise_mib(bytes),
                    one_unit_duration(at)
                )
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
                },
                "one step of 50.0 MiB after 12 s",
            ),
            (
                Verdict::StepOf {
                    bytes: 50 << 20,
                    at: 12 * second,
                    what: Kind::Shared,
                },
                "one step of 50.0 MiB after 12 s: shared memory",
            ),
            (
                Verdict::GrowingShared {
                    bytes_per_minute: 3 << 20,
                    since: second,
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
                Verdict::Reclaimable {
                    bytes_per_minute: 298 << 20,
                    since: Duration::ZERO,
                    what: Reclaimable::MappedFiles,
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
