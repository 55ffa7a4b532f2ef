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
//! | `--wall` | of all threads | the thread's nanoseconds, waiting ones included |
//!
//! `--gil` and `--idle` select samples, `--cpu` and `--wall` weigh them. "On a CPU" is the kernel's thread state and
//! includes threads that wait for a CPU; of those, the ones without the GIL usually weigh 0.
//!
//! `--memory` also attributes RSS growth to stacks, by the rule of [`crate::rss::attribution`], independently
//! of the options that select samples.
//!
//! **CPU time.** A sample of a thread on a CPU weighs all the CPU time of the thread since its last sample
//! on a CPU. Time that a thread used before it went to sleep is not attributed to the idle stack, but to
//! the next sample on a CPU; see [`DeferredCpuTime`](super::deferred_cpu::DeferredCpuTime). So the weights
//! of a recording add up to the CPU time of the threads. With `--gil`, a sample without the GIL is left
//! out with its time, and the sum estimates the CPU time with the GIL: samples are taken at random moments,
//! so a thread that holds the GIL for a share of its time holds it in that share of its samples.
//!
//! **Wall-clock time.** A stack weighs what the sampler says that its thread has spent in it.

use std::sync::Arc;

use super::memory::growth_table::Charging;
use super::options::{Counts, ProcessLabel, ProfileOptions, TimeWeight};
use super::stack_builder::{StackBuilder, between_samples, child, not_python};
use super::tables::ids::{StackId, ThreadId};
use super::tables::labels::Label;
use super::tables::threads::{self, Step};
use super::thread_state::LiveThread;
use super::{MAX_PROCESS_DEPTH, Profile, micros};
use crate::cpython::code::frame_table::{FrameId, FrameTable};
use crate::cpython::stack::trace::StackTrace;
use crate::os::Pid;
use crate::rss::attribution::by_fault::StackFault;
use crate::rss::attribution::{self, Growth, ThreadDelta};
use crate::sampler::sample::{FaultGrowth, FaultSource, ProcessSample, RssChange, Sample};

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

    /// Ends the recording: CPU time that still waits for a stack is attributed.
    pub fn finish(&mut self) {
        self.settle_ended(true);
        if let Some(memory) = &mut self.memory {
            if memory.has_waiting_faults() {
                let unknown = between_samples(&mut self.stacks, &mut self.labels, StackId::ROOT);
                memory.finish_faults(unknown);
            }
            memory.date_growth(&self.stacks, self.last_elapsed);
        }
    }

    fn count_tick(&mut self, sample: &Sample) {
        self.add_missed(sample.missed_ticks);
        let counts = &mut self.counts;
        counts.ticks += u64::from(!sample.is_remainder);
        counts.errors = counts.errors.saturating_add(sample.errors.len() as u64);
        counts.torn = counts.torn.saturating_add(sample.torn);
        counts.idle = counts.idle.saturating_add(sample.idle);
        self.last_elapsed = sample.elapsed;
        let readings = sample.processes.iter().filter_map(|one| one.rss_bytes);
        if let Some(total) = readings.reduce(u64::saturating_add) {
            self.rss.add(sample.elapsed, total);
        }
        self.kinds.add(sample);
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
        let gil_holder = one.traces.iter().position(|trace| trace.thread.owns_gil);
        for (place, (trace, delta)) in one.traces.iter().zip(&deltas).enumerate() {
            let growth = TraceGrowth {
                delta: *delta,
                change: one.rss_change,
                gil_is_taken: gil_holder.is_some_and(|holder| holder != place),
            };
            self.add_trace(one.pid, parent, trace, Some(growth), frames);
        }
        if let Some(memory) = &mut self.memory {
            memory.deltas = deltas;
            if other != 0 {
                let stack = not_python(&mut self.stacks, &mut self.labels, parent);
                memory.growth.charge(stack, other);
            }
        }
        for growth in &one.fault_growth {
            self.add_faults(one.pid, parent, growth, frames);
        }
    }

    /// Attributes what a process has added to the stacks of its page faults.
    fn add_faults(&mut self, pid: Pid, parent: StackId, growth: &FaultGrowth, frames: &FrameTable) {
        let mut faults = Vec::with_capacity(growth.faults.len());
        for fault in &growth.faults {
            let stack = match &fault.source {
                FaultSource::Python(trace) if !trace.frames.is_empty() => {
                    let key = threads::key(pid, &trace.thread);
                    let Some(live) = self.live.get(key, self.counts.ticks) else {
                        continue;
                    };
                    let mut builder = StackBuilder {
                        options: &self.options,
                        strings: &mut self.strings,
                        labels: &mut self.labels,
                        stacks: &mut self.stacks,
                        threads: &mut self.threads,
                    };
                    builder.trace(live, key, parent, trace, frames).0
                }
                FaultSource::Python(_) | FaultSource::NotPython => {
                    not_python(&mut self.stacks, &mut self.labels, parent)
                }
                FaultSource::Unknown => between_samples(&mut self.stacks, &mut self.labels, parent),
            };
            faults.push(StackFault {
                stack,
                bytes: fault.bytes,
                is_file: fault.is_file,
            });
        }
        let unknown = between_samples(&mut self.stacks, &mut self.labels, parent);
        if let Some(memory) = &mut self.memory {
            memory.attribute_faults(pid, growth, &faults, unknown);
        }
    }

    /// Counts one thread. `growth`: only with memory tracking.
    fn add_trace(
        &mut self,
        pid: Pid,
        parent: StackId,
        trace: &StackTrace,
        growth: Option<TraceGrowth>,
        frames: &FrameTable,
    ) {
        let is_left_out = count_left_out(&self.options, trace, &mut self.counts);
        if is_left_out && self.options.weights.time.is_none() && self.memory.is_none() {
            return;
        }
        let key = threads::key(pid, &trace.thread);
        let Some(live) = self.live.get(key, self.counts.ticks) else {
            return;
        };
        let uses = Uses::of(&self.options, live, trace, growth.as_ref());
        let mut builder = StackBuilder {
            options: &self.options,
            strings: &mut self.strings,
            labels: &mut self.labels,
            stacks: &mut self.stacks,
            threads: &mut self.threads,
        };
        let is_built = !is_left_out || uses.may_inherit || uses.running_growth;
        let built = is_built.then(|| builder.trace(live, key, parent, trace, frames));
        if let Some((memory, growth)) = self.memory.as_mut().zip(growth) {
            let now = built.map(|(stack, _)| stack);
            let now = now.filter(|_| uses.running_growth);
            if live.was_missing {
                live.growth.interrupt();
            }
            let previous = growth.previous_frames(live, trace);
            let ends = previous.map(|previous| {
                let (above, _) = builder.thread(live, key, parent, &trace.thread);
                let mut walk = |of| builder.walk(live, above, of, frames);
                (walk(&previous), walk(&trace.frames))
            });
            let mut charging = Charging {
                growth: &mut memory.growth,
                stacks: builder.stacks,
                labels: builder.labels,
                unseen: Growth::default(),
                ends: None,
            };
            growth.add_to(live, now, ends, &mut charging);
            let (unseen, above) = (charging.unseen, charging.callers_of_unseen());
            if unseen != Growth::default() {
                let above = match above {
                    Some(above) => above,
                    None => builder.thread(live, key, parent, &trace.thread).0,
                };
                let stack = if trace.frames.is_empty() {
                    not_python(builder.stacks, builder.labels, above)
                } else {
                    between_samples(builder.stacks, builder.labels, above)
                };
                memory.growth.charge_both(stack, unseen);
            }
        }
        let Some((stack, row)) = built else {
            if uses.on_cpu {
                live.record_running(None);
            }
            return;
        };
        if uses.on_cpu {
            live.record_running((!is_left_out).then_some(stack));
        } else if uses.may_inherit {
            live.record_idle(stack);
        }
        if !is_left_out {
            self.counts.without_time +=
                u64::from(uses.time_ns.is_some() && trace.thread.time_ns.is_none());
            self.count_stack(stack, row, uses.time_ns);
        }
    }

    /// Adds one sample to a stack and to the timeline of its thread.
    fn count_stack(&mut self, stack: StackId, row: Option<ThreadId>, time_ns: Option<u64>) {
        self.counts.samples += 1;
        if let Some(ns) = time_ns {
            self.counts.time_ns = self.counts.time_ns.saturating_add(ns);
        }
        self.stacks.add(stack, time_ns.unwrap_or(1));
        if let Some(row) = row.filter(|_| self.options.timeline) {
            let step = self.step(stack, time_ns);
            self.threads.record(row, step);
        }
    }

    fn step(&self, stack: StackId, time_ns: Option<u64>) -> Step {
        Step {
            tick: self.counts.ticks,
            now_us: micros(self.last_elapsed),
            stack,
            time_ns,
        }
    }

    /// Attributes the CPU time that threads which have exited still have waiting; `all`: every thread.
    fn settle_ended(&mut self, all: bool) {
        for (key, live) in self.live.take_ended(self.counts.ticks, all) {
            let Some((stack, ns)) = live.unattributed() else {
                continue;
            };
            self.stacks.add(stack, ns);
            self.counts.time_ns = self.counts.time_ns.saturating_add(ns);
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

/// A thread's part of a change of RSS.
struct TraceGrowth {
    delta: ThreadDelta,
    /// The change of the whole process, unless it is part of the next one.
    change: Option<RssChange>,
    /// Whether another thread holds the GIL.
    gil_is_taken: bool,
}

impl TraceGrowth {
    /// The frames of the thread's sample before, if there is something to attribute and both samples have frames.
    fn previous_frames(&self, live: &LiveThread, trace: &StackTrace) -> Option<Arc<[FrameId]>> {
        let is_any = self.change.is_some() && self.delta != ThreadDelta::default();
        let previous = live.growth.previous_frames().filter(|_| is_any)?;
        (!previous.is_empty() && !trace.frames.is_empty()).then(|| Arc::clone(previous))
    }

    /// Attributes it to the stack `now` of a running thread, and to that of the sample before. `ends`: the two
    /// stacks, whether the thread was running or not.
    fn add_to(
        self,
        live: &mut LiveThread,
        now: Option<StackId>,
        ends: Option<(StackId, StackId)>,
        growth: &mut Charging<'_>,
    ) {
        match &self.change {
            Some(change) => live.growth.attribute(self.delta, change, now, ends, growth),
            None => live.growth.pass(),
        }
    }
}

/// What the stack of a sampled thread is used for, whether the sample counts or not.
struct Uses {
    on_cpu: bool,
    /// With [`Weights::time`](super::options::Weights::time).
    time_ns: Option<u64>,
    /// An idle stack that is the fallback for the thread's CPU time.
    may_inherit: bool,
    /// The thread is running, by the rule for growth.
    running_growth: bool,
}

impl Uses {
    /// To be called once per sample of the thread. `growth`: only with memory tracking.
    fn of(
        options: &ProfileOptions,
        live: &mut LiveThread,
        trace: &StackTrace,
        growth: Option<&TraceGrowth>,
    ) -> Uses {
        let info = &trace.thread;
        let (mut time_ns, mut on_cpu) = (None, info.active);
        match options.weights.time {
            Some(TimeWeight::Cpu) => {
                let taken = live.pending.take(info);
                on_cpu = taken.is_some();
                time_ns = Some(taken.unwrap_or_default());
            }
            Some(TimeWeight::Wall) => time_ns = Some(info.time_ns.unwrap_or_default()),
            None => {}
        }
        Uses {
            on_cpu,
            time_ns,
            may_inherit: options.weights.time == Some(TimeWeight::Cpu)
                && !on_cpu
                && !trace.frames.is_empty()
                && (info.owns_gil || !options.selection.gil_only)
                && live.needs_stack(),
            running_growth: growth
                .is_some_and(|growth| live.growth.is_running(trace, growth.gil_is_taken)),
        }
    }
}
