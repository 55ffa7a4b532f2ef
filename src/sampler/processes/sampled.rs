//! [`SampledProcess`]: a process that is looked at, and what is remembered of it.

use std::time::{Duration, Instant};

use log::{debug, info};

use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::SampleError;
use crate::os::Pid;
use crate::sampler::capture;
use crate::sampler::capture::options::{CaptureOptions, Pausing};
use crate::sampler::capture::tracked_threads::TrackedThreads;
use crate::sampler::resources::cpu_times::CpuTimes;
use crate::sampler::resources::rss::RssTracker;
use crate::sampler::sample::{ProcessSample, Sample};
use crate::sampler::stats::SamplerStats;

/// How old a reading of resident memory may be.
const RSS_FOR: Duration = Duration::from_micros(500);
/// How old the knowledge may be that a process runs the program that we know. An interpreter takes
/// longer than that to start.
const SAME_FOR: Duration = Duration::from_millis(1);
/// How long threads that cannot be paused are left alone before it is tried again: a debugger that traces
/// them may be gone by then.
const PAUSE_AGAIN: Duration = Duration::from_secs(1);

/// One process that is looked at.
pub(crate) struct SampledProcess {
    pub process: PythonProcess,
    /// Its parent, where that is looked at too.
    pub parent: Option<Pid>,
    pub watch: TrackedThreads,
    /// When it was found to run another program than the one that we know.
    pub execed_at: Option<Instant>,
    /// When it was last asked whether it does.
    is_same: Option<Instant>,
    /// When its threads were last found not to be pausable.
    unpausable: Option<Instant>,
    cpu_times: CpuTimes,
    /// Its resident memory, and when it was asked for.
    rss: Option<(Instant, u64)>,
    rss_changes: RssTracker,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleOutcome {
    /// The process that we know.
    Process,
    /// It runs another program.
    Execed,
    /// It has ended.
    Nothing,
}

impl SampledProcess {
    /// A process that was not looked at yet.
    pub fn new(process: PythonProcess, parent: Option<Pid>) -> SampledProcess {
        SampledProcess {
            process,
            parent,
            watch: TrackedThreads::default(),
            execed_at: None,
            is_same: None,
            unpausable: None,
            cpu_times: CpuTimes::default(),
            rss: None,
            rss_changes: RssTracker::default(),
        }
    }

    /// The same process with another program. The time that its threads have used goes on.
    pub fn replace(&mut self, process: PythonProcess) {
        self.process = process;
        self.forget();
        self.execed_at = None;
        self.is_same = None;
    }

    /// What held of the last program alone.
    fn forget(&mut self) {
        self.watch = TrackedThreads::default();
        self.rss_changes = RssTracker::default();
    }

    /// What to make of a process whose program was found to be gone, `now`.
    fn mark_execed(&mut self, now: Instant) -> SampleOutcome {
        let pid = self.process.pid();
        if self.process.target().has_ended() {
            debug!("process {pid} has ended");
            return SampleOutcome::Nothing;
        }
        info!("process {pid} runs another program now");
        self.forget();
        self.execed_at = Some(now);
        SampleOutcome::Execed
    }

    /// Whether the program that we know is gone. Reads by the process's id may bring what its next one
    /// has in the same place, so errors alone do not tell.
    pub fn is_replaced(&self) -> bool {
        self.process.target().memory().is_closed()
    }

    /// Adds what one process shows to a sample.
    pub fn look(
        &mut self,
        frames: &mut FrameTable,
        look: &CaptureOptions,
        now: Instant,
        stats: &mut SamplerStats,
        sample: &mut Sample,
    ) -> SampleOutcome {
        let is_fresh = |asked| now.saturating_duration_since(asked) < SAME_FOR;
        if !self.is_same.is_some_and(is_fresh) {
            if self.is_replaced() {
                return self.mark_execed(now);
            }
            self.is_same = Some(now);
        }
        let started = Instant::now();
        let wants_start = look.memory && self.rss_changes.wants_start();
        let at_start = wants_start.then(|| self.process.target().rss().ok());
        let at_start = at_start.flatten();
        let was_tried = |tried| now.saturating_duration_since(tried) < PAUSE_AGAIN;
        let pausing = match self.unpausable {
            Some(tried) if was_tried(tried) => Pausing::Never,
            _ => look.pausing,
        };
        let asked = CaptureOptions {
            pausing,
            skip_leaf_match: sample.missed_ticks > 0,
            ..*look
        };
        let (process, watch) = (&mut self.process, &mut self.watch);
        match capture::capture(process, watch, frames, asked, now, |_, _| ()) {
            // What could not be read may be no error, but the next program.
            Ok(snapshot)
                if (snapshot.torn > 0 || !snapshot.errors.is_empty()) && self.is_replaced() =>
            {
                self.mark_execed(now)
            }
            Ok(mut snapshot) => {
                if look.cpu_time {
                    self.cpu_times
                        .fill_in(&mut snapshot.traces, &snapshot.on_cpu_ns, now);
                }
                let mut rss_change = None;
                if look.memory {
                    let (process, watch) = (self.process.target(), &mut self.watch);
                    let changes = &mut self.rss_changes;
                    rss_change = changes.update(process, at_start, watch, &mut snapshot, started);
                }
                let rss_bytes = match self.rss_changes.last() {
                    Some(bytes) if look.memory => Some(bytes),
                    _ => self.rss_bytes(now),
                };
                let pauses = snapshot.pauses.into_iter();
                pauses.for_each(|pause| stats.pauses.record(pause));
                sample.torn += snapshot.torn;
                sample.processes.push(ProcessSample {
                    pid: self.process.pid(),
                    traces: snapshot.traces,
                    rss_bytes,
                    rss_change,
                });
                sample.errors.extend(snapshot.errors);
                SampleOutcome::Process
            }
            Err(SampleError::ProcessExited) => {
                debug!("process {} has ended", self.process.pid());
                SampleOutcome::Nothing
            }
            Err(_) if !self.process.target().is_same_process() => SampleOutcome::Nothing,
            Err(_) if self.is_replaced() => self.mark_execed(now),
            Err(SampleError::CannotPause(problem)) => {
                // Reading is allowed, or we would not be here. Of a family that one debugger traces,
                // one process is enough to be told of.
                if stats.could_not_pause {
                    debug!("{problem}");
                } else {
                    sample.notices.push(format!(
                        "warning: {problem}; going on without pausing (as with --nonblocking)"
                    ));
                }
                stats.could_not_pause = true;
                self.unpausable = Some(now);
                self.look(frames, look, now, stats, sample)
            }
            Err(error) => {
                sample
                    .errors
                    .push(format!("process {}: {error}", self.process.pid()));
                SampleOutcome::Process
            }
        }
    }

    /// Its resident memory, asked for a thousand times a second at most: the kernel adds it up no
    /// faster.
    fn rss_bytes(&mut self, now: Instant) -> Option<u64> {
        if let Some((asked, bytes)) = self.rss
            && now.saturating_duration_since(asked) < RSS_FOR
        {
            return Some(bytes);
        }
        let bytes = self.process.target().rss().ok()?;
        self.rss = Some((now, bytes));
        Some(bytes)
    }
}
