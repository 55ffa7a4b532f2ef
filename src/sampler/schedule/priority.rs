//! [`PriorityControl`]: raises the sampler to a realtime priority on a contended machine, so that ticks
//! are not missed and paused threads are resumed promptly.
//!
//! If more threads are runnable than there are CPUs, a sampler with normal priority is late, misses ticks
//! in busy phases, and leaves a thread paused for milliseconds if it is preempted meanwhile. On a machine
//! with idle CPUs the priority stays normal: there the kernel has a CPU for the sampler, but with realtime
//! priority it could preempt the target. The priority is only raised while the sampler uses a small part
//! of one CPU: otherwise it would starve the target on a machine with one CPU. A sample that takes longer
//! than it may under such a priority leaves it in its middle ([`REALTIME_LIMIT`]), and the next one starts
//! without.
//!
//! [`REALTIME_LIMIT`]: crate::sampler::capture::pausing::REALTIME_LIMIT

use std::time::{Duration, Instant};

use log::{debug, info};
use nix::time::{ClockId, clock_gettime};

use crate::os::thread::realtime::{self, RealtimeGuard};

/// Time over which the sampler's own CPU load is measured.
const LOAD_WINDOW: Duration = Duration::from_millis(100);
/// Load, as a share of one CPU, above which the priority becomes normal, and below which it may be raised
/// again.
const MAX_LOAD: f64 = 0.25;
const RAISE_LOAD: f64 = 0.15;
/// A sleep that ends so late means that the sampler had to wait for a CPU.
const CONTENTION_LATENESS: Duration = Duration::from_micros(500);
/// How long the priority stays raised after the last sign of contention. There are few signs while it is.
const CONTENTION_HOLD: Duration = Duration::from_secs(10);

/// Decides on the priority of the sampling thread.
#[derive(Debug)]
pub struct PriorityControl {
    realtime: Option<RealtimeGuard>,
    /// Whether raising the priority has not failed.
    is_permitted: bool,
    /// The last sign of contention.
    contended_at: Option<Instant>,
    /// Whether the load was too high in the last window.
    over_budget: bool,
    /// The start of the window, and the CPU time of this thread then.
    window: Option<(Instant, Duration)>,
}

impl PriorityControl {
    /// Starts with normal priority. Raises that of the OS thread it is used on.
    pub fn new() -> PriorityControl {
        PriorityControl {
            realtime: None,
            is_permitted: true,
            contended_at: None,
            over_budget: false,
            window: None,
        }
    }

    fn decide(&mut self, now: Instant) {
        let since = |at| now.saturating_duration_since(at);
        let is_contended = self
            .contended_at
            .is_some_and(|at| since(at) < CONTENTION_HOLD);
        if !is_contended || self.over_budget {
            self.realtime = None;
        } else if self.realtime.is_none() {
            match RealtimeGuard::request() {
                Ok(realtime) => {
                    debug!("the CPUs are contended: sampling with realtime priority");
                    self.realtime = Some(realtime);
                }
                Err(error) => {
                    info!("the CPUs are contended, and samples may be late: {error}");
                    self.is_permitted = false;
                }
            }
        }
    }

    /// Updates the priority after a sample that began `now`. `overslept` is how late the sleep before it
    /// ended, `contended` whether a thread could not be paused promptly because it had no CPU.
    pub fn after_sample(&mut self, now: Instant, overslept: Duration, contended: bool) {
        if !self.is_permitted {
            return;
        }
        if self.realtime.is_some() && !realtime::is_raised() {
            // The sample took too long. It may be raised again after one that does not.
            self.realtime = None;
            self.contended_at = Some(now);
            return;
        }
        if contended || overslept >= CONTENTION_LATENESS {
            self.contended_at = Some(now);
            self.decide(now);
        }
        let start = self.window.map(|(start, _)| start);
        if start.is_some_and(|start| now.saturating_duration_since(start) < LOAD_WINDOW) {
            return;
        }
        let Ok(cpu) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) else {
            return;
        };
        let cpu = Duration::from(cpu);
        if let Some((start, cpu_then)) = self.window.replace((now, cpu)) {
            let wall = now.saturating_duration_since(start).as_secs_f64();
            self.update_load(cpu.saturating_sub(cpu_then).as_secs_f64() / wall.max(f64::EPSILON));
            self.decide(now);
        }
    }

    /// `load` is a share of one CPU.
    fn update_load(&mut self, load: f64) {
        if load > MAX_LOAD {
            self.over_budget = true;
        } else if load < RAISE_LOAD {
            self.over_budget = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_that_a_long_sample_has_left_is_not_raised_at_once() {
        let start = Instant::now();
        let mut priority = PriorityControl::new();
        let mut after = |milliseconds| {
            let now = start + Duration::from_millis(milliseconds);
            priority.window = Some((now, Duration::ZERO));
            priority.after_sample(now, Duration::from_millis(1), true);
            priority.realtime.is_some()
        };
        // Without permission there is nothing to test.
        if !after(1) {
            return;
        }
        realtime::leave();
        assert!(!after(2));
        assert!(!realtime::is_raised());
        assert!(after(3));
        assert!(realtime::is_raised());
    }

    #[test]
    fn the_priority_is_raised_under_contention_and_with_a_small_load_only() {
        let start = Instant::now();
        let mut priority = PriorityControl::new();
        let mut seconds = 0;
        let mut after = |overslept, contended, load: Option<f64>| {
            seconds += 1;
            let now = start + Duration::from_secs(seconds);
            if let Some(load) = load {
                priority.update_load(load);
            }
            // Otherwise the CPU time of the test would count.
            priority.window = Some((now, Duration::ZERO));
            priority.after_sample(now, overslept, contended);
            priority.decide(now);
            priority.realtime.is_some()
        };
        let in_time = Duration::from_micros(50);
        assert!(!after(in_time, false, None));
        // Without permission there is nothing to test.
        if !after(in_time, true, None) {
            return;
        }
        assert!(after(in_time, false, None));
        assert!(!after(in_time, false, Some(0.9)));
        assert!(!after(in_time, false, Some(0.2)), "still too much");
        assert!(after(in_time, false, Some(0.1)));
        assert!(after(in_time, false, Some(0.2)), "not too much yet");
        let later = (0..10).map(|_| after(in_time, false, None)).last();
        assert_eq!(later, Some(false), "no contention any more");
        assert!(after(Duration::from_millis(1), false, None));
    }
}
