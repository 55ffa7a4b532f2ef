//! [`SamplerStats`]: how well the looks were taken, over a whole recording.

use std::time::Duration;

use super::histogram::Histogram;

/// Counts and times over a whole recording. Their size does not grow with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SamplerStats {
    /// Looks that were taken.
    pub samples: u64,
    /// Looks that were left out because an earlier one took too long.
    pub missed_ticks: u64,
    /// Processes or threads that could not be read once, torn stacks not among them.
    pub errors: u64,
    /// Stacks that were left out because they changed while they were read.
    pub torn: u64,
    /// How late the looks were against their plan.
    pub lateness: Histogram,
    /// How long threads of the target were held still, each time.
    pub pauses: Histogram,
    /// Whether threads that were to be paused could not be, so that they were read as they ran.
    pub could_not_pause: bool,
    /// Time that all looks took together.
    pub sampling_time: Duration,
}

impl SamplerStats {
    /// How long a look took on average; `None` when there was none.
    pub fn mean_sample_time(&self) -> Option<Duration> {
        let samples = u32::try_from(self.samples).unwrap_or(u32::MAX);
        self.sampling_time.checked_div(samples)
    }
}
