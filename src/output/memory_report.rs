//! [`MemoryReport`]: the verdict on a recording's memory, for JSON formats.

use crate::profile::Profile;
use crate::rss::leak::verdict::Verdict;

/// Most stacks that are listed.
const SUSPECTS: usize = 3;

/// The verdict and its numbers; unknown ones are omitted.
#[derive(serde::Serialize)]
pub(crate) struct MemoryReport {
    /// `stable`, `growing`, `reclaimable`, `step` or `inconclusive`.
    pub verdict: &'static str,
    /// The verdict as in the closing line.
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_minute: Option<u64>,
    /// Size of a single step, of the growth before the memory settled, or of what is no longer shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Time of the step, or since when memory has been growing or stable; from the start of the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_seconds: Option<f64>,
    pub first_rss_bytes: u64,
    pub last_rss_bytes: u64,
    pub peak_rss_bytes: u64,
    /// Stacks with the most growth that was never released; only with `--memory` and a suspected leak.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<SuspectReport>,
}

/// A stack that may leak.
#[derive(serde::Serialize)]
pub(crate) struct SuspectReport {
    /// RSS added and never released.
    pub kept_bytes: u64,
    /// All RSS that it has added in the same time.
    pub added_bytes: u64,
    /// Root first.
    pub frames: Vec<String>,
}

impl MemoryReport {
    /// `None` if no memory was read.
    pub fn of(profile: &Profile) -> Option<MemoryReport> {
        let rss = profile.rss();
        let verdict = profile.memory_trend().verdict;
        let (mut bytes_per_minute, mut bytes, mut at) = (None, None, None);
        let mut suspects = Vec::new();
        match verdict {
            Verdict::Growing {
                bytes_per_minute: rate,
                since,
                ..
            } => {
                (bytes_per_minute, at) = (Some(rate), Some(since));
                if verdict.is_leak() {
                    suspects = profile.suspects(since, SUSPECTS);
                }
            }
            Verdict::Unshared { bytes: unshared } => bytes = Some(unshared),
            Verdict::Step {
                bytes: step,
                at: moment,
                ..
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
                added_bytes: suspect.added_bytes,
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
