//! [`LiveThreads`]: what the live view remembers of each thread from sample to sample.

use std::collections::HashMap;

use super::table::{Place, Table};
use crate::cpython::{FrameTable, StackTrace, ThreadInfo};
use crate::profile::growth::Now;
use crate::profile::{PendingTime, ThreadGrowth};
use crate::target::{Pid, Tid};

type Key = (Pid, Option<Tid>, u64);

/// The threads of the last samples.
#[derive(Debug, Default)]
pub(super) struct LiveThreads {
    threads: HashMap<Key, LiveThread>,
}

#[derive(Debug, Default)]
struct LiveThread {
    /// CPU time that waits for a stack.
    time: PendingTime,
    /// Memory that waits for one.
    growth: ThreadGrowth<Place>,
    /// The last sample that showed it.
    last_sample: u64,
}

impl LiveThreads {
    /// The nanoseconds that this sight of a thread stands for.
    pub fn cpu_time(&mut self, pid: Pid, thread: &ThreadInfo, sample: u64) -> u64 {
        let live = self.threads.entry(key(pid, thread)).or_default();
        live.last_sample = sample;
        live.time.take(thread).unwrap_or_default()
    }

    /// Lays a thread's part of a change of memory, in bytes, on the leaf of the stack that ran meanwhile.
    pub fn grow(
        &mut self,
        (pid, trace): (Pid, &StackTrace),
        change: i64,
        sample: u64,
        (table, collections, frames): (&mut Table, bool, &FrameTable),
    ) {
        let live = self.threads.entry(key(pid, &trace.thread)).or_default();
        live.last_sample = sample;
        let at_work = live.growth.is_at_work(trace);
        let leaf = if at_work || live.growth.wants_sleep(trace, change) {
            let collects = collections && trace.thread.collecting;
            table.leaf(trace, collects, frames)
        } else {
            None
        };
        let now = match leaf {
            Some(leaf) if at_work => Now::AtWork(leaf),
            leaf => Now::Asleep(leaf),
        };
        live.growth
            .look(change, now, |place, bytes| table.grow(place, bytes));
    }

    /// Forgets the threads that have ended: those that no sample after `sample` has shown. The CPU time
    /// that one of them has left is lost: there is no stack to come for it.
    pub fn forget_ended(&mut self, sample: u64, table: &mut Table) {
        self.threads.retain(|_, live| {
            let lives = live.last_sample > sample;
            if !lives {
                live.growth.settle(|place, bytes| table.grow(place, bytes));
            }
            lives
        });
    }
}

fn key(pid: Pid, thread: &ThreadInfo) -> Key {
    (pid, thread.os_thread_id, thread.pthread_id)
}
