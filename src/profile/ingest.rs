//! [`Profile::add`]: what a sample weighs, and for which stack.
//!
//! Which stacks count, and what each counts for:
//!
//! | options | stacks that count | weight of each |
//! |---|---|---|
//! | none | of threads on a CPU | 1 |
//! | `--idle` | of all threads | 1 |
//! | `--gil` | of a GIL holder on a CPU | 1 |
//! | `--gil --idle` | of the GIL holder | 1 |
//! | `--cpu` | of threads on a CPU | the thread's nanoseconds on a CPU |
//! | `--cpu --idle` | of all threads | the same, 0 for a thread that sleeps |
//! | `--cpu --gil` | of a GIL holder on a CPU | the same |
//! | `--cpu --gil --idle` | of the GIL holder | the same, 0 while it sleeps |
//!
//! `--memory` lays the growth of resident memory on stacks besides, by the rule of [`crate::rss::attribution`];
//! what chooses samples leaves it alone.
//!
//! So `--gil` and `--idle` choose, and `--cpu` weighs. "On a CPU" is the kernel's word, and takes in
//! threads that wait for one; those without the GIL mostly weigh 0.
//!
//! **Nanoseconds.** A sample of a thread on a CPU weighs all that the thread has used since it was
//! last seen on one. What a thread used before it fell asleep is not laid on the sleep, but waits for
//! the next sample on a CPU; see [`super::deferred_cpu::DeferredCpuTime`]. So over a recording the weights sum up to
//! what the threads have used. Under `--gil` a sample without the GIL is left out with its time, and
//! the sum estimates the time on a CPU with the GIL: samples come at random moments, so a thread that
//! held it for a share of its time has it in that share of its samples.

use super::options::{ProcessLabel, ProfileOptions};
use super::tables::labels::{Label, LabelTable};
use super::tables::stacks::{StackId, StackTable};
use super::tables::strings::StringTable;
use super::tables::threads::{self, Step, ThreadId};
use super::{MAX_PROCESS_DEPTH, Profile, micros};
use crate::cpython::code::frame_table::{Frame, FrameTable};
use crate::cpython::stack::trace::StackTrace;
use crate::os::Pid;
use crate::rss::attribution::by_stack::{Attribution, ThreadAt};
use crate::rss::attribution::{self, Growth, ThreadDelta};
use crate::sampler::sample::{RssChange, Sample};

impl Profile {
    /// Counts one tick. `frames` is the table that the sample's stacks point into, always the same
    /// one. `process` tells how a process is called, and which other one that is looked at it is a
    /// child of; it is asked only under [`ProfileOptions::subprocesses`].
    pub fn add(
        &mut self,
        sample: &Sample,
        frames: &FrameTable,
        process: &dyn Fn(Pid) -> Option<ProcessLabel>,
    ) {
        let counts = &mut self.counts;
        counts.ticks += 1;
        counts.missed_ticks = counts.missed_ticks.saturating_add(sample.missed_ticks);
        counts.errors = counts.errors.saturating_add(sample.errors.len() as u64);
        counts.torn = counts.torn.saturating_add(sample.torn);
        self.last_elapsed = sample.elapsed;
        let readings = sample
            .processes
            .iter()
            .filter_map(|process| process.rss_bytes);
        if let Some(total) = readings.reduce(u64::saturating_add) {
            self.rss.add(sample.elapsed, total);
        }
        self.memory.add_shares(sample);
        for one in &sample.processes {
            let from = if self.options.subprocesses {
                let stack = self.process_stack(one.pid, process, MAX_PROCESS_DEPTH);
                let label = self.processes.get(&one.pid);
                let command = label.map(|(label, _)| &label.command);
                self.memory.add_process(sample.elapsed, one, command);
                stack
            } else {
                StackId::ROOT
            };
            let mut changes = std::mem::take(&mut self.changes);
            let change = one.rss_change.unwrap_or_default();
            let other = attribution::split(&change, &one.traces, &mut changes);
            for (trace, share) in one.traces.iter().zip(&changes) {
                self.add_trace(one.pid, from, trace, (*share, &change), frames);
            }
            self.changes = changes;
            if other != 0 {
                let stack = not_python(&mut self.stacks, &mut self.labels, from);
                self.growth.charge(&stack, other);
            }
        }
        self.settle_ended(false);
        self.date_growth();
        if self.options.memory && self.marks.is_due(sample.elapsed) {
            self.marks.set(sample.elapsed, self.growth_by_stack());
        }
        if self.options.timeline {
            self.threads
                .end_tick(self.counts.ticks, micros(sample.elapsed));
        }
    }

    /// Ends the recording: time that still waits for a stack gets one. Without
    /// [`ProfileOptions::cpu_time`] there is none.
    pub fn finish(&mut self) {
        self.settle_ended(true);
        self.date_growth();
    }

    /// `share`: what the thread has added to resident memory or given back, of all.
    fn add_trace(
        &mut self,
        pid: Pid,
        from: StackId,
        trace: &StackTrace,
        share: (ThreadDelta, &RssChange),
        frames: &FrameTable,
    ) {
        let Profile {
            options,
            labels,
            threads,
            live,
            counts,
            ..
        } = self;
        let info = &trace.thread;
        let left_out = if trace.frames.is_empty() {
            Some(&mut counts.without_python)
        } else if !options.include_idle && !info.active {
            Some(&mut counts.idle)
        } else if options.gil_only && !info.owns_gil {
            Some(&mut counts.without_gil)
        } else {
            None
        };
        let is_left_out = left_out.is_some();
        if let Some(count) = left_out {
            *count += 1;
        }
        if is_left_out && !options.cpu_time && !options.memory {
            return;
        }

        let key = threads::key(pid, info);
        let Some(live) = live.get(key, counts.ticks) else {
            return;
        };
        let (mut cpu_ns, mut on_cpu) = (None, info.active);
        if options.cpu_time {
            let taken = live.pending.take(info);
            on_cpu = taken.is_some();
            cpu_ns = Some(taken.unwrap_or_default());
        }
        // A stack that is asleep gets a node only if time may have to be laid on it.
        let may_inherit = !on_cpu
            && !trace.frames.is_empty()
            && (info.owns_gil || !options.gil_only)
            && live.needs_stack();
        let at_work = options.memory && live.growth.is_at_work(trace);
        let grows = at_work || (options.memory && live.growth.needs_idle_stack(trace, share.0));
        if options.memory && !grows {
            let now = ThreadAt::Idle(None);
            live.growth.look(share.0, share.1, now, &mut self.growth);
        }
        if is_left_out && !may_inherit && !grows {
            if on_cpu {
                live.record_running(None);
            }
            return;
        }
        let mut from = from;
        let mut row = None;
        if options.show_threads || options.timeline {
            let id = *live.row.get_or_insert_with(|| threads.intern(key));
            if let Some(name) = live.new_name(info.name.as_ref()) {
                threads.set_name(id, name);
            }
            row = Some(id);
            if options.show_threads {
                from = live.frame(from, || {
                    let label = labels.intern(thread_label(threads.too_many(), id));
                    child(&mut self.stacks, labels, from, label)
                });
            }
        }
        let mut tree = Tree {
            options,
            strings: &mut self.strings,
            labels,
            stacks: &mut self.stacks,
        };
        let mut stack = live.walk(from, &trace.frames, |parent, frame| {
            tree.frame(parent, frame, frames)
        });
        if options.show_collections && info.collecting {
            let label = tree.labels.intern(Label::Collection);
            stack = child(tree.stacks, tree.labels, stack, label);
        }
        if grows {
            let now = if at_work {
                ThreadAt::Running(stack)
            } else {
                ThreadAt::Idle(Some(stack))
            };
            live.growth.look(share.0, share.1, now, &mut self.growth);
        }
        if is_left_out && on_cpu && !may_inherit {
            live.record_running(None);
        } else if on_cpu {
            live.record_running(Some(stack));
        } else if may_inherit {
            live.record_idle(stack);
        }
        if is_left_out {
            return;
        }
        counts.samples += 1;
        if let Some(ns) = cpu_ns {
            counts.cpu_ns = counts.cpu_ns.saturating_add(ns);
            counts.without_time += u64::from(info.cpu_ns.is_none());
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

    /// Gives the time of threads that have ended to the stacks that inherit it.
    fn settle_ended(&mut self, all: bool) {
        for (key, mut live) in self.live.take_ended(self.counts.ticks, all) {
            live.growth.settle(&mut self.growth);
            let waiting = live.growth.waiting();
            if waiting != Growth::default() {
                let stack = not_python(&mut self.stacks, &mut self.labels, StackId::ROOT);
                self.growth.charge_both(&stack, waiting);
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

    /// The stack of a process's frame, below those of its parents.
    fn process_stack(
        &mut self,
        pid: Pid,
        lookup: &dyn Fn(Pid) -> Option<ProcessLabel>,
        depth: usize,
    ) -> StackId {
        let known = self.processes.get(&pid);
        let Some(label) = lookup(pid) else {
            // It ended before it could be asked for its name: its samples go where its earlier ones
            // are, and still count where there are none.
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
            self.bind_frame(pid, name);
        }
        let stack = child(&mut self.stacks, &mut self.labels, above, name);
        // Only those of this tick are needed; one that is asked for again finds its label.
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear();
        }
        self.processes.insert(pid, (label, stack));
        stack
    }
}

/// Most processes whose stacks are remembered by pid.
const MAX_PROCESSES: usize = 4_096;

fn thread_label(too_many: Option<ThreadId>, id: ThreadId) -> Label {
    if too_many == Some(id) {
        Label::TooMany
    } else {
        Label::Thread(id)
    }
}

/// The stack below `parent` with this leaf or, when the tree is full, the one for all such.
fn child(
    stacks: &mut StackTable,
    labels: &mut LabelTable,
    parent: StackId,
    label: super::tables::labels::LabelId,
) -> StackId {
    stacks
        .child(parent, label)
        .unwrap_or_else(|| stacks.folded(parent, labels.intern(Label::TooMany)))
}

/// The stack of what no Python thread has added, below that of its process.
fn not_python(stacks: &mut StackTable, labels: &mut LabelTable, from: StackId) -> StackId {
    let label = labels.intern(Label::NotPython);
    child(stacks, labels, from, label)
}

/// What stacks are built in.
struct Tree<'a> {
    options: &'a ProfileOptions,
    strings: &'a mut StringTable,
    labels: &'a mut LabelTable,
    stacks: &'a mut StackTable,
}

impl Tree<'_> {
    /// The stack of a frame below its caller's.
    fn frame(
        &mut self,
        parent: StackId,
        id: crate::cpython::code::frame_table::FrameId,
        frames: &FrameTable,
    ) -> StackId {
        let label = self.labels.for_frame(id).or_else(|| {
            let frame = frames.get(id)?;
            let label = if frames.folded() == Some(id) {
                None
            } else {
                python_label(self.options, frame, self.strings)
            };
            let label = self.labels.intern(label.unwrap_or(Label::TooMany));
            self.labels.set_for_frame(id, label);
            Some(label)
        });
        label.map_or(parent, |label| {
            child(self.stacks, self.labels, parent, label)
        })
    }
}

/// How a frame is shown; `None` when there is no room for its names.
fn python_label(
    options: &ProfileOptions,
    frame: &Frame,
    strings: &mut StringTable,
) -> Option<Label> {
    let line = if options.function_only {
        Some(frame.first_line)
    } else {
        frame.line
    };
    let shown_file = if options.full_filenames {
        &frame.filename
    } else {
        &frame.short_filename
    };
    Some(Label::Python {
        name: strings.intern(&frame.name)?,
        shown_file: strings.intern(shown_file)?,
        file: strings.intern(&frame.filename)?,
        // CPython has no line 0; where it stands for "unknown", nothing is better than a lie.
        line: line.filter(|line| options.show_line_numbers && *line > 0),
        first_line: Some(frame.first_line).filter(|line| options.keep_first_lines && *line > 0),
    })
}
