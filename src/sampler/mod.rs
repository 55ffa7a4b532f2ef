//! [`Sampler`]: samples a process, and optionally its children, at random intervals.

pub mod capture;
pub mod histogram;
pub mod kernel;
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
use crate::os::hold;
use crate::os::process::TargetProcess;
use crate::os::ptrace::pause::PauseGuard;
use crate::text::secrets::Secrets;

use capture::options::{CaptureOptions, Pausing};
use kernel::KernelEngine;
use processes::names::{ProcessDescription, ProcessNames};
use processes::pending::PendingProcesses;
use processes::root::Root;
use processes::sampled::{Outcome, SampledProcess};
use resources::memory_poll::{MemoryPoller, PollTarget};
use sample::Sample;
use schedule::priority::PriorityControl;
use schedule::throttle::ThrottleWatch;
use schedule::timer::{Tick, Timer};
use stats::{Engine, SamplerStats};

/// Longest sleep before the sampler checks whether it should stop.
const NAP: Duration = Duration::from_millis(20);
/// The same while some threads are still to be resumed.
const SHORT_NAP: Duration = Duration::from_micros(100);
/// How long a sample that began before the end may go on after it.
const OVERTIME: Duration = Duration::from_millis(100);
/// How long a process may take from `exec` until it runs Python without ending the recording, even if
/// no other process is left.
const EXEC_GRACE: Duration = Duration::from_secs(2);
/// How much later than requested the kernel may wake us.
const TIMER_SLACK_NS: u64 = 1_000;

/// How to sample.
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    /// Mean samples per second.
    pub rate_hz: f64,
    /// What each sample includes.
    pub capture: CaptureOptions,
    /// Whether the process's children are sampled too.
    pub subprocesses: bool,
    /// Set by the caller to end sampling.
    pub stop: Arc<AtomicBool>,
    /// Time from the sampler's start after which sampling ends; `None`: no limit.
    pub duration: Option<Duration>,
    /// Whether the command lines of processes keep their secrets.
    pub secrets: Secrets,
}

/// Samples a process (and its children). As an iterator it waits for the next tick, and ends when all
/// processes have ended, after the configured duration, or when `stop` is set.
///
/// Paused threads are bound to the OS thread that paused them, so a sampler must stay on the thread
/// that created it.
pub struct Sampler {
    processes: Vec<SampledProcess>,
    names: ProcessNames,
    pending: PendingProcesses,
    memory: MemoryPoller,
    frames: FrameTable,
    options: SamplerOptions,
    timer: Timer,
    priority: PriorityControl,
    throttle: ThrottleWatch,
    start: Instant,
    stats: SamplerStats,
    /// Whether the ticks at the end were counted.
    has_ended: bool,
    /// The kernel takes the samples.
    kernel: Option<Box<KernelEngine>>,
}

impl Sampler {
    /// A sampler of this process, whose first tick is now.
    pub fn new(root: impl Into<Root>, options: SamplerOptions) -> Sampler {
        let root = root.into();
        // The default slack of 50 µs saves power and makes samples late. A failure only makes them late.
        let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
        let start = Instant::now();
        let seed = u64::from(std::process::id()) ^ root.target().start_time();
        let stats = SamplerStats {
            started_with: match options.capture.pausing {
                Pausing::Running => Engine::Pausing,
                Pausing::Never => Engine::Nonblocking,
            },
            ..SamplerStats::default()
        };
        let mut sampler = Sampler {
            processes: Vec::new(),
            names: ProcessNames::new(options.secrets),
            pending: PendingProcesses::new(&root, options.subprocesses, start),
            memory: MemoryPoller::new(start, options.capture.memory),
            frames: FrameTable::default(),
            timer: Timer::new(options.rate_hz, start, seed),
            options,
            priority: PriorityControl::new(),
            throttle: ThrottleWatch::start(root.pid()),
            start,
            stats,
            has_ended: false,
            kernel: None,
        };
        sampler.add_name(root.target(), None);
        if let Root::Python(process) = root {
            let process = SampledProcess::new(*process, None, &sampler.options.stop);
            sampler.processes.push(process);
        }
        sampler
    }

    /// The same, but the kernel takes the samples.
    pub fn of_kernel(
        root: impl Into<Root>,
        options: SamplerOptions,
        mut engine: KernelEngine,
    ) -> Sampler {
        let mut sampler = Sampler::new(root, options);
        engine.start();
        // The last stacks are named after the stop, which takes 250 ms at most.
        for one in &mut sampler.processes {
            one.process.reader_and_memory().0.set_stop(Arc::default());
        }
        sampler.stats.started_with = Engine::Kernel;
        sampler.kernel = Some(Box::new(engine));
        sampler
    }

    /// The frames of all stacks so far.
    pub fn frames(&self) -> &FrameTable {
        &self.frames
    }

    /// The name of a process that is or was sampled.
    pub fn process(&self, pid: Pid) -> Option<&ProcessDescription> {
        self.names.get(pid)
    }

    /// The counts so far.
    pub fn stats(&self) -> &SamplerStats {
        &self.stats
    }

    fn add_name(&mut self, process: &TargetProcess, parent: Option<Pid>) {
        let description = ProcessDescription {
            pid: process.pid(),
            parent,
            command: process.command_line().words(self.options.secrets).join(" "),
        };
        let sampled = self.processes.iter().map(|one| one.process.pid());
        self.names.add(description, sampled);
    }

    /// Starts to sample a process: a new one, or one that has called `exec`.
    fn add_process(&mut self, process: PythonProcess, parent: Option<Pid>) {
        if let Some(parent) = parent {
            let mut processes = self.processes.iter();
            let has_execed = |one: &SampledProcess| one.process.pid() == parent && one.has_execed();
            if self.pending.contains(parent) || processes.any(has_execed) {
                // The parent was named after its fork and before its exec.
                self.names.refresh(parent);
            }
            self.names.add_ancestors(parent);
        }
        self.add_name(process.target(), parent);
        let stop = match self.stats.started_with {
            Engine::Kernel => Arc::default(),
            _ => Arc::clone(&self.options.stop),
        };
        let mut processes = self.processes.iter_mut();
        match processes.find(|one| one.process.pid() == process.pid()) {
            Some(known) => known.replace(process, &stop),
            None => {
                let process = SampledProcess::new(process, parent, &stop);
                self.processes.push(process);
            }
        }
    }

    /// Whether the configured duration has passed.
    pub fn is_time_over(&self) -> bool {
        self.is_over(Instant::now())
    }

    fn is_over(&self, now: Instant) -> bool {
        let duration = self.options.duration;
        duration.is_some_and(|time| now.saturating_duration_since(self.start) >= time)
    }

    fn is_stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    /// Whether all processes have ended. At a low rate the next sample would detect that seconds later.
    fn all_have_ended(&self) -> bool {
        let mut processes = self.processes.iter();
        processes.all(|one| one.process.target().has_ended())
            && !self.pending.root_may_return()
            && !self.pending.orphan_may_start()
    }

    /// Whether there is a process to sample, or may be one soon.
    fn may_continue(&self) -> bool {
        let mut processes = self.processes.iter();
        let is_recent = |since: Instant| since.elapsed() < EXEC_GRACE;
        processes.any(|one| one.execed_at.is_none_or(is_recent))
            || self.pending.root_may_return()
            || self.pending.orphan_may_start()
    }

    /// Waits for the next deadline; `false` if sampling ends before it.
    fn wait(&self) -> bool {
        loop {
            let now = Instant::now();
            if self.is_stopped() || self.is_over(now) {
                return false;
            }
            // Ctrl-Z stops us between samples. The ticks until we are continued count as missed.
            if hold::must_wait() {
                std::thread::sleep(SHORT_NAP);
                continue;
            }
            let left = self.timer.deadline().saturating_duration_since(now);
            if left.is_zero() {
                return true;
            }
            if left > NAP && self.all_have_ended() {
                return false;
            }
            // Threads that could not be resumed at once must not stay paused while we sleep.
            let nap = if PauseGuard::settle() { NAP } else { SHORT_NAP };
            let until_over = self
                .options
                .duration
                .map(|time| time.saturating_sub(self.start.elapsed()));
            std::thread::sleep(left.min(nap).min(until_over.unwrap_or(nap)));
        }
    }

    /// Whether threads recently had to wait for a CPU.
    fn is_cpu_contended(&self, now: Instant) -> bool {
        let mut processes = self.processes.iter();
        processes.any(|one| one.threads.is_cpu_contended(now))
    }

    /// When the time of a recording is over even for a sample that has begun.
    fn end(&self) -> Option<Instant> {
        self.start
            .checked_add(self.options.duration?)?
            .checked_add(OVERTIME)
    }

    /// Samples all processes once; `None` if the recording ends in the middle, since a sample that lacks
    /// processes would show less memory than they have. What was not read when the recording ended is no
    /// error of the target, unless that was so from the first sample on. `idle_since`: when the sampler had no other work
    /// left.
    fn sample(&mut self, idle_since: Instant) -> Option<Sample> {
        let now = Instant::now();
        let tick = self.timer.tick(now);
        let mut sample = Sample {
            elapsed: now.saturating_duration_since(self.start),
            lateness: tick.lateness,
            missed_ticks: tick.missed,
            ..Sample::default()
        };
        let next_tick = self.timer.deadline();
        for (process, parent) in self.pending.find(&self.processes, now, next_tick) {
            self.add_process(process, parent);
        }
        sample.notices = self.pending.notices();
        let processes = self.processes.iter().map(|one| one.process.target());
        sample.memory = self.memory.poll(now, processes.map(PollTarget::of));
        let capture = self.capture_options(&tick, now, &mut sample);
        let (end, stop) = (self.end(), Arc::clone(&self.options.stop));
        let mut is_whole = true;
        let is_first = self.stats.samples == 0;
        let is_cut_off = || !is_first && end.is_some_and(|end| Instant::now() >= end);
        let (frames, pending, stats) = (&mut self.frames, &mut self.pending, &mut self.stats);
        self.processes.retain_mut(|process| {
            // Each process may take its time, and there may be many.
            let left = end.map_or(capture.time_limit, |end| {
                end.saturating_duration_since(Instant::now())
            });
            is_whole = is_whole && !left.is_zero() && !stop.load(Ordering::Relaxed);
            if !is_whole {
                return true;
            }
            let capture = capture.within(left);
            let pid = process.process.pid();
            if process.execed_at.is_some() {
                return pending.contains(pid);
            }
            let result = process.sample(frames, &capture, now);
            if let Some(problem) = result.cannot_pause {
                // Processes of one family are usually traced by one debugger: one notice is enough.
                if !stats.could_not_pause {
                    sample.notices.push(format!(
                        "warning: {problem}; going on without pausing (as with --nonblocking)"
                    ));
                }
                stats.could_not_pause = true;
            }
            match result.outcome {
                Outcome::Sampled(sampled) => {
                    is_whole = sampled.errors.is_empty() || !is_cut_off();
                    let pauses = sampled.pauses.into_iter();
                    pauses.for_each(|pause| stats.pauses.record(pause));
                    stats.short_pauses += u64::from(sampled.pauses_fell_short);
                    sample.torn += sampled.torn;
                    sample.errors.extend(sampled.errors);
                    sample.processes.push(sampled.process);
                    true
                }
                Outcome::Failed(error) => {
                    is_whole = !is_cut_off();
                    sample.errors.push(error);
                    true
                }
                Outcome::Execed => {
                    pending.add_execed(pid, process.parent, now);
                    true
                }
                Outcome::Ended => false,
            }
        });
        self.count(&sample, now, idle_since);
        (is_whole && !self.is_stopped()).then_some(sample)
    }

    /// How the processes are sampled at a tick: without pausing while a CPU quota throttles us.
    fn capture_options(
        &mut self,
        tick: &Tick,
        now: Instant,
        sample: &mut Sample,
    ) -> CaptureOptions {
        let mut capture = CaptureOptions {
            skip_leaf_match: tick.missed > 0,
            ..self.options.capture
        };
        if capture.pausing == Pausing::Running && self.throttle.is_throttled(now) {
            capture.pausing = Pausing::Never;
            sample.notices.extend(self.throttle.notice());
            self.stats.could_not_pause = true;
        }
        capture
    }

    /// Counts the ticks that were due when the recording ended, and those of samples that were `dropped`.
    fn count_end(&mut self, dropped: u64) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let end = self.options.duration;
        let end = end.and_then(|duration| self.start.checked_add(duration));
        let now = Instant::now();
        let overdue = self.timer.overdue(end.map_or(now, |end| end.min(now)));
        self.stats.missed_at_end = overdue.saturating_add(dropped);
        self.stats.missed_ticks = self
            .stats
            .missed_ticks
            .saturating_add(self.stats.missed_at_end);
    }

    /// Counts a sample that began `now`, and decides on the priority of the next ones.
    fn count(&mut self, sample: &Sample, now: Instant, idle_since: Instant) {
        self.stats.samples += 1;
        self.stats.missed_ticks += sample.missed_ticks;
        self.stats.errors += sample.errors.len() as u64;
        self.stats.torn += sample.torn;
        self.stats.lateness.record(sample.lateness);
        self.stats.sampling_time += now.elapsed();
        let contended = self.is_cpu_contended(now);
        // Lateness from the sampler's own work, such as reading new names, is not contention.
        let overslept = sample
            .lateness
            .min(now.saturating_duration_since(idle_since));
        self.priority.after_sample(now, overslept, contended);
    }
}

/// The kernel's samples.
impl Sampler {
    fn next_from_kernel(&mut self, engine: &mut KernelEngine) -> Option<Sample> {
        loop {
            if let Some(sample) = engine.take_ready() {
                self.stats.samples += u64::from(!sample.is_remainder);
                self.stats.errors += sample.errors.len() as u64;
                self.stats.torn += sample.torn;
                return Some(sample);
            }
            if self.has_ended {
                return None;
            }
            // What was recorded until then is left to be taken.
            self.has_ended = !self.may_continue() || !self.wait_for_kernel(engine);
            let start = Instant::now();
            self.drain(engine, start);
            self.stats.sampling_time += start.elapsed();
        }
    }

    /// Waits until the ring is to be emptied; `false` if sampling ends.
    fn wait_for_kernel(&self, engine: &KernelEngine) -> bool {
        let until = engine.next_drain(self.options.subprocesses);
        loop {
            let now = Instant::now();
            if self.is_stopped() || self.is_over(now) {
                return false;
            }
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return !self.all_have_ended();
            }
            let duration = self.options.duration;
            let end = duration.map(|time| time.saturating_sub(self.start.elapsed()));
            std::thread::sleep(left.min(NAP).min(end.unwrap_or(NAP)));
        }
    }

    /// Empties the ring: its stacks are named, and become samples.
    fn drain(&mut self, engine: &mut KernelEngine, now: Instant) {
        for (process, parent) in self.pending.find(&self.processes, now, now) {
            self.add_process(process, parent);
        }
        let (processes, duration) = (&self.processes, self.options.duration);
        let mut drain = engine.drain(processes, now, duration, self.has_ended);
        drain.beside.notices.extend(self.pending.notices());
        let targets = self.processes.iter().map(|one| one.process.target());
        let readings = self.memory.poll(now, targets.map(PollTarget::of));
        drain.beside.memory.extend(readings);
        let capture = self.options.capture;
        let stop = Arc::clone(&self.options.stop);
        let is_last = self.has_ended;
        let (frames, pending) = (&mut self.frames, &mut self.pending);
        self.processes.retain_mut(|process| {
            let pid = process.process.pid();
            if process.execed_at.is_some() {
                return pending.contains(pid);
            }
            // What is left is sampled at last, in a shorter time: there may be many processes.
            let is_left = !is_last && stop.load(Ordering::Relaxed);
            if is_left || engine.sample(process, &mut drain, frames, &capture) {
                return true;
            }
            let parent = process.parent;
            let has_execed = matches!(process.mark_gone(now), Outcome::Execed);
            if has_execed {
                pending.add_execed(pid, parent, now);
            }
            has_execed
        });
        let faults = &mut self.stats.page_faults;
        faults.count = faults.count.saturating_add(drain.page_faults.count);
        faults.recorded += drain.page_faults.recorded;
        let pauses = drain.pauses.drain(..);
        pauses.for_each(|pause| self.stats.pauses.record(pause));
        engine.complete(drain, &self.processes, self.has_ended);
    }
}

impl Iterator for Sampler {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if let Some(mut engine) = self.kernel.take() {
            let sample = self.next_from_kernel(&mut engine);
            self.kernel = Some(engine);
            return sample;
        }
        let idle_since = Instant::now();
        if !self.may_continue() {
            return None;
        }
        if !self.wait() {
            self.count_end(0);
            return None;
        }
        let Some(sample) = self.sample(idle_since) else {
            self.count_end(1);
            return None;
        };
        // A sample in which all processes had ended is empty.
        (self.may_continue() || !sample.processes.is_empty()).then_some(sample)
    }
}
