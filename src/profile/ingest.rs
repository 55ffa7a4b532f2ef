//! [`Profile::add`]: which stack a sample counts for, and its weight.
//!
//! | options | stacks that count | weight of each |
//! |---|---|---|
//! | none | of threads on a CPU | 1 |
//! | `--idle` | of all threads | 1 |
//! | `--gil` | of a GIL holder on a CPU | 1 |
//! | `--gil --idle` | of the GIL holder | 1 |
//! | `--cpu` | of threads on a CPU | the thread's on-CPU nanoseconds |
//! | `--cpu --idle` | of all threads | the same, 0 for an idle thread |
//! | `--cpu --gil` | of a GIL holder on a CPU | the same |
//! | `--cpu --gil --idle` | of the GIL holder | the same, 0 while it is idle |
//!
//! `--gil` and `--idle` select samples and `--cpu` weighs them. "On a CPU" is the kernel's thread state and
//! includes threads that wait for a CPU; of those, the ones without the GIL usually weigh 0.
//!
//! `--memory` also attributes RSS growth to stacks, by the rule of [`crate::rss::attribution`], independently
//! of the options that select samples.
//!
//! **Nanoseconds.** A sample of a thread on a CPU weighs all the CPU time of the thread since its last sample
//! on a CPU. Time that a thread used before it went to sleep is not attributed to the idle stack, but to
//! the next sample on a CPU; see [`DeferredCpuTime`](super::deferred_cpu::DeferredCpuTime). So the weights
//! of a recording add up to the CPU time of the threads. With `--gil`, a sample without the GIL is left
//! out with its time, and the sum estimates the CPU time with the GIL: samples are taken at random moments,
//! so a thread that holds the GIL for a share of its time holds it in that share of its samples.

use super::options::{Counts, ProcessLabel, ProfileOptions};
use super::stack_builder::{StackBuilder, child, not_python};
use super::tables::ids::{StackId, ThreadId};
use super::tables::labels::Label;
use super::tables::threads::{self, Step};
use super::thread_state::LiveThread;
use super::{MAX_PROCESS_DEPTH, Profile, micros};
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::stack::trace::StackTrace;
use crate::os::Pid;
use crate::rss::attribution::by_stack::{Attribution, ThreadAt};
use crate::rss::attribution::{self, Growth, ThreadDelta};
use crate::sampler::sample::{ProcessSample, RssChange, Sample};

impl Profile {
    /// Counts one tick. `frames` is the table of the sample's frames, the same one in every call. `process`
    /// returns the label of a process; it is called only with [`ProfileOptions::subprocesses`].
    pub fn add(
        &mut self,
        sample: &Sample,
        frames: &FrameTable,
        process: &dyn Fn(Pid) -> Option<ProcessLabel>,
    ) {
        self.count_tick(sample);
        for one in &sample.processes {
            let mut parent = StackId::ROOT;
            if self.options.subprocesses {
                parent = self.process_stack(one.pid, process, MAX_PROCESS_DEPTH);
                if let Some(memory) = &mut self.memory {
                    let label = self.processes.get(&one.pid);
                    let command = label.map(|(label, _)| &label.command);
                    memory.processes.add_process(sample.elapsed, one, command);
                }
            }
            self.add_process(one, parent, frames);
        }
        self.settle_ended(false);
        if let Some(memory) = &mut self.memory {
            memory.date_growth(&self.stacks, sample.elapsed);
            memory.checkpoint(sample.elapsed);
        }
        if self.options.timeline {
            self.threads
                .end_tick(self.counts.ticks, micros(sample.elapsed));
        }
    }

    /// Ends the recording: CPU time and growth that still wait for a stack are attributed.
    pub fn finish(&mut self) {
        self.settle_ended(true);
        if let Some(memory) = &mut self.memory {
            memory.date_growth(&self.stacks, self.last_elapsed);
        }
    }

    fn count_tick(&mut self, sample: &Sample) {
        self.add_missed(sample.missed_ticks);
        let counts = &mut self.counts;
        counts.ticks += 1;
        counts.errors = counts.errors.saturating_add(sample.errors.len() as u64);
        counts.torn = counts.torn.saturating_add(sample.torn);
        self.last_elapsed = sample.elapsed;
        let readings = sample.processes.iter().filter_map(|one| one.rss_bytes);
        if let Some(total) = readings.reduce(u64::saturating_add) {
            self.rss.add(sample.elapsed, total);
        }
        if let Some(memory) = &mut self.memory {
            memory.processes.add_footprints(sample);
        }
    }

    /// Counts the threads of one process, whose stacks are below `parent`.
    fn add_process(&mut self, one: &ProcessSample, parent: StackId, frames: &FrameTable) {
        let Some(memory) = &mut self.memory else {
            for trace in &one.traces {
                self.add_trace(one.pid, parent, trace, None, frames);
            }
            return;
        };
        let change = one.rss_change.unwrap_or_default();
        let mut deltas = std::mem::take(&mut memory.deltas);
        let other = attribution::split(&change, &one.traces, &mut deltas);
        for (trace, delta) in one.traces.iter().zip(&deltas) {
            self.add_trace(one.pid, parent, trace, Some((*delta, &change)), frames);
        }
        if let Some(memory) = &mut self.memory {
            memory.deltas = deltas;
            if other != 0 {
                let stack = not_python(&mut self.stacks, &mut self.labels, parent);
                memory.growth.charge(&stack, other);
            }
        }
    }

    /// Counts one thread. `change`: its part of the change of RSS, and the whole change; only with memory
    /// tracking.
    fn add_trace(
        &mut self,
        pid: Pid,
        parent: StackId,
        trace: &StackTrace,
        change: Option<(ThreadDelta, &RssChange)>,
        frames: &FrameTable,
    ) {
        let is_left_out = count_left_out(&self.options, trace, &mut self.counts);
        if is_left_out && !self.options.weights.cpu_time && self.memory.is_none() {
            return;
        }
        let key = threads::key(pid, &trace.thread);
        let Some(live) = self.live.get(key, self.counts.ticks) else {
            return;
        };
        let uses = Uses::of(&self.options, live, trace, change.map(|(delta, _)| delta));
        let mut growth = self.memory.as_mut().zip(change);
        if let Some((memory, (delta, change))) = &mut growth
            && !uses.growth()
        {
            let now = ThreadAt::Idle(None);
            live.growth
                .attribute(*delta, change, now, &mut memory.growth);
        }
        if is_left_out && !uses.may_inherit && !uses.growth() {
            if uses.on_cpu {
                live.record_running(None);
            }
            return;
        }
        let mut builder = StackBuilder {
            options: &self.options,
            strings: &mut self.strings,
            labels: &mut self.labels,
            stacks: &mut self.stacks,
            threads: &mut self.threads,
        };
        let (stack, row) = builder.trace(live, key, parent, trace, frames);
        if let Some((memory, (delta, change))) = growth
            && uses.growth()
        {
            let now = if uses.running_growth {
                ThreadAt::Running(stack)
            } else {
                ThreadAt::Idle(Some(stack))
            };
            live.growth
                .attribute(delta, change, now, &mut memory.growth);
        }
        if uses.on_cpu {
            live.record_running((!is_left_out).then_some(stack));
        } else if uses.may_inherit {
            live.record_idle(stack);
        }
        if !is_left_out {
            self.counts.without_time +=
                u64::from(uses.cpu_ns.is_some() && trace.thread.cpu_ns.is_none());
            self.count_stack(stack, row, uses.cpu_ns);
        }
    }

    /// Adds one sample to a stack and to the timeline of its thread.
    fn count_stack(&mut self, stack: StackId, row: Option<ThreadId>, cpu_ns: Option<u64>) {
        self.counts.samples += 1;
        if let Some(ns) = cpu_ns {
            self.counts.cpu_ns = self.counts.cpu_ns.saturating_add(ns);
        }
        self.stacks.add(stack, cpu_ns.unwrap_or(1));
        if let Some(row) = row.filter(|_| self.options.timeline) {
            let step = self.step(stack, cpu_ns);
            self.threads.record(row, step);
        }
    }

    fn step(&self, stack: StackId, cpu_ns: Option<u64>) -> Step {
        Step {
            tick: self.counts.ticks,
            now_us: micros(self.last_elapsed),
            stack,
            cpu_ns,
        }
    }

    /// Attributes what threads that have exited still have waiting; `all`: every thread.
    fn settle_ended(&mut self, all: bool) {
        for (key, mut live) in self.live.take_ended(self.counts.ticks, all) {
            if let Some(memory) = &mut self.memory {
                live.growth.settle(&mut memory.growth);
                let waiting = live.growth.waiting();
                if waiting != Growth::default() {
                    let stack = not_python(&mut self.stacks, &mut self.labels, StackId::ROOT);
                    memory.growth.charge_both(&stack, waiting);
                }
            }
            let Some((stack, ns)) = live.unattributed() else {
                continue;
            };
            self.stacks.add(stack, ns);
            self.counts.cpu_ns = self.counts.cpu_ns.saturating_add(ns);
            if self.options.timeline {
                let step = self.step(stack, Some(ns));
                let row = self.threads.intern(key);
                self.threads.record_late(row, step);
            }
        }
    }

    /// The stack of a process's frame, below the frames of its parents.
    fn process_stack(
        &mut self,
        pid: Pid,
        lookup: &dyn Fn(Pid) -> Option<ProcessLabel>,
        depth: usize,
    ) -> StackId {
        let known = self.processes.get(&pid);
        let Some(label) = lookup(pid) else {
            // The process exited before its name was read: its samples go to the stack of earlier ones, or
            // to the root if there are none.
            return known.map_or(StackId::ROOT, |(_, stack)| *stack);
        };
        if let Some((last, stack)) = known
            && *last == label
        {
            return *stack;
        }
        let parent = label.parent.filter(|parent| *parent != pid && depth > 1);
        let above = parent.map_or(StackId::ROOT, |parent| {
            self.process_stack(parent, lookup, depth - 1)
        });
        let text = format!("process {}:\"{}\"", label.pid, label.command);
        let text = self.strings.intern(&text);
        let name = self
            .labels
            .intern(text.map_or(Label::TooMany, Label::Process));
        if text.is_some() {
            self.roots.bind_frame(pid, name);
        }
        let stack = child(&mut self.stacks, &mut self.labels, above, name);
        // Only those of this tick are needed; others are made again from the same label.
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear();
        }
        self.processes.insert(pid, (label, stack));
        stack
    }
}

/// Most processes whose stacks are cached by PID.
const MAX_PROCESSES: usize = 4_096;

/// Counts a thread that the options leave out; `false` if its sample counts.
fn count_left_out(options: &ProfileOptions, trace: &StackTrace, counts: &mut Counts) -> bool {
    let info = &trace.thread;
    let count = if trace.frames.is_empty() {
        &mut counts.without_python
    } else if !options.selection.idle && !info.active {
        &mut counts.idle
    } else if options.selection.gil_only && !info.owns_gil {
        &mut counts.without_gil
    } else {
        return false;
    };
    *count += 1;
    true
}

/// What the stack of a sampled thread is used for, whether the sample counts or not.
struct Uses {
    on_cpu: bool,
    /// With [`Weights::cpu_time`].
    cpu_ns: Option<u64>,
    /// An idle stack that is the fallback for the thread's CPU time.
    may_inherit: bool,
    /// The thread is running, by the rule for growth.
    running_growth: bool,
    /// An idle stack that is the fallback for the thread's growth.
    idle_growth: bool,
}

impl Uses {
    /// To be called once per sample of the thread. `delta`: only with memory tracking.
    fn of(
        options: &ProfileOptions,
        live: &mut LiveThread,
        trace: &StackTrace,
        delta: Option<ThreadDelta>,
    ) -> Uses {
        let info = &trace.thread;
        let (mut cpu_ns, mut on_cpu) = (None, info.active);
        if options.weights.cpu_time {
            let taken = live.pending.take(info);
            on_cpu = taken.is_some();
            cpu_ns = Some(taken.unwrap_or_default());
        }
        let running_growth = delta.is_some() && live.growth.is_running(trace);
        Uses {
            on_cpu,
            cpu_ns,
            may_inherit: !on_cpu
                && !trace.frames.is_empty()
                && (info.owns_gil || !options.selection.gil_only)
                && live.needs_stack(),
            running_growth,
            idle_growth: !running_growth
                && delta.is_some_and(|delta| live.growth.needs_idle_stack(trace, delta)),
        }
    }

    /// Whether growth needs the stack.
    fn growth(&self) -> bool {
        self.running_growth || self.idle_growth
    }
}
