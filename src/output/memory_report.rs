//! [`MemoryReport`]: what a recording's memory did, for the formats that are JSON.

use crate::profile::Profile;
use crate::rss::leak::verdict::Verdict;

/// How many stacks are named.
const SUSPECTS: usize = 3;

/// An object with the verdict and its numbers; a key that says nothing is left out.
#[derive(serde::Serialize)]
pub(crate) struct MemoryReport {
    /// `stable`, `growing`, `step` or `inconclusive`.
    pub verdict: &'static str,
    /// The verdict as the closing line has it.
    pub text: String,
    /// How fast it grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_minute: Option<u64>,
    /// By how much it grew once, or at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// When that was, or since when it grows or is stable, from the start of the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_seconds: Option<f64>,
    first_rss_bytes: u64,
    last_rss_bytes: u64,
    peak_rss_bytes: u64,
    /// Those that grew most and never gave it back; only with `--memory` and a leak.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspects: Vec<SuspectReport>,
}

#[derive(serde::Serialize)]
struct SuspectReport {
    kept_bytes: u64,
    /// Root first.
    frames: Vec<String>,
}

impl MemoryReport {
    /// `None` where no memory was read.
    pub fn of(profile: &Profile) -> Option<MemoryReport> {
        let rss = profile.rss();
        let verdict = rss.trend().verdict;
        let (mut bytes_per_minute, mut bytes, mut at) = (None, None, None);
        let mut suspects = Vec::new();
        match verdict {
            Verdict::Growing {
                bytes_per_minute: rate,
                since,
            } => {
                (bytes_per_minute, at) = (Some(rate), Some(since));
                suspects = profile.suspects(since, SUSPECTS);
            }
            Verdict::Step {
                bytes: step,
                at: moment,
            }
            | Verdict::Settled {
                bytes: step,
                since: moment,
            } => (bytes, at) = (Some(step), Some(moment)),
            Verdict::Stable | Verdict::Inconclusive { .. } => {}
        }
        let suspects = suspects.into_iter().map(|suspect| {
            let path = profile.stacks().path(suspect.stack).into_iter();
            SuspectReport {
                kept_bytes: suspect.retained_bytes,
                frames: path.map(|label| profile.text(label)).collect(),
            }
        });
        Some(MemoryReport {
            verdict: verdict.word(),
            text: verdict.to_string(),
            bytes_per_minute,
            bytes,
            at_seconds: at.map(|at| at.as_secs_f64()),
            first_rss_bytes: rss.first()?,
            last_rss_bytes: rss.last()?,
            peak_rss_bytes: rss.peak()?,
            suspects: suspects.collect(),
        })
    }
}
