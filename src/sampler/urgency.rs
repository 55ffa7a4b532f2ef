//! [`Urgency`]: looks are taken in time, and nobody waits for us while a thread is paused.
//!
//! On a machine that has more to do than CPUs, a sampler that waits for its turn looks late, misses
//! looks just when much is going on, and leaves a thread paused for milliseconds if it loses its CPU in
//! between. So it asks to go first, where it may. It does so only while it takes a small part of one CPU:
//! whoever wants all of it would starve the program on a machine with one.

use std::time::{Duration, Instant};

use log::{debug, info};
use nix::time::{ClockId, clock_gettime};

use crate::target::Urgent;

/// How long a stretch is over which the sampler's own use of the CPU is measured.
const STRETCH: Duration = Duration::from_millis(100);
/// The part of one CPU above which it does not go first any more, and below which it does again.
const TOO_MUCH: f64 = 0.25;
const LITTLE: f64 = 0.15;

/// Whether the sampler goes first.
#[derive(Debug)]
pub struct Urgency {
    urgent: Option<Urgent>,
    /// Whether there is a point in asking (again).
    may_be: bool,
    /// The start of a stretch, and the CPU time of this thread then.
    stretch: Option<(Instant, Duration)>,
}

impl Urgency {
    /// Goes first from now on, on this OS thread, if that is allowed.
    pub fn new() -> Urgency {
        let mut urgency = Urgency {
            urgent: None,
            may_be: true,
            stretch: None,
        };
        urgency.raise();
        urgency
    }

    fn raise(&mut self) {
        match Urgent::request() {
            Ok(urgent) => self.urgent = Some(urgent),
            Err(error) => {
                info!("looks wait for their turn when all CPUs are busy: {error}");
                self.may_be = false;
            }
        }
    }

    /// Takes note that a look was taken, which began `now`.
    pub fn after_look(&mut self, now: Instant) {
        if !self.may_be {
            return;
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
            self.weigh(cpu.saturating_sub(cpu_then).as_secs_f64() / wall.max(f64::EPSILON));
        }
    }

    /// `share`: the part of one CPU that was used.
    fn weigh(&mut self, share: f64) {
        if self.urgent.is_some() && share > TOO_MUCH {
            debug!(
                "looking takes {:.0} % of a CPU: others come first",
                share * 100.0
            );
            self.urgent = None;
        } else if self.urgent.is_none() && share < LITTLE {
            self.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_much_does_not_go_first() {
        let mut urgency = Urgency::new();
        let allowed = urgency.urgent.is_some();
        urgency.weigh(0.9);
        assert!(urgency.urgent.is_none());
        urgency.weigh(0.2);
        assert!(urgency.urgent.is_none());
        urgency.weigh(0.1);
        assert_eq!(urgency.urgent.is_some(), allowed);
        urgency.weigh(0.2);
        assert_eq!(urgency.urgent.is_some(), allowed);
    }
}
