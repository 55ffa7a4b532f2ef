//! [`ThreadTable`]: the threads that were seen and, on request, when each was in which stack.

use std::collections::HashMap;

use super::stack_table::StackId;
use super::string_table::{StringId, StringTable};
use crate::cpython::{FrameId, ThreadInfo};
use crate::target::{Pid, Tid};

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
}

/// A thread that was sampled.
#[derive(Debug)]
pub struct Thread {
    /// Whose thread it is.
    pub pid: Pid,
    /// The kernel's id, where it is known.
    pub os_thread_id: Option<Tid>,
    /// `threading.Thread.ident`.
    pub pthread_id: u64,
    name: Option<StringId>,
    runs: Vec<Run>,
    last_tick: u64,
    /// The stack of the last sample, root first, with the node of each frame: most samples share
    /// their roots with the sample before, and need not look these up again.
    walked: Vec<(FrameId, StackId)>,
    walked_from: StackId,
}

impl Thread {
    /// How the thread is called by number: the kernel's id, else the `pthread_t` in hexadecimal.
    pub fn number(&self) -> String {
        match self.os_thread_id {
            Some(tid) => tid.to_string(),
            None => format!("{:#X}", self.pthread_id),
        }
    }

    /// The last name it had. A thread gets its name a moment after its first frame runs, so a name
    /// that is known late holds for the earlier samples too.
    pub fn name(&self) -> Option<StringId> {
        self.name
    }

    /// The node of this stack, given leaf first, where each frame has the label node that `child`
    /// makes below its caller's.
    pub(super) fn walk(
        &mut self,
        from: StackId,
        frames: &[FrameId],
        mut child: impl FnMut(StackId, FrameId) -> StackId,
    ) -> StackId {
        if self.walked_from != from {
            self.walked.clear();
            self.walked_from = from;
        }
        let root_first = || frames.iter().rev().copied();
        let shared = self
            .walked
            .iter()
            .zip(root_first())
            .take_while(|((old, _), new)| old == new)
            .count();
        self.walked.truncate(shared);
        let mut at = self.walked.last().map_or(from, |(_, stack)| *stack);
        for frame in root_first().skip(shared) {
            at = child(at, frame);
            self.walked.push((frame, at));
        }
        at
    }

    fn record(&mut self, tick: u64, stack: StackId, now_us: u64) {
        if let Some(run) = self.runs.last_mut()
            && run.samples > 0
            && run.stack == stack
            && let Some(samples) = run.samples.checked_add(1)
        {
            run.samples = samples;
        } else {
            self.runs.push(Run {
                start_us: now_us,
                stack,
                samples: 1,
            });
        }
        self.last_tick = tick;
    }
}

type ThreadKey = (Pid, Option<Tid>, u64);

/// All threads in the order of first sight, and the timeline of each.
#[derive(Debug, Default)]
pub struct ThreadTable {
    threads: Vec<Thread>,
    ids: HashMap<ThreadKey, ThreadId>,
    /// Threads whose last run still lasts.
    running: Vec<ThreadId>,
}

impl ThreadTable {
    /// The id of this thread, new or known; takes over its newest name.
    pub(super) fn intern(
        &mut self,
        pid: Pid,
        info: &ThreadInfo,
        strings: &mut StringTable,
    ) -> ThreadId {
        let ThreadTable { threads, ids, .. } = self;
        let key = (pid, info.os_thread_id, info.pthread_id);
        let id = *ids.entry(key).or_insert_with(|| {
            let id = ThreadId(u32::try_from(threads.len()).unwrap_or(u32::MAX));
            threads.push(Thread {
                pid,
                os_thread_id: info.os_thread_id,
                pthread_id: info.pthread_id,
                name: None,
                runs: Vec::new(),
                last_tick: 0,
                walked: Vec::new(),
                walked_from: StackId::ROOT,
            });
            id
        });
        if let Some(name) = info.name.as_deref().filter(|name| !name.is_empty())
            && let Some(thread) = threads.get_mut(id.0 as usize)
        {
            thread.name = Some(strings.intern(name));
        }
        id
    }

    /// The thread behind an id of this table.
    pub fn get(&self, id: ThreadId) -> Option<&Thread> {
        self.threads.get(id.0 as usize)
    }

    pub(super) fn get_mut(&mut self, id: ThreadId) -> Option<&mut Thread> {
        self.threads.get_mut(id.0 as usize)
    }

    /// All ids, in the order of first sight.
    pub fn ids(&self) -> impl Iterator<Item = ThreadId> + use<> {
        (0..u32::try_from(self.threads.len()).unwrap_or(u32::MAX)).map(ThreadId)
    }

    /// Notes on the timeline what a thread did at this tick. Ticks are numbered from 1.
    pub(super) fn record(&mut self, id: ThreadId, tick: u64, stack: StackId, now_us: u64) {
        let Some(thread) = self.threads.get_mut(id.0 as usize) else {
            return;
        };
        let was_running = thread.runs.last().is_some_and(|run| run.samples > 0);
        thread.record(tick, stack, now_us);
        if !was_running {
            self.running.push(id);
        }
    }

    /// Ends the runs of the threads that this tick did not show.
    pub(super) fn end_tick(&mut self, tick: u64, now_us: u64) {
        let ThreadTable {
            threads, running, ..
        } = self;
        running.retain(|id| {
            let Some(thread) = threads.get_mut(id.0 as usize) else {
                return false;
            };
            let still = thread.last_tick == tick;
            if !still {
                thread.runs.push(Run {
                    start_us: now_us,
                    stack: StackId::ROOT,
                    samples: 0,
                });
            }
            still
        });
    }

    /// What a thread did, oldest first, without its gaps. What still lasted at the last tick ends
    /// at `end_us`.
    pub(super) fn slices(&self, id: ThreadId, end_us: u64) -> impl Iterator<Item = Slice> {
        let runs = self.get(id).map_or(&[][..], |thread| &thread.runs);
        let ends = runs
            .iter()
            .skip(1)
            .map(|run| run.start_us)
            .chain(std::iter::once(end_us));
        runs.iter()
            .zip(ends)
            .filter(|(run, _)| run.samples > 0)
            .map(|(run, end_us)| Slice {
                stack: run.stack,
                start_us: run.start_us,
                end_us,
                samples: run.samples,
            })
    }
}
