//! [`ThreadTable`]: the threads that are kept apart and, on request, when each was in which stack.

use std::collections::HashMap;

use super::stacks::StackId;
use crate::cpython::stack::trace::ThreadInfo;
use crate::os::{Pid, Tid};
use crate::text::sanitize::clean;

/// Most threads that are kept apart. Beyond it, a program that starts threads without end gets one
/// entry for all that are new.
const MAX_THREADS: usize = 100_000;

/// A thread in a [`ThreadTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(u32);

/// Successive samples of one thread in one stack: 16 bytes, however many they are. It lasts until
/// the next run of the thread starts. A run of no samples is a gap: the thread was idle, or gone.
#[derive(Clone, Copy, Debug)]
struct Run {
    start_us: u64,
    stack: StackId,
    samples: u32,
}

/// A stretch of time that a thread spent in one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The stack.
    pub stack: StackId,
    /// From the start of the recording to the first sample, in microseconds.
    pub start_us: u64,
    /// To the first sample that showed something else, in microseconds.
    pub end_us: u64,
    /// How many samples there were.
    pub samples: u32,
    /// Nanoseconds on a CPU; 0 where nobody asked for them.
    pub cpu_ns: u64,
}

/// What one sample adds to a thread's timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// The tick's number, from 1.
    pub tick: u64,
    /// The tick's time from the start of the recording, in microseconds.
    pub now_us: u64,
    /// What the thread is in.
    pub stack: StackId,
    /// Nanoseconds on a CPU, where these are asked for.
    pub cpu_ns: Option<u64>,
}

/// A thread that was sampled.
#[derive(Debug, Default)]
pub struct Thread {
    /// Whose thread it is; 0 for the entry that stands for [many](Thread::is_many).
    pub pid: Pid,
    /// The kernel's id, where it is known.
    pub os_thread_id: Option<Tid>,
    /// `threading.Thread.ident`.
    pub pthread_id: u64,
    is_many: bool,
    name: Option<Box<str>>,
    runs: Vec<Run>,
    /// Of each run, its nanoseconds on a CPU; empty where nobody asked for them.
    cpu_ns: Vec<u64>,
    last_tick: u64,
}

impl Thread {
    /// How the thread is called by number: the kernel's id, else the `pthread_t` in hexadecimal.
    pub fn number(&self) -> String {
        match self.os_thread_id {
            Some(tid) => tid.to_string(),
            None => format!("{:#X}", self.pthread_id),
        }
    }

    /// The last name it had, safe to show. A thread gets its name a moment after its first frame
    /// runs, so a name that is known late holds for the earlier samples too.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether this stands for all threads that there was no room for. It has no timeline.
    pub fn is_many(&self) -> bool {
        self.is_many
    }

    fn start_run(&mut self, start_us: u64, stack: StackId, samples: u32, cpu_ns: Option<u64>) {
        self.runs.push(Run {
            start_us,
            stack,
            samples,
        });
        self.cpu_ns.extend(cpu_ns);
    }

    fn record(&mut self, step: Step) {
        if let Some(run) = self.runs.last_mut()
            && run.samples > 0
            && run.stack == step.stack
            && let Some(samples) = run.samples.checked_add(1)
        {
            run.samples = samples;
            if let (Some(sum), Some(ns)) = (self.cpu_ns.last_mut(), step.cpu_ns) {
                *sum = sum.saturating_add(ns);
            }
        } else {
            self.start_run(step.now_us, step.stack, 1, step.cpu_ns);
        }
        self.last_tick = step.tick;
    }

    /// Adds time to the last run in this stack; `false` when the last run with samples is in another.
    fn add_to_last(&mut self, stack: StackId, cpu_ns: u64) -> bool {
        let last = self.runs.iter().rposition(|run| run.samples > 0);
        let Some(last) = last.filter(|at| self.runs.get(*at).is_some_and(|run| run.stack == stack))
        else {
            return false;
        };
        if let Some(sum) = self.cpu_ns.get_mut(last) {
            *sum = sum.saturating_add(cpu_ns);
        }
        true
    }
}

pub(crate) type ThreadKey = (Pid, Option<Tid>, u64);

/// What tells a thread from all others, as far as we can know.
pub(crate) fn key(pid: Pid, info: &ThreadInfo) -> ThreadKey {
    (pid, info.os_thread_id, info.pthread_id)
}

/// All threads in the order of first sight, and the timeline of each.
#[derive(Debug, Default)]
pub struct ThreadTable {
    threads: Vec<Thread>,
    ids: HashMap<ThreadKey, ThreadId>,
    /// The entry for all that there was no room for.
    many: Option<ThreadId>,
    /// Threads whose last run still lasts.
    running: Vec<ThreadId>,
}

impl ThreadTable {
    /// The id of this thread, new or known.
    pub(crate) fn intern(&mut self, key: ThreadKey) -> ThreadId {
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
        // The limit is far below 2^32.
        let id = ThreadId(u32::try_from(self.threads.len()).unwrap_or(u32::MAX));
        self.threads.push(thread);
        id
    }

    /// Takes over a thread's newest name.
    pub(crate) fn set_name(&mut self, id: ThreadId, name: &str) {
        if let Some(thread) = self.threads.get_mut(id.0 as usize)
            && !name.is_empty()
            && !thread.is_many
        {
            thread.name = Some(Box::from(clean(name)));
        }
    }

    /// The thread behind an id of this table.
    pub fn get(&self, id: ThreadId) -> Option<&Thread> {
        self.threads.get(id.0 as usize)
    }

    /// The entry for all threads that there was no room for; `None` when there was.
    pub fn too_many(&self) -> Option<ThreadId> {
        self.many
    }

    /// All ids, in the order of first sight.
    pub fn ids(&self) -> impl Iterator<Item = ThreadId> + use<> {
        (0..u32::try_from(self.threads.len()).unwrap_or(u32::MAX)).map(ThreadId)
    }

    /// Notes on the timeline what a thread did at a tick. An entry for many has none: what they did
    /// at once cannot stand one after the other.
    pub(crate) fn record(&mut self, id: ThreadId, step: Step) {
        let Some(thread) = self.threads.get_mut(id.0 as usize) else {
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

    /// Adds to the timeline time that a thread is found to have used after its last sample in
    /// `step.stack`, or without any sample.
    pub(crate) fn record_late(&mut self, id: ThreadId, step: Step) {
        let thread = self.threads.get_mut(id.0 as usize);
        let added = thread
            .is_some_and(|thread| thread.add_to_last(step.stack, step.cpu_ns.unwrap_or_default()));
        if !added {
            self.record(id, step);
        }
    }

    /// Ends the runs of the threads that this tick did not show.
    pub(crate) fn end_tick(&mut self, tick: u64, now_us: u64) {
        let ThreadTable {
            threads, running, ..
        } = self;
        running.retain(|id| {
            let Some(thread) = threads.get_mut(id.0 as usize) else {
                return false;
            };
            let still = thread.last_tick == tick;
            if !still {
                let no_time = (!thread.cpu_ns.is_empty()).then_some(0);
                thread.start_run(now_us, StackId::ROOT, 0, no_time);
            }
            still
        });
    }

    /// What a thread did, oldest first, without its gaps. What still lasted at the last tick ends
    /// at `end_us`.
    pub(crate) fn slices(&self, id: ThreadId, end_us: u64) -> impl Iterator<Item = Slice> {
        let thread = self.get(id);
        let runs = thread.map_or(&[][..], |thread| &thread.runs);
        let times = thread.map_or(&[][..], |thread| &thread.cpu_ns);
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
            .map(|((run, end_us), cpu_ns)| Slice {
                stack: run.stack,
                start_us: run.start_us,
                end_us,
                samples: run.samples,
                cpu_ns,
            })
    }
}
