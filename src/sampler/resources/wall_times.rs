//! [`WallTimes`]: the time since a thread's previous sample, whether it ran or waited.

use std::collections::HashMap;
use std::time::Instant;

use crate::cpython::stack::trace::StackTrace;
use crate::os::Tid;

/// Number of threads from which on ended ones are dropped.
const CLEANUP_THRESHOLD: usize = 64;

/// When each thread of a process was last sampled.
#[derive(Debug, Default)]
pub struct WallTimes {
    last_sample: Option<Instant>,
    /// By id and `pthread_t`, which may be used again.
    threads: HashMap<(Option<Tid>, u64), Instant>,
}

impl WallTimes {
    /// Sets [`ThreadInfo::time_ns`](crate::cpython::stack::trace::ThreadInfo::time_ns) in the traces of a sample. The
    /// time of a thread that is missing, for example because its stack was torn, is included in its next sample. A
    /// new thread has the time since the last sample. The first sample has none.
    pub fn fill_in(&mut self, traces: &mut [StackTrace], now: Instant) {
        let last_sample = self.last_sample.replace(now);
        for thread in traces.iter_mut().map(|trace| &mut trace.thread) {
            let key = (thread.os_thread_id, thread.pthread_id);
            let before = self.threads.insert(key, now);
            let since = before.or(last_sample);
            let time = since.map(|since| now.saturating_duration_since(since));
            thread.time_ns = time.and_then(|time| u64::try_from(time.as_nanos()).ok());
        }
        if self.threads.len() > CLEANUP_THRESHOLD + 2 * traces.len() {
            self.threads.retain(|_, last| *last == now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::thread;

    #[test]
    fn a_thread_has_all_time_since_its_last_sample() {
        let trace = |number| {
            let mut thread = thread(number).info();
            thread.pthread_id = u64::from(number.unsigned_abs());
            let frames = [].into();
            StackTrace { thread, frames }
        };
        let start = Instant::now();
        let mut times = WallTimes::default();
        let mut sample = |threads: &[i32], at: u64| -> Vec<Option<u64>> {
            let mut traces: Vec<StackTrace> = threads.iter().map(|one| trace(*one)).collect();
            times.fill_in(&mut traces, start + Duration::from_nanos(at));
            traces.iter().map(|trace| trace.thread.time_ns).collect()
        };
        assert_eq!(sample(&[1], 0), [None], "nothing is known of before");
        assert_eq!(sample(&[1], 10), [Some(10)]);
        assert_eq!(sample(&[2], 30), [Some(20)], "a new one");
        assert_eq!(
            sample(&[1, 2], 50),
            [Some(40), Some(20)],
            "one that was missing"
        );
    }
}
