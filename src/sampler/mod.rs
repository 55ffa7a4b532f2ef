//! [`Sampler`]: when to look, at whom, and how to be sure.

pub mod children;
pub mod cpu_times;
mod descriptions;
pub mod histogram;
pub mod launched;
pub mod look;
pub mod memory_watch;
mod merge;
pub mod pace;
pub mod rss_changes;
pub mod sample;
pub mod snapshot;
pub mod stats;
mod urgency;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::cpython::{FrameTable, PythonProcess, SampleError};
use crate::target::{PauseGuard, Pid};

pub use descriptions::ProcessDescription;
pub use histogram::Histogram;
pub use launched::attach_launched;
pub use look::{Look, Pausing, Snapshot};
pub use memory_watch::MemoryReading;
pub use sample::{ProcessSample, RssChange, Sample};
pub use stats::SamplerStats;
pub use watch::Watch;

use children::Children;
use cpu_times::CpuTimes;
use descriptions::Descriptions;
use memory_watch::{Asked, MemoryWatch};
use pace::Pace;
use rss_changes::RssChanges;
use urgency::Urgency;

/// How long at most the sampler sleeps before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(20);
/// The same while threads are still to be let go.
const SHORT_NAP: Duration = Duration::from_micros(100);
/// How often a process that was replaced by another program is tried again before it is given up.
const REATTACH_ATTEMPTS: u32 = 500;
/// How much later than asked the kernel may wake us.
const TIMER_SLACK_NS: u64 = 1_000;
/// How old a reading of resident memory may be.
const RSS_FOR: Duration = Duration::from_micros(500);

/// How to sample.
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    /// Looks a second, on average.
    pub rate_hz: f64,
    /// What to do for each look.
    pub look: Look,
    /// Whether the process's children are looked at too.
    pub subprocesses: bool,
    /// Set from outside to end sampling.
    pub stop: Arc<AtomicBool>,
    /// When sampling ends by itself, from the sampler's start; `None`: never.
    pub duration: Option<Duration>,
}

/// One process that is looked at.
struct Observed {
    process: PythonProcess,
    watch: Watch,
    cpu_times: CpuTimes,
    /// How often attaching to the program that replaced it has failed; 0 while all is well.
    lost: u32,
    /// Its resident memory, and when it was asked for.
    rss: Option<(Instant, u64)>,
    rss_changes: RssChanges,
}

/// Looks at a process (and its children) again and again. As an iterator it waits for the next look
/// and ends when all processes have, when its time is over, or when it is told to stop.
///
/// Threads that are paused are bound to the OS thread that paused them, so a sampler stays on the
/// thread that it was made on.
pub struct Sampler {
    observed: Vec<Observed>,
    descriptions: Descriptions,
    children: Option<Children>,
    memory: Option<MemoryWatch>,
    frames: FrameTable,
    options: SamplerOptions,
    pace: Pace,
    urgency: Urgency,
    start: Instant,
    stats: SamplerStats,
}

impl Sampler {
    /// A sampler of this process; its first look is due at once.
    pub fn new(process: PythonProcess, options: SamplerOptions) -> Sampler {
        // Without, the kernel wakes us 50 µs late to save power. If it does not let us, looks are late.
        let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
        let start = Instant::now();
        let seed = u64::from(std::process::id()) ^ process.target().start_time();
        let children = options.subprocesses.then(Children::default);
        let mut sampler = Sampler {
            observed: Vec::new(),
            descriptions: Descriptions::default(),
            children,
            memory: options.look.memory.then(|| MemoryWatch::start(start)),
            frames: FrameTable::default(),
            pace: Pace::new(options.rate_hz, start, seed),
            options,
            urgency: Urgency::new(),
            start,
            stats: SamplerStats::default(),
        };
        sampler.observe(process, None);
        sampler
    }

    /// The frames of all stacks so far.
    pub fn frames(&self) -> &FrameTable {
        &self.frames
    }

    /// What is known of a process that is, or was, looked at.
    pub fn process(&self, pid: Pid) -> Option<&ProcessDescription> {
        self.descriptions.get(pid)
    }

    /// The counts so far.
    pub fn stats(&self) -> &SamplerStats {
        &self.stats
    }

    fn observe(&mut self, process: PythonProcess, parent: Option<Pid>) {
        let description = ProcessDescription {
            pid: process.pid(),
            parent,
            command: process.target().command_line().join(" "),
        };
        let observed = self.observed.iter().map(|one| one.process.pid());
        self.descriptions.add(description, observed);
        self.observed.push(Observed {
            process,
            watch: Watch::default(),
            cpu_times: CpuTimes::default(),
            lost: 0,
            rss: None,
            rss_changes: RssChanges::default(),
        });
    }

    /// Whether the time that was asked for is over.
    pub fn is_time_over(&self) -> bool {
        self.is_over(Instant::now())
    }

    fn is_over(&self, now: Instant) -> bool {
        let asked = self.options.duration;
        asked.is_some_and(|time| now.saturating_duration_since(self.start) >= time)
    }

    fn stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    /// Whether none of the processes is there any more. At a low rate the next look would find that
    /// out seconds later.
    fn all_have_ended(&self) -> bool {
        let mut observed = self.observed.iter();
        observed.all(|observed| observed.process.target().has_ended())
    }

    /// Waits for the next deadline; `false` when sampling ends before it.
    fn wait(&self) -> bool {
        loop {
            let now = Instant::now();
            if self.stopped() || self.is_over(now) {
                return false;
            }
            let left = self.pace.deadline().saturating_duration_since(now);
            if left.is_zero() {
                return true;
            }
            if left > NAP && self.all_have_ended() {
                return false;
            }
            // Threads that could not be let go at once must not stay paused while we sleep.
            let nap = if PauseGuard::settle() { NAP } else { SHORT_NAP };
            let until_over = self
                .options
                .duration
                .map(|time| time.saturating_sub(self.start.elapsed()));
            std::thread::sleep(left.min(nap).min(until_over.unwrap_or(nap)));
        }
    }

    /// Takes one look at all processes. `idle_since`: when we had nothing else to do any more.
    fn look(&mut self, idle_since: Instant) -> Sample {
        let now = Instant::now();
        let tick = self.pace.tick(now);
        let mut sample = Sample {
            elapsed: now.saturating_duration_since(self.start),
            lateness: tick.lateness,
            missed_ticks: tick.missed,
            ..Sample::default()
        };
        if let Some(children) = &mut self.children {
            let known = self
                .observed
                .iter()
                .map(|observed| observed.process.target());
            for (process, parent) in children.find_new(known, now) {
                self.descriptions.fill_up_to(parent);
                self.observe(process, Some(parent));
            }
        }
        if let Some(memory) = &mut self.memory {
            let processes = self.observed.iter().map(|one| one.process.target());
            sample.memory = memory.look(now, processes.map(Asked::of));
        }
        let (frames, look) = (&mut self.frames, &mut self.options.look);
        let (descriptions, stats) = (&mut self.descriptions, &mut self.stats);
        self.observed.retain_mut(|observed| {
            let was_lost = observed.lost > 0;
            let goes_on = observed.look(frames, look, now, stats, &mut sample);
            if was_lost
                && observed.lost == 0
                && let Some(description) = descriptions.get_mut(observed.process.pid())
            {
                description.command = observed.process.target().command_line().join(" ");
            }
            goes_on
        });
        self.stats.samples += 1;
        self.stats.missed_ticks += tick.missed;
        self.stats.errors += sample.errors.len() as u64;
        self.stats.torn += sample.torn;
        self.stats.lateness.record(tick.lateness);
        self.stats.looking += now.elapsed();
        let mut observed = self.observed.iter();
        let waited = observed.any(|observed| observed.watch.is_crowded(now));
        // What we were late by for our own sake, such as for new names, says nothing of the machine.
        let overslept = tick.lateness.min(now.saturating_duration_since(idle_since));
        self.urgency.after_look(now, overslept, waited);
        sample
    }
}

impl Observed {
    /// Adds what one process shows to a sample; `false` when it is gone.
    fn look(
        &mut self,
        frames: &mut FrameTable,
        look: &mut Look,
        now: Instant,
        stats: &mut SamplerStats,
        sample: &mut Sample,
    ) -> bool {
        if self.lost > 0 {
            return self.reattach();
        }
        let started = Instant::now();
        let wants_start = look.memory && self.rss_changes.wants_start();
        let at_start = wants_start.then(|| self.process.target().rss().ok());
        let at_start = at_start.flatten();
        let (process, watch) = (&mut self.process, &mut self.watch);
        match snapshot::take(process, watch, frames, *look, now, |_, _| ()) {
            Ok(mut snapshot) => {
                if look.cpu_time {
                    self.cpu_times
                        .fill_in(&mut snapshot.traces, &snapshot.on_cpu_ns, now);
                }
                let mut rss_change = None;
                if look.memory {
                    let (process, watch) = (self.process.target(), &mut self.watch);
                    let changes = &mut self.rss_changes;
                    rss_change = changes.tell(process, at_start, watch, &mut snapshot, started);
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
                true
            }
            Err(SampleError::ProcessExited) => {
                debug!("process {} has ended", self.process.pid());
                false
            }
            Err(_) if !self.process.target().is_same_process() => false,
            Err(SampleError::TornRead(error)) if error.program_is_replaced() => {
                info!("process {} runs another program now", self.process.pid());
                self.lost = 1;
                true
            }
            Err(SampleError::CannotPause(problem)) => {
                // Reading is allowed, or we would not be here.
                warn!("{problem}; going on without pausing (as with --nonblocking)");
                look.pausing = Pausing::Never;
                true
            }
            Err(error) => {
                sample
                    .errors
                    .push(format!("process {}: {error}", self.process.pid()));
                true
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

    /// Attaches to the program that replaced the one we knew; `false` when it is no Python.
    fn reattach(&mut self) -> bool {
        self.lost += 1;
        match PythonProcess::attach(self.process.pid()) {
            Ok(process) => {
                self.process = process;
                self.watch = Watch::default();
                self.rss_changes = RssChanges::default();
                self.lost = 0;
                true
            }
            Err(error) => {
                debug!("process {}: {error}", self.process.pid());
                !error.is_final()
                    && self.lost < REATTACH_ATTEMPTS
                    && self.process.target().is_same_process()
            }
        }
    }
}

impl Iterator for Sampler {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let idle_since = Instant::now();
        if self.observed.is_empty() || !self.wait() {
            return None;
        }
        let sample = self.look(idle_since);
        // A look that found all processes gone tells nothing.
        (!self.observed.is_empty() || !sample.processes.is_empty()).then_some(sample)
    }
}
