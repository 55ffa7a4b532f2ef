//! [`SamplerStats`]: counts and times of a whole recording.

use std::time::Duration;

use super::histogram::Histogram;

/// Counts and times of a whole recording. Their size does not grow with its length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplerStats {
    /// Samples taken.
    pub samples: u64,
    /// Ticks that were skipped because an earlier sample took too long.
    pub missed_ticks: u64,
    /// Those of them that no sample reports, since none followed: the recording ended before.
    pub missed_at_end: u64,
    /// Failed reads of a process or a thread, without torn stacks.
    pub errors: u64,
    /// Stacks that are missing because they changed while they were read.
    pub torn: u64,
    /// Delays of the samples against their deadlines.
    pub lateness: Histogram,
    /// Durations of the pauses of the target's threads.
    pub pauses: Histogram,
    /// Samples of processes in which a thread was read without the pause that it needed: it did not stop in
    /// time, or pausing had taken as long as it may. Its stack may be torn.
    pub short_pauses: u64,
    /// Whether pausing threads failed, so that they were read while they ran.
    pub could_not_pause: bool,
    /// Total time of all samples.
    pub sampling_time: Duration,
}

impl SamplerStats {
    /// Mean time of a sample; `None` if there was none.
    pub fn mean_sample_time(&self) -> Option<Duration> {
        let samples = u32::try_from(self.samples).unwrap_or(u32::MAX);
        self.sampling_time.checked_div(samples)
    }
}
