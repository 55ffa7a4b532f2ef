//! [`CpuTimes`]: from how long each thread has been on a CPU so far to how long since the last look.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// A thread that was not seen for so many looks is forgotten.
const PATIENCE: u64 = 100;
/// Threads that are remembered without looking for those to forget.
const FEW: usize = 64;

/// What the threads of one process had used at the last look at each.
#[derive(Debug, Default)]
pub struct CpuTimes {
    looks: u64,
    last_look: Option<Instant>,
    known: HashMap<Tid, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    on_cpu_ns: u64,
    look: u64,
}

impl CpuTimes {
    /// Fills in [`ThreadInfo::cpu_ns`](crate::cpython::stack::trace::ThreadInfo::cpu_ns) of what a look saw, from
    /// the threads' whole times so far, in nanoseconds. A thread that was left out this time, such as
    /// one whose stack was torn, keeps its time for the look that sees it again.
    pub fn fill_in(
        &mut self,
        traces: &mut [StackTrace],
        on_cpu_ns: &HashMap<Tid, u64>,
        now: Instant,
    ) {
        self.looks += 1;
        let since_last = self
            .last_look
            .map(|last| now.saturating_duration_since(last));
        self.last_look = Some(now);
        for thread in traces.iter_mut().map(|trace| &mut trace.thread) {
            let total = thread.os_thread_id.and_then(|tid| {
                let total = on_cpu_ns.get(&tid)?;
                Some((tid, *total))
            });
            thread.cpu_ns = total.and_then(|(tid, total)| self.since(tid, total, since_last));
        }
        if self.known.len() > FEW + 2 * traces.len() {
            let looks = self.looks;
            self.known.retain(|_, known| looks - known.look < PATIENCE);
        }
    }

    fn since(&mut self, tid: Tid, total: u64, since_last: Option<Duration>) -> Option<u64> {
        let now = Known {
            on_cpu_ns: total,
            look: self.looks,
        };
        let before = self.known.insert(tid, now);
        match before.and_then(|before| total.checked_sub(before.on_cpu_ns)) {
            Some(since) => Some(since),
            // It is new, or another one with its number: it has run no longer than there is time
            // since it was not there.
            None => {
                since_last.map(|gap| total.min(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::cpython::stack::trace::ThreadInfo;

    fn trace(tid: Option<Tid>) -> StackTrace {
        StackTrace {
            thread: ThreadInfo {
                os_thread_id: tid,
                pthread_id: 1,
                name: None,
                interpreter_ids: vec![0],
                active: true,
                owns_gil: false,
                collecting: false,
                waits_for_cpu: false,
                is_main: false,
                cpu_ns: None,
                faults: None,
            },
            frames: [].into(),
        }
    }

    struct Looks {
        times: CpuTimes,
        now: Instant,
    }

    impl Looks {
        /// A look 10 ms after the last one at threads with these whole times.
        fn look(&mut self, threads: &[(Tid, u64)]) -> Vec<Option<u64>> {
            self.now += Duration::from_millis(10);
            let mut traces: Vec<_> = threads.iter().map(|(tid, _)| trace(Some(*tid))).collect();
            let totals = threads.iter().copied().collect();
            self.times.fill_in(&mut traces, &totals, self.now);
            traces.iter().map(|trace| trace.thread.cpu_ns).collect()
        }
    }

    fn looks() -> Looks {
        Looks {
            times: CpuTimes::default(),
            now: Instant::now(),
        }
    }

    #[test]
    fn each_look_has_the_time_since_the_thread_was_last_seen() {
        let mut looks = looks();
        assert_eq!(looks.look(&[(1, 500), (2, 70)]), [None, None]);
        assert_eq!(looks.look(&[(1, 600)]), [Some(100)]);
        // The second was left out once.
        assert_eq!(looks.look(&[(1, 600), (2, 80)]), [Some(0), Some(10)]);
    }

    #[test]
    fn a_new_thread_has_used_no_more_than_there_was_time() {
        let mut looks = looks();
        looks.look(&[]);
        assert_eq!(looks.look(&[(1, 500)]), [Some(500)]);
        // A native thread that has come to Python, and a new thread under an old number.
        assert_eq!(
            looks.look(&[(2, 5_000_000_000), (1, 300)]),
            [Some(10_000_000), Some(300)]
        );
    }

    #[test]
    fn a_kernel_that_does_not_count_is_no_zero() {
        let mut times = CpuTimes::default();
        let mut traces = [trace(Some(1)), trace(None)];
        for _ in 0..2 {
            times.fill_in(&mut traces, &HashMap::new(), Instant::now());
            assert!(traces.iter().all(|trace| trace.thread.cpu_ns.is_none()));
        }
    }

    #[test]
    fn threads_that_come_and_go_are_forgotten() {
        let mut looks = looks();
        for tid in 0..10_000 {
            looks.look(&[(tid, 5), (tid + 1, 6)]);
        }
        assert!(looks.times.known.len() <= FEW + 2 * 2 + 1 + PATIENCE as usize);
    }
}
