//! [`ThreadTable`]: the sampled threads and, on request, the timeline of each.

use std::collections::HashMap;

use super::ids::{StackId, ThreadId};
use crate::cpython::stack::trace::ThreadInfo;
use crate::os::{Pid, Tid};
use crate::text::sanitize::clean;

/// Most threads with an entry of their own. A program that starts threads without end gets one entry for
/// all further threads.
const MAX_THREADS: usize = 100_000;

/// Successive samples of one thread in one stack, in 16 bytes. A run ends where the next run of the thread
/// starts. A run of no samples is a gap: the thread was idle, or had exited.
#[derive(Clone, Copy, Debug)]
struct Run {
    start_us: u64,
    stack: StackId,
    samples: u32,
}

/// Time that a thread spent in one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub stack: StackId,
    /// Time of the first sample, in microseconds from the start of the recording.
    pub start_us: u64,
    /// Time of the first sample in another stack, in microseconds.
    pub end_us: u64,
    pub samples: u32,
    /// Nanoseconds on a CPU, or of wall-clock time; 0 if they are not recorded.
    pub time_ns: u64,
}

/// What one sample adds to a thread's timeline.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Number of the tick, from 1.
    pub tick: u64,
    /// Time of the tick, in microseconds from the start of the recording.
    pub now_us: u64,
    pub stack: StackId,
    /// The same, if they are recorded.
    pub time_ns: Option<u64>,
}

/// A thread that was sampled.
#[derive(Debug, Default)]
pub struct Thread {
    /// 0 for the entry of [many](Thread::is_many) threads.
    pub pid: Pid,
    /// The kernel's thread ID, if known.
    pub os_thread_id: Option<Tid>,
    /// `threading.Thread.ident`.
    pub pthread_id: u64,
    is_many: bool,
    name: Option<Box<str>>,
    runs: Vec<Run>,
    /// The same of each run; empty if they are not recorded.
    time_ns: Vec<u64>,
    last_tick: u64,
}

impl Thread {
    /// The kernel's thread ID, else the `pthread_t` in hexadecimal.
    pub fn number(&self) -> String {
        match self.os_thread_id {
            Some(tid) => tid.to_string(),
            None => format!("{:#X}", self.pthread_id),
        }
    }

    /// The last name, sanitised. A thread gets its name shortly after its first frame runs, so a later name
    /// also holds for earlier samples.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether this is the entry for all threads beyond the limit. It has no timeline.
    pub fn is_many(&self) -> bool {
        self.is_many
    }

    fn start_run(&mut self, start_us: u64, stack: StackId, samples: u32, time_ns: Option<u64>) {
        self.runs.push(Run {
            start_us,
            stack,
            samples,
        });
        self.time_ns.extend(time_ns);
    }

    fn record(&mut self, step: Step) {
        if let Some(run) = self.runs.last_mut()
            && run.samples > 0
            && run.stack == step.stack
            && let Some(samples) = run.samples.checked_add(1)
        {
            run.samples = samples;
            if let (Some(sum), Some(ns)) = (self.time_ns.last_mut(), step.time_ns) {
                *sum = sum.saturating_add(ns);
            }
        } else {
            self.start_run(step.now_us, step.stack, 1, step.time_ns);
        }
        self.last_tick = step.tick;
    }

    /// Adds time to the last run with samples; `false` if that is in another stack.
    fn add_to_last(&mut self, stack: StackId, time_ns: u64) -> bool {
        let last = self.runs.iter().rposition(|run| run.samples > 0);
        let Some(last) = last.filter(|at| self.runs.get(*at).is_some_and(|run| run.stack == stack))
        else {
            return false;
        };
        if let Some(sum) = self.time_ns.get_mut(last) {
            *sum = sum.saturating_add(time_ns);
        }
        true
    }
}

pub type ThreadKey = (Pid, Option<Tid>, u64);

/// Identifies a thread.
pub fn key(pid: Pid, info: &ThreadInfo) -> ThreadKey {
    (pid, info.os_thread_id, info.pthread_id)
}

/// All threads in order of insertion, and the timeline of each.
#[derive(Debug, Default)]
pub struct ThreadTable {
    threads: Vec<Thread>,
    ids: HashMap<ThreadKey, ThreadId>,
    /// The entry for all threads beyond the limit.
    many: Option<ThreadId>,
    /// Threads whose last run has not ended.
    running: Vec<ThreadId>,
}

impl ThreadTable {
    /// The id of this thread.
    pub fn intern(&mut self, key: ThreadKey) -> ThreadId {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        if self.ids.len() >= MAX_THREADS {
            return self.many();
        }
        let (pid, os_thread_id, pthread_id) = key;
        let id = self.push(Thread {
            pid,
            os_thread_id,
            pthread_id,
            ..Thread::default()
        });
        self.ids.insert(key, id);
        id
    }

    fn many(&mut self) -> ThreadId {
        if let Some(id) = self.many {
            return id;
        }
        let id = self.push(Thread {
            is_many: true,
            ..Thread::default()
        });
        self.many = Some(id);
        id
    }

    fn push(&mut self, thread: Thread) -> ThreadId {
        let id = ThreadId::from_index(self.threads.len());
        self.threads.push(thread);
        id
    }

    /// Sets the current name of a thread.
    pub fn set_name(&mut self, id: ThreadId, name: &str) {
        if let Some(thread) = self.threads.get_mut(id.index())
            && !name.is_empty()
            && !thread.is_many
        {
            thread.name = Some(Box::from(clean(name)));
        }
    }

    /// The thread of an id.
    pub fn get(&self, id: ThreadId) -> Option<&Thread> {
        self.threads.get(id.index())
    }

    /// The entry for all threads beyond the limit; `None` if there are none.
    pub fn too_many(&self) -> Option<ThreadId> {
        self.many
    }

    /// All ids, in order of insertion.
    pub fn ids(&self) -> impl Iterator<Item = ThreadId> + use<> {
        (0..self.threads.len()).map(ThreadId::from_index)
    }

    /// Adds a sample to the timeline of a thread. The entry for many threads has no timeline, as their
    /// samples are simultaneous.
    pub fn record(&mut self, id: ThreadId, step: Step) {
        let Some(thread) = self.threads.get_mut(id.index()) else {
            return;
        };
        if thread.is_many {
            return;
        }
        let was_running = thread.runs.last().is_some_and(|run| run.samples > 0);
        thread.record(step);
        if !was_running {
            self.running.push(id);
        }
    }

    /// Adds CPU time that is attributed to `step.stack` after the thread's last sample in it, or without
    /// any sample.
    pub fn record_late(&mut self, id: ThreadId, step: Step) {
        let thread = self.threads.get_mut(id.index());
        let added = thread
            .is_some_and(|thread| thread.add_to_last(step.stack, step.time_ns.unwrap_or_default()));
        if !added {
            self.record(id, step);
        }
    }

    /// Ends the runs of the threads without a sample in this tick.
    pub fn end_tick(&mut self, tick: u64, now_us: u64) {
        let ThreadTable {
            threads, running, ..
        } = self;
        running.retain(|id| {
            let Some(thread) = threads.get_mut(id.index()) else {
                return false;
            };
            let still = thread.last_tick == tick;
            if !still {
                let no_time = (!thread.time_ns.is_empty()).then_some(0);
                thread.start_run(now_us, StackId::ROOT, 0, no_time);
            }
            still
        });
    }

    /// The timeline of a thread, oldest first, without gaps. A run that lasted at the last tick ends at
    /// `end_us`.
    pub fn slices(&self, id: ThreadId, end_us: u64) -> impl Iterator<Item = Slice> {
        let thread = self.get(id);
        let runs = thread.map_or(&[][..], |thread| &thread.runs);
        let times = thread.map_or(&[][..], |thread| &thread.time_ns);
        let ends = runs
            .iter()
            .skip(1)
            .map(|run| run.start_us)
            .chain(std::iter::once(end_us));
        let times = times.iter().copied().chain(std::iter::repeat(0));
        runs.iter()
            .zip(ends)
            .zip(times)
            .filter(|((run, _), _)| run.samples > 0)
            .map(|((run, end_us), time_ns)| Slice {
                stack: run.stack,
                start_us: run.start_us,
                end_us,
                samples: run.samples,
                time_ns,
            })
    }
}
