//! [`CpuTimes`]: converts each thread's total CPU time to the CPU time since the previous sample.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// A thread that is missing from so many samples is dropped.
const MAX_MISSING: u64 = 100;
/// Number of threads from which on ended ones are dropped.
const CLEANUP_THRESHOLD: usize = 64;

/// The CPU times of one process's threads, each at its last sample.
#[derive(Debug, Default)]
pub struct CpuTimes {
    samples: u64,
    last_sample: Option<Instant>,
    threads: HashMap<Tid, ThreadTime>,
}

#[derive(Clone, Copy, Debug)]
struct ThreadTime {
    on_cpu_ns: u64,
    sample: u64,
}

impl CpuTimes {
    /// Sets [`ThreadInfo::time_ns`](crate::cpython::stack::trace::ThreadInfo::time_ns) in the traces of a
    /// sample from the threads' total times in nanoseconds. The time of a thread that is missing, for
    /// example because its stack was torn, is included in its next sample.
    pub fn fill_in(
        &mut self,
        traces: &mut [StackTrace],
        on_cpu_ns: &HashMap<Tid, u64>,
        now: Instant,
    ) {
        self.samples += 1;
        let since_last = self
            .last_sample
            .map(|last| now.saturating_duration_since(last));
        self.last_sample = Some(now);
        for thread in traces.iter_mut().map(|trace| &mut trace.thread) {
            let total = thread.os_thread_id.and_then(|tid| {
                let total = on_cpu_ns.get(&tid)?;
                Some((tid, *total))
            });
            thread.time_ns = total.and_then(|(tid, total)| self.since(tid, total, since_last));
        }
        if self.threads.len() > CLEANUP_THRESHOLD + 2 * traces.len() {
            let samples = self.samples;
            self.threads
                .retain(|_, known| samples - known.sample < MAX_MISSING);
        }
    }

    fn since(&mut self, tid: Tid, total: u64, since_last: Option<Duration>) -> Option<u64> {
        let now = ThreadTime {
            on_cpu_ns: total,
            sample: self.samples,
        };
        let before = self.threads.insert(tid, now);
        match before.and_then(|before| total.checked_sub(before.on_cpu_ns)) {
            Some(since) => Some(since),
            // A new thread, or one with a reused id: it cannot have run longer than the time since the
            // previous sample, which lacks it.
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
                has_ended: false,
                waits_for_cpu: false,
                is_main: false,
                time_ns: None,
                faults: None,
            },
            frames: [].into(),
        }
    }

    struct Samples {
        times: CpuTimes,
        now: Instant,
    }

    impl Samples {
        /// A sample 10 ms after the previous one, of threads with these total times.
        fn take(&mut self, threads: &[(Tid, u64)]) -> Vec<Option<u64>> {
            self.now += Duration::from_millis(10);
            let mut traces: Vec<_> = threads.iter().map(|(tid, _)| trace(Some(*tid))).collect();
            let totals = threads.iter().copied().collect();
            self.times.fill_in(&mut traces, &totals, self.now);
            traces.iter().map(|trace| trace.thread.time_ns).collect()
        }
    }

    fn samples() -> Samples {
        Samples {
            times: CpuTimes::default(),
            now: Instant::now(),
        }
    }

    #[test]
    fn each_sample_has_the_time_since_the_previous_one_of_the_thread() {
        let mut samples = samples();
        assert_eq!(samples.take(&[(1, 500), (2, 70)]), [None, None]);
        assert_eq!(samples.take(&[(1, 600)]), [Some(100)]);
        // The second thread was missing once.
        assert_eq!(samples.take(&[(1, 600), (2, 80)]), [Some(0), Some(10)]);
    }

    #[test]
    fn a_new_thread_has_run_no_longer_than_since_the_previous_sample() {
        let mut samples = samples();
        samples.take(&[]);
        assert_eq!(samples.take(&[(1, 500)]), [Some(500)]);
        // A native thread that now runs Python, and a new thread with a reused id.
        assert_eq!(
            samples.take(&[(2, 5_000_000_000), (1, 300)]),
            [Some(10_000_000), Some(300)]
        );
    }

    #[test]
    fn an_unknown_time_is_not_zero() {
        let mut times = CpuTimes::default();
        let mut traces = [trace(Some(1)), trace(None)];
        for _ in 0..2 {
            times.fill_in(&mut traces, &HashMap::new(), Instant::now());
            assert!(traces.iter().all(|trace| trace.thread.time_ns.is_none()));
        }
    }

    #[test]
    fn ended_threads_are_dropped() {
        let mut samples = samples();
        for tid in 0..10_000 {
            samples.take(&[(tid, 5), (tid + 1, 6)]);
        }
        let remaining = samples.times.threads.len();
        assert!(remaining <= CLEANUP_THRESHOLD + 2 * 2 + 1 + MAX_MISSING as usize);
    }
}
