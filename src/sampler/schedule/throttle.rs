//! [`ThrottleWatch`]: whether a CPU quota stops us now and then. A thread that is paused at that moment
//! stays so until the quota's next period, up to 100 ms, so none is paused meanwhile.

use std::time::{Duration, Instant};

use crate::os::Pid;
use crate::os::procfs::cgroup::cpu::CpuQuota;

/// Interval of reading the kernel's count: half of the usual period of a quota, after which it may stop us again.
/// A read takes some microseconds.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long nothing is paused after the last time that the quota stopped us.
const HOLD: Duration = Duration::from_secs(10);

/// Watches the quotas that apply to us and not to the target.
#[derive(Debug)]
pub struct ThrottleWatch {
    /// `None` without one: then nothing is ever read.
    quota: Option<CpuQuota>,
    state: Throttling,
}

/// What was seen of the count.
#[derive(Debug)]
struct Throttling {
    count: u64,
    checked_at: Option<Instant>,
    throttled_at: Option<Instant>,
    notified: bool,
}

impl ThrottleWatch {
    /// Finds out whether there is a quota.
    pub fn start(target: Pid) -> ThrottleWatch {
        let quota = CpuQuota::without(target);
        let count = quota.as_ref().map_or(0, CpuQuota::throttled_at_first);
        ThrottleWatch {
            quota,
            state: Throttling::new(count),
        }
    }

    /// Whether the quota has stopped us lately.
    pub fn is_throttled(&mut self, now: Instant) -> bool {
        let quota = self.quota.as_ref();
        quota.is_some_and(|quota| self.state.update(now, || quota.throttled()))
    }

    /// A message for the user, once.
    pub fn notice(&mut self) -> Option<String> {
        let cpus = self.quota.as_ref()?.cpus();
        self.state.notice().then(|| {
            format!(
                "warning: a control group of pyspy-rs may use {cpus:.2} CPUs and has used them up, so a \
                 paused thread could have to wait for its next period; going on without pausing (as with \
                 --nonblocking)"
            )
        })
    }
}

impl Throttling {
    fn new(count: u64) -> Throttling {
        Throttling {
            count,
            checked_at: None,
            throttled_at: None,
            notified: false,
        }
    }

    fn update(&mut self, now: Instant, count: impl FnOnce() -> u64) -> bool {
        let is_due = |at| now.saturating_duration_since(at) >= INTERVAL;
        if self.checked_at.is_none_or(is_due) {
            self.checked_at = Some(now);
            let count = count();
            if count > self.count {
                self.throttled_at = Some(now);
            }
            self.count = count;
        }
        let is_recent = |at| now.saturating_duration_since(at) < HOLD;
        self.throttled_at.is_some_and(is_recent)
    }

    fn notice(&mut self) -> bool {
        let notify = self.throttled_at.is_some() && !self.notified;
        self.notified |= notify;
        notify
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_from_the_first_count_until_a_while_after_the_last() {
        let start = Instant::now();
        let mut state = Throttling::new(7);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!state.update(at(300), || 7));
        assert!(!state.notice());
        // Not read again so soon.
        assert!(!state.update(at(340), || 8));
        assert!(state.update(at(600), || 8));
        assert!(state.notice() && !state.notice());
        assert!(state.update(at(900), || 9));
        assert!(state.update(at(10_800), || 9));
        assert!(!state.update(at(11_000), || 9));
        assert!(state.update(at(12_000), || 10));
        assert!(!state.notice());
    }

    #[test]
    fn without_a_quota_nothing_is_throttled() {
        let now = Instant::now();
        let mut watch = ThrottleWatch {
            quota: None,
            state: Throttling::new(0),
        };
        assert!(!watch.is_throttled(now + INTERVAL) && watch.notice().is_none());
    }
}
