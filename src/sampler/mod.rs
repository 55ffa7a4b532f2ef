//! [`Sampler`]: when to look, at whom, and how to be sure.

pub mod capture;
pub mod histogram;
pub mod processes;
pub mod resources;
pub mod sample;
pub mod schedule;
pub mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::process::TargetProcess;
use crate::os::ptrace::pause::PauseGuard;

use capture::options::CaptureOptions;
use processes::names::ProcessDescription;
use processes::root::Root;
use sample::Sample;
use stats::SamplerStats;

use processes::names::ProcessNames;
use processes::pending::PendingProcesses;
use processes::sampled::{SampleOutcome, SampledProcess};
use resources::memory_poll::{MemoryPoller, PollTarget};
use schedule::priority::PriorityControl;
use schedule::timer::Timer;

/// How long at most the sampler sleeps before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(20);
/// The same while threads are still to be let go.
const SHORT_NAP: Duration = Duration::from_micros(100);
/// How long a process that replaces its program by another one may take until that runs Python, and the
/// recording is not over though no other process is left.
const EXECUTES_FOR: Duration = Duration::from_secs(2);
/// How much later than asked the kernel may wake us.
const TIMER_SLACK_NS: u64 = 1_000;

/// How to sample.
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    /// Looks a second, on average.
    pub rate_hz: f64,
    /// What to do for each look.
    pub look: CaptureOptions,
    /// Whether the process's children are looked at too.
    pub subprocesses: bool,
    /// Set from outside to end sampling.
    pub stop: Arc<AtomicBool>,
    /// When sampling ends by itself, from the sampler's start; `None`: never.
    pub duration: Option<Duration>,
}

/// Looks at a process (and its children) again and again. As an iterator it waits for the next look
/// and ends when all processes have, when its time is over, or when it is told to stop.
///
/// Threads that are paused are bound to the OS thread that paused them, so a sampler stays on the
/// thread that it was made on.
pub struct Sampler {
    observed: Vec<SampledProcess>,
    descriptions: ProcessNames,
    relatives: PendingProcesses,
    memory: Option<MemoryPoller>,
    frames: FrameTable,
    options: SamplerOptions,
    pace: Timer,
    urgency: PriorityControl,
    start: Instant,
    stats: SamplerStats,
}

impl Sampler {
    /// A sampler of this process; its first look is due at once.
    pub fn new(root: impl Into<Root>, options: SamplerOptions) -> Sampler {
        let root = root.into();
        // Without, the kernel wakes us 50 µs late to save power. If it does not let us, looks are late.
        let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
        let start = Instant::now();
        let seed = u64::from(std::process::id()) ^ root.target().start_time();
        let mut sampler = Sampler {
            observed: Vec::new(),
            descriptions: ProcessNames::default(),
            relatives: PendingProcesses::new(&root, options.subprocesses, start),
            memory: options.look.memory.then(|| MemoryPoller::start(start)),
            frames: FrameTable::default(),
            pace: Timer::new(options.rate_hz, start, seed),
            options,
            urgency: PriorityControl::new(),
            start,
            stats: SamplerStats::default(),
        };
        sampler.describe(root.target(), None);
        if let Root::Python(process) = root {
            sampler.observed.push(SampledProcess::new(*process, None));
        }
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

    fn describe(&mut self, process: &TargetProcess, parent: Option<Pid>) {
        let description = ProcessDescription {
            pid: process.pid(),
            parent,
            command: process.command_line().join(" "),
        };
        let observed = self.observed.iter().map(|one| one.process.pid());
        self.descriptions.add(description, observed);
    }

    /// Looks at a process from now on: a new one, or one whose program we knew was replaced.
    fn observe(&mut self, process: PythonProcess, parent: Option<Pid>) {
        if let Some(parent) = parent {
            let mut observed = self.observed.iter();
            let is_replaced =
                |one: &SampledProcess| one.process.pid() == parent && one.is_replaced();
            if self.relatives.waits_for(parent) || observed.any(is_replaced) {
                // A fork that was seen before it executed what has started this one.
                self.descriptions.refresh(parent);
            }
            self.descriptions.add_ancestors(parent);
        }
        self.describe(process.target(), parent);
        let mut observed = self.observed.iter_mut();
        match observed.find(|one| one.process.pid() == process.pid()) {
            Some(known) => known.replace(process),
            None => self.observed.push(SampledProcess::new(process, parent)),
        }
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
            && !self.relatives.root_may_return()
    }

    /// Whether there is something to look at, or may be.
    fn goes_on(&self) -> bool {
        let mut observed = self.observed.iter();
        let is_there = |since: Instant| since.elapsed() < EXECUTES_FOR;
        observed.any(|observed| observed.execed_at.is_none_or(is_there))
            || self.relatives.root_may_return()
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
        for (process, parent) in self.relatives.find(&self.observed, now) {
            self.observe(process, parent);
        }
        sample.notices = self.relatives.notices();
        if let Some(memory) = &mut self.memory {
            let processes = self.observed.iter().map(|one| one.process.target());
            sample.memory = memory.look(now, processes.map(PollTarget::of));
        }
        let (frames, look) = (&mut self.frames, &self.options.look);
        let (relatives, stats) = (&mut self.relatives, &mut self.stats);
        self.observed.retain_mut(|observed| {
            let pid = observed.process.pid();
            if observed.execed_at.is_some() {
                return relatives.waits_for(pid);
            }
            match observed.look(frames, look, now, stats, &mut sample) {
                SampleOutcome::Process => true,
                SampleOutcome::Nothing => false,
                SampleOutcome::Execed => {
                    relatives.execed_at(pid, observed.parent, now);
                    true
                }
            }
        });
        self.stats.samples += 1;
        self.stats.missed_ticks += tick.missed;
        self.stats.errors += sample.errors.len() as u64;
        self.stats.torn += sample.torn;
        self.stats.lateness.record(tick.lateness);
        self.stats.sampling_time += now.elapsed();
        let mut observed = self.observed.iter();
        let waited = observed.any(|observed| observed.watch.is_cpu_contended(now));
        // What we were late by for our own sake, such as for new names, says nothing of the machine.
        let overslept = tick.lateness.min(now.saturating_duration_since(idle_since));
        self.urgency.after_look(now, overslept, waited);
        sample
    }
}

impl Iterator for Sampler {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let idle_since = Instant::now();
        if !self.goes_on() || !self.wait() {
            return None;
        }
        let sample = self.look(idle_since);
        // A look that found all processes gone tells nothing.
        (self.goes_on() || !sample.processes.is_empty()).then_some(sample)
    }
}
