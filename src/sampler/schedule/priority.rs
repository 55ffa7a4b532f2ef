//! [`PriorityControl`]: looks are taken in time, and nobody waits for us while a thread is paused.
//!
//! On a machine that has more to do than CPUs, a sampler that waits for its turn looks late, misses
//! looks just when much is going on, and leaves a thread paused for milliseconds if it loses its CPU in
//! between. So it asks to go first then, where it may: not on a machine with time to spare, where the
//! kernel finds us a CPU of our own, but would let us push the program from its one. And only while we
//! take a small part of one CPU: whoever wants all of it would starve the program on a machine with one.

use std::time::{Duration, Instant};

use log::{debug, info};
use nix::time::{ClockId, clock_gettime};

use crate::os::thread::realtime::RealtimeGuard;

/// How long a stretch is over which the sampler's own use of the CPU is measured.
const STRETCH: Duration = Duration::from_millis(100);
/// The part of one CPU above which it does not go first any more, and below which it does again.
const TOO_MUCH: f64 = 0.25;
const LITTLE: f64 = 0.15;
/// Who sleeps so much too long had to wait for a CPU.
const LATE: Duration = Duration::from_micros(500);
/// For how long after the last sign of a crowded machine it goes first. While it does, there are few.
const CONTENTION_HOLD: Duration = Duration::from_secs(10);

/// Whether the sampler goes first.
#[derive(Debug)]
pub struct PriorityControl {
    urgent: Option<RealtimeGuard>,
    /// Whether there is a point in asking (again).
    may_be: bool,
    /// The last sign of a crowded machine.
    crowded: Option<Instant>,
    /// Whether looking took too much of a CPU in the last stretch.
    over_budget: bool,
    /// The start of a stretch, and the CPU time of this thread then.
    stretch: Option<(Instant, Duration)>,
}

impl PriorityControl {
    /// Does not go first yet. If it does, then on this OS thread.
    pub fn new() -> PriorityControl {
        PriorityControl {
            urgent: None,
            may_be: true,
            crowded: None,
            over_budget: false,
            stretch: None,
        }
    }

    fn decide(&mut self, now: Instant) {
        let since = |crowded| now.saturating_duration_since(crowded);
        let is_cpu_contended = self.crowded.is_some_and(|at| since(at) < CONTENTION_HOLD);
        if !is_cpu_contended || self.over_budget {
            self.urgent = None;
        } else if self.urgent.is_none() {
            match RealtimeGuard::request() {
                Ok(urgent) => {
                    debug!("the machine is crowded: looks go first");
                    self.urgent = Some(urgent);
                }
                Err(error) => {
                    info!("the machine is crowded, and looks wait for their turn: {error}");
                    self.may_be = false;
                }
            }
        }
    }

    /// Takes note of a look that began `now`, how much too long we slept before it, and whether a thread
    /// could not stop for want of a CPU.
    pub fn after_look(&mut self, now: Instant, overslept: Duration, waited: bool) {
        if !self.may_be {
            return;
        }
        if waited || overslept >= LATE {
            self.crowded = Some(now);
            self.decide(now);
        }
        let begun = self.stretch.map(|(begun, _)| begun);
        if begun.is_some_and(|begun| now.saturating_duration_since(begun) < STRETCH) {
            return;
        }
        let Ok(cpu) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) else {
            return;
        };
        let cpu = Duration::from(cpu);
        if let Some((begun, cpu_then)) = self.stretch.replace((now, cpu)) {
            let wall = now.saturating_duration_since(begun).as_secs_f64();
            self.update_load(cpu.saturating_sub(cpu_then).as_secs_f64() / wall.max(f64::EPSILON));
            self.decide(now);
        }
    }

    /// `share`: the part of one CPU that was used.
    fn update_load(&mut self, share: f64) {
        if share > TOO_MUCH {
            self.over_budget = true;
        } else if share < LITTLE {
            self.over_budget = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_first_on_a_crowded_machine_only_and_when_it_takes_little() {
        let start = Instant::now();
        let mut urgency = PriorityControl::new();
        let mut seconds = 0;
        let mut after = |overslept, waited, share: Option<f64>| {
            seconds += 1;
            let now = start + Duration::from_secs(seconds);
            if let Some(share) = share {
                urgency.update_load(share);
            }
            // Without this the CPU time of the test would count.
            urgency.stretch = Some((now, Duration::ZERO));
            urgency.after_look(now, overslept, waited);
            urgency.decide(now);
            urgency.urgent.is_some()
        };
        let in_time = Duration::from_micros(50);
        assert!(!after(in_time, false, None));
        // Where it may not, nothing is left to see.
        if !after(in_time, true, None) {
            return;
        }
        assert!(after(in_time, false, None));
        assert!(!after(in_time, false, Some(0.9)));
        assert!(!after(in_time, false, Some(0.2)), "still too much");
        assert!(after(in_time, false, Some(0.1)));
        assert!(after(in_time, false, Some(0.2)), "not too much yet");
        let later = (0..10).map(|_| after(in_time, false, None)).last();
        assert_eq!(later, Some(false), "there is time to spare again");
        assert!(after(Duration::from_millis(1), false, None));
    }
}
