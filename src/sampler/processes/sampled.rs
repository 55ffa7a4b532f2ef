//! [`SampledProcess`]: a process that is sampled, and its state between samples.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use log::{debug, info};

use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::SampleError;
use crate::os::Pid;
use crate::os::process::exec_rights;
use crate::sampler::capture;
use crate::sampler::capture::options::TimeWeight;
use crate::sampler::capture::options::{CaptureOptions, Pausing};
use crate::sampler::capture::tracked_threads::TrackedThreads;
use crate::sampler::resources::cpu_times::CpuTimes;
use crate::sampler::resources::rss::RssTracker;
use crate::sampler::resources::wall_times::WallTimes;
use crate::sampler::sample::ProcessSample;

/// Maximum age of an RSS reading.
const RSS_MAX_AGE: Duration = Duration::from_micros(500);
/// Maximum age of the check for `exec`. An interpreter takes longer than that to start.
const EXEC_CHECK_MAX_AGE: Duration = Duration::from_millis(1);
/// Time until threads that could not be paused are paused again: a debugger that traces them may have
/// detached.
const PAUSE_RETRY: Duration = Duration::from_secs(1);

/// One process that is sampled.
pub(crate) struct SampledProcess {
    pub process: PythonProcess,
    /// Its parent, if that is sampled too.
    pub parent: Option<Pid>,
    pub threads: TrackedThreads,
    /// When its `exec` was detected.
    pub execed_at: Option<Instant>,
    exec_checked_at: Option<Instant>,
    /// When pausing its threads last failed.
    cannot_pause_at: Option<Instant>,
    /// When its program was first seen, if that must not be paused at first; see [`exec_rights`].
    quiet_since: Option<Instant>,
    cpu_times: CpuTimes,
    wall_times: WallTimes,
    /// Its RSS, and when that was read.
    rss: Option<(Instant, u64)>,
    rss_tracker: RssTracker,
}

/// Result of a tick for one process.
pub(crate) struct TickResult {
    pub outcome: Outcome,
    /// Why pausing failed, if it was tried and failed. The outcome is that of reading without pausing.
    pub cannot_pause: Option<String>,
}

pub(crate) enum Outcome {
    Sampled(Sampled),
    /// The process could not be read at this tick. The message names it.
    Failed(String),
    /// It has called `exec`.
    Execed,
    Ended,
}

/// A sample of one process.
pub(crate) struct Sampled {
    pub process: ProcessSample,
    pub errors: Vec<String>,
    pub torn: u64,
    pub pauses: Vec<Duration>,
    pub pauses_fell_short: bool,
}

impl SampledProcess {
    /// `stop` ends a sample in its middle.
    pub fn new(
        mut process: PythonProcess,
        parent: Option<Pid>,
        stop: &Arc<AtomicBool>,
    ) -> SampledProcess {
        process.reader_and_memory().0.set_stop(Arc::clone(stop));
        SampledProcess {
            process,
            parent,
            threads: TrackedThreads::default(),
            execed_at: None,
            exec_checked_at: None,
            cannot_pause_at: None,
            quiet_since: quiet_since(parent),
            cpu_times: CpuTimes::default(),
            wall_times: WallTimes::default(),
            rss: None,
            rss_tracker: RssTracker::default(),
        }
    }

    /// Continues with the program that the process runs since its `exec`. The CPU times of its threads
    /// continue too.
    pub fn replace(&mut self, mut process: PythonProcess, stop: &Arc<AtomicBool>) {
        process.reader_and_memory().0.set_stop(Arc::clone(stop));
        self.process = process;
        self.reset();
        self.execed_at = None;
        self.exec_checked_at = None;
        self.quiet_since = quiet_since(self.parent);
    }

    /// Drops the state of the previous program.
    fn reset(&mut self) {
        self.threads = TrackedThreads::default();
        self.wall_times = WallTimes::default();
        self.rss_tracker = RssTracker::default();
    }

    /// The outcome for a process whose program is gone.
    pub fn mark_gone(&mut self, now: Instant) -> Outcome {
        let pid = self.process.pid();
        if self.process.target().has_ended() {
            debug!("process {pid} has ended");
            return Outcome::Ended;
        }
        info!("process {pid} runs another program now");
        self.reset();
        self.execed_at = Some(now);
        Outcome::Execed
    }

    /// Whether the program that was attached to is gone. Errors do not suffice to detect that: reads by
    /// pid may return the memory of the next program at the same address.
    pub fn has_execed(&self) -> bool {
        self.process.target().memory().is_closed()
    }

    /// Its RSS in the last sample with memory, in bytes.
    pub fn last_rss(&self) -> Option<u64> {
        self.rss_tracker.last()
    }

    /// Drops the times of its threads and its RSS: others have attributed what has changed since.
    pub fn forget_counts(&mut self) {
        self.cpu_times = CpuTimes::default();
        self.wall_times = WallTimes::default();
        self.rss_tracker = RssTracker::default();
    }

    /// Samples the process. If its threads cannot be paused, it is read without pausing.
    pub fn sample(
        &mut self,
        frames: &mut FrameTable,
        options: &CaptureOptions,
        now: Instant,
    ) -> TickResult {
        let mut cannot_pause = None;
        let mut result = self.try_sample(frames, options, now);
        if let Err(SampleError::CannotPause(problem)) = result {
            // Reading is permitted, or attaching would have failed.
            debug!("{problem}");
            cannot_pause = Some(problem);
            self.cannot_pause_at = Some(now);
            result = self.try_sample(frames, options, now);
        }
        let pid = self.process.pid();
        TickResult {
            outcome: result
                .unwrap_or_else(|error| Outcome::Failed(format!("process {pid}: {error}"))),
            cannot_pause,
        }
    }

    fn try_sample(
        &mut self,
        frames: &mut FrameTable,
        options: &CaptureOptions,
        now: Instant,
    ) -> Result<Outcome, SampleError> {
        if !is_within(self.exec_checked_at, now, EXEC_CHECK_MAX_AGE) {
            if self.has_execed() {
                return Ok(self.mark_gone(now));
            }
            self.exec_checked_at = Some(now);
            self.process.target().search_suspects(now);
        }
        let start = Instant::now();
        let reads_start = options.memory && self.rss_tracker.needs_start();
        let rss_at_start = if reads_start {
            self.process.target().rss().ok()
        } else {
            None
        };
        let pausing = if is_within(self.cannot_pause_at, now, PAUSE_RETRY)
            || is_within(self.quiet_since, now, exec_rights::QUIET_TIME)
        {
            Pausing::Never
        } else {
            options.pausing
        };
        let options = CaptureOptions {
            pausing,
            ..*options
        };
        let (process, threads) = (&mut self.process, &mut self.threads);
        let mut snapshot = match capture::capture(process, threads, frames, options, now, &mut ()) {
            // After an exec, reads of the old program's structures may fail.
            Ok(snapshot)
                if (snapshot.torn > 0 || !snapshot.errors.is_empty()) && self.has_execed() =>
            {
                return Ok(self.mark_gone(now));
            }
            Ok(snapshot) => snapshot,
            Err(SampleError::ProcessExited) => {
                debug!("process {} has ended", self.process.pid());
                return Ok(Outcome::Ended);
            }
            Err(_) if !self.process.target().is_same_process() => return Ok(Outcome::Ended),
            Err(_) if self.has_execed() => return Ok(self.mark_gone(now)),
            Err(error) => return Err(error),
        };
        match options.time {
            Some(TimeWeight::Cpu) => {
                let on_cpu_ns = &snapshot.on_cpu_ns;
                self.cpu_times.fill_in(&mut snapshot.traces, on_cpu_ns, now);
            }
            Some(TimeWeight::Wall) => self.wall_times.fill_in(&mut snapshot.traces, now),
            None => {}
        }
        let mut rss_change = None;
        if options.memory {
            let (process, threads) = (self.process.target(), &mut self.threads);
            let tracker = &mut self.rss_tracker;
            rss_change = tracker.update(process, rss_at_start, threads, &mut snapshot, start);
        }
        let rss_bytes = match self.rss_tracker.last() {
            Some(bytes) if options.memory => Some(bytes),
            _ => self.rss_bytes(now),
        };
        Ok(Outcome::Sampled(Sampled {
            process: ProcessSample {
                pid: self.process.pid(),
                traces: snapshot.traces,
                rss_bytes,
                rss_change,
                fault_growth: Vec::new(),
            },
            errors: snapshot.errors,
            torn: snapshot.torn,
            pauses: snapshot.pauses,
            pauses_fell_short: snapshot.pauses_fell_short,
        }))
    }

    /// Its RSS, read at most once in [`RSS_MAX_AGE`]: the kernel updates it no faster.
    fn rss_bytes(&mut self, now: Instant) -> Option<u64> {
        if let Some((read_at, bytes)) = self.rss
            && is_within(Some(read_at), now, RSS_MAX_AGE)
        {
            return Some(bytes);
        }
        let bytes = self.process.target().rss().ok()?;
        self.rss = Some((now, bytes));
        Some(bytes)
    }
}

/// The time from which on a new program of a process is not paused. Only a child is expected to execute
/// another one soon.
fn quiet_since(parent: Option<Pid>) -> Option<Instant> {
    (parent.is_some() && exec_rights::may_be_lost()).then(Instant::now)
}

/// Whether an event was less than `max_age` ago.
fn is_within(event: Option<Instant>, now: Instant, max_age: Duration) -> bool {
    event.is_some_and(|at| now.saturating_duration_since(at) < max_age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_recent_until_its_maximum_age() {
        let now = Instant::now();
        let age = |age: Duration| is_within(Some(now), now + age, PAUSE_RETRY);
        assert!(!is_within(None, now, PAUSE_RETRY));
        assert!(age(Duration::ZERO) && age(PAUSE_RETRY - Duration::from_nanos(1)));
        assert!(!age(PAUSE_RETRY));
        // A later event than `now` is recent: clocks of two threads may be read in any order.
        assert!(is_within(Some(now + PAUSE_RETRY), now, PAUSE_RETRY));
    }
}
