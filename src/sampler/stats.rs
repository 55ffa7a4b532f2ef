//! [`SamplerStats`]: counts and times of a whole recording.

use std::time::Duration;

use super::histogram::Histogram;

/// Who took the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Threads were paused while they were read.
    #[default]
    Pausing,
    /// Threads were read while they ran.
    Nonblocking,
    /// The kernel, in timer interrupts.
    Kernel,
}

impl Engine {
    /// Its name in files and closing lines.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Pausing => "pausing",
            Engine::Nonblocking => "nonblocking",
            Engine::Kernel => "kernel",
        }
    }
}

/// Counts and times of a whole recording. Their size does not grow with its length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplerStats {
    /// Who was to take the samples; see [`SamplerStats::engine`].
    pub started_with: Engine,
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
    /// Page faults whose stacks tell who added memory.
    pub page_faults: PageFaults,
}

/// How many page faults of the target were recorded by the kernel engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFaults {
    /// Those of threads of the target, in all.
    pub count: u64,
    /// Those of them whose stacks were recorded.
    pub recorded: u64,
}

impl SamplerStats {
    /// Who took the samples.
    pub fn engine(&self) -> Engine {
        match (self.started_with, self.could_not_pause) {
            (Engine::Pausing, true) => Engine::Nonblocking,
            (engine, _) => engine,
        }
    }

    /// Mean time of a sample; `None` if there was none.
    pub fn mean_sample_time(&self) -> Option<Duration> {
        let samples = u32::try_from(self.samples).unwrap_or(u32::MAX);
        self.sampling_time.checked_div(samples)
    }
}
