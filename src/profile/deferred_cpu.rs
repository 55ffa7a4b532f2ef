//! [`DeferredCpuTime`]: CPU time of a thread that is not attributed to a stack yet.

use crate::cpython::stack::trace::ThreadInfo;

/// Successive samples of a thread that waits for a CPU without the GIL that do not count as running.
const MAX_WAITS: u8 = 30;

/// The CPU time of one thread since it was last sampled while running, in nanoseconds.
///
/// An idle thread that has run since the last sample used that time before it went to sleep. So the time
/// is deferred to the next sample in which the thread is running. A thread that waits for a CPU counts as
/// running if it holds the GIL: it was preempted. Without the GIL it may have just woken up, still with
/// its idle stack, and does not count; otherwise half of the time would be attributed to idle stacks on a
/// contended machine. With a single CPU the sampler itself occupies it, so GIL-free code is never sampled
/// on a CPU; after [`MAX_WAITS`] such samples they count as running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeferredCpuTime {
    ns: u64,
    waits: u8,
}

impl DeferredCpuTime {
    /// The CPU time to attribute to this sample: all that was not attributed before. `None` if the thread
    /// is not running and the time is deferred.
    pub fn take(&mut self, thread: &ThreadInfo) -> Option<u64> {
        let all = self.ns.saturating_add(thread.time_ns.unwrap_or_default());
        let may_have_woken = thread.waits_for_cpu && !thread.owns_gil;
        if !thread.active || (may_have_woken && self.waits < MAX_WAITS) {
            self.waits += u8::from(thread.active);
            self.ns = all;
            return None;
        }
        self.ns = 0;
        if !may_have_woken {
            self.waits = 0;
        }
        Some(all)
    }

    /// Deferred time in nanoseconds.
    pub fn ns(self) -> u64 {
        self.ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::thread;

    #[test]
    fn time_is_deferred_until_the_thread_is_running() {
        let idle = thread(1).idle().time_ns(30).info();
        let running = thread(1).time_ns(5).info();
        let mut time = DeferredCpuTime::default();
        assert_eq!(time.take(&idle), None);
        assert_eq!((time.take(&idle), time.ns()), (None, 60));
        assert_eq!((time.take(&running), time.ns()), (Some(65), 0));
    }

    #[test]
    fn a_thread_that_waits_for_a_cpu_is_running_with_the_gil_or_after_many_samples() {
        let woken = thread(1).waits_for_cpu().time_ns(1);
        let mut time = DeferredCpuTime::default();
        assert_eq!(time.take(&woken.clone().gil().info()), Some(1));
        for _ in 0..MAX_WAITS {
            assert_eq!(time.take(&woken.clone().info()), None);
        }
        let all = u64::from(MAX_WAITS) + 1;
        assert_eq!(time.take(&woken.info()), Some(all));
    }
}
