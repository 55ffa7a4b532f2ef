//! [`Verdict`]: what a recording's memory did, in a word and in a sentence.

use std::fmt;
use std::time::Duration;

/// What a recording's memory did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The baseline stays.
    Stable,
    /// It rose at first, or by less than comes and goes, and then stayed, for a third of the time or more.
    Settled {
        /// By how much, in bytes.
        bytes: u64,
        /// The end of it, from the start of the recording.
        since: Duration,
    },
    /// It rises steadily: a leak is suspected.
    Growing {
        /// How fast.
        bytes_per_minute: u64,
        /// From when on, after a rise at the start; 0 for all of the recording.
        since: Duration,
    },
    /// It rose once, within an eighth of the time, from one level to another, by more than comes and goes.
    Step {
        /// By how much, in bytes.
        bytes: u64,
        /// When, from the start of the recording.
        at: Duration,
    },
    /// Nothing can be said yet.
    Inconclusive {
        /// How long the recording is.
        elapsed: Duration,
        /// Why not.
        why: Inconclusive,
    },
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inconclusive {
    /// The recording is shorter than [`SHORTEST`](super::trend::SHORTEST).
    Short,
    /// There are too few readings in it, this many.
    TooFewSamples(usize),
    /// The baseline rose by this many bytes, ever more slowly.
    Slowing(u64),
    /// It rose by this many bytes, at no steady rate.
    Unsteady(u64),
    /// It rose by this many bytes, but as much was given back before, and not often enough to tell
    /// what stays.
    ReleasedBefore(u64),
}

impl Verdict {
    /// The verdict in one word, for programs to read: `stable`, `growing`, `step`, `inconclusive`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Stable | Verdict::Settled { .. } => "stable",
            Verdict::Growing { .. } => "growing",
            Verdict::Step { .. } => "step",
            Verdict::Inconclusive { .. } => "inconclusive",
        }
    }

    /// Whether a leak is suspected.
    pub fn is_leak(&self) -> bool {
        matches!(self, Verdict::Growing { .. })
    }
}

/// The verdict as people read it.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Verdict::Stable => f.write_str("stable"),
            Verdict::Settled { bytes, since } => {
                let (size, since) = (mib(bytes), time(since));
                write!(f, "stable after {since}, in which it grew by {size}")
            }
            Verdict::Growing {
                bytes_per_minute, ..
            } => write!(
                f,
                "growing at {}/min (leak suspected)",
                mib(bytes_per_minute)
            ),
            Verdict::Step { bytes, at } => {
                write!(f, "one step of {} after {}", mib(bytes), time(at))
            }
            Verdict::Inconclusive { elapsed, why } => {
                if let Inconclusive::TooFewSamples(looks) = why {
                    return write!(f, "inconclusive: {looks} looks are too few");
                }
                write!(f, "inconclusive: {} is too short", time(elapsed))?;
                let (bytes, how) = match why {
                    Inconclusive::Short | Inconclusive::TooFewSamples(_) => return Ok(()),
                    Inconclusive::Slowing(bytes) => (bytes, "ever more slowly"),
                    Inconclusive::Unsteady(bytes) => (bytes, "unsteadily"),
                    Inconclusive::ReleasedBefore(bytes) => {
                        (bytes, "but has given as much back before")
                    }
                };
                write!(f, "; it grew by {}, {how}", mib(bytes))
            }
        }
    }
}

/// In seconds, with a decimal if it takes that to have two digits, or in minutes or hours once those have two digits.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        36_000.0.. => format!("{:.0} h", seconds / 3600.0),
        600.0.. => format!("{:.0} min", seconds / 60.0),
        9.95.. => format!("{seconds:.0} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// In MiB, with two digits or more: a slow leak is one too.
fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        10.0.. => format!("{mib:.1} MiB"),
        0.1..10.0 => format!("{mib:.2} MiB"),
        _ => format!("{mib:.4} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_sentence() {
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
                Verdict::Settled {
                    bytes: 1 << 20,
                    since: 40_000 * second,
                },
                "stable after 11 h, in which it grew by 1.00 MiB",
            ),
            (
                inconclusive(Inconclusive::Short),
                "inconclusive: 60 s is too short",
            ),
            (
                inconclusive(Inconclusive::TooFewSamples(3)),
                "inconclusive: 3 looks are too few",
            ),
            (
                inconclusive(Inconclusive::Slowing(2 << 20)),
                "inconclusive: 60 s is too short; it grew by 2.00 MiB, ever more slowly",
            ),
        ] {
            assert_eq!(verdict.to_string(), text);
            assert!(text.starts_with(verdict.word()) || verdict.word() == "step");
            assert_eq!(verdict.is_leak(), text.contains("leak"));
        }
    }
}
