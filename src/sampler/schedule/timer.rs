//! [`Timer`]: the times of samples. Deadlines are absolute, so that a late sample does not shift those
//! after it, and randomly spaced, so that no program can run in step with them.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// Longest gap between two samples, in mean gaps: 1 of 20,000 exponential gaps is longer.
const MAX_GAP: f64 = 10.0;

/// A schedule with exponentially distributed gaps around a mean.
#[derive(Debug)]
pub struct Timer {
    mean: Duration,
    deadline: Instant,
    random: Rng,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    pub lateness: Duration,
    /// Number of later deadlines that were skipped.
    pub missed: u64,
}

impl Timer {
    /// A schedule of `rate_hz` samples per second on average, starting now.
    pub fn new(rate_hz: f64, now: Instant, seed: u64) -> Timer {
        let mean = Duration::try_from_secs_f64(1.0 / rate_hz).unwrap_or(Duration::MAX);
        Timer {
            mean,
            deadline: now,
            random: Rng::with_seed(seed),
        }
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Schedules the next deadline when a sample starts at `now`. Random gaps are often shorter than a
    /// sample takes; those samples are taken late, or the rate would be too low. A deadline that is
    /// overdue by more than one mean gap is skipped and counted.
    pub fn tick(&mut self, now: Instant) -> Tick {
        let mut tick = Tick {
            lateness: now.saturating_duration_since(self.deadline),
            missed: 0,
        };
        self.advance();
        // The mean number of deadlines in that time; the exact one does not matter.
        let behind = now.saturating_duration_since(self.deadline);
        if behind >= self.mean {
            tick.missed = (behind.as_secs_f64() / self.mean.as_secs_f64()) as u64;
            self.deadline = now;
            self.advance();
        }
        tick
    }

    fn advance(&mut self) {
        // Exponentially distributed with mean 1. `f64` is less than 1, so the logarithm is finite.
        let gaps = -(1.0 - self.random.f64()).ln();
        let gap = self.mean.mul_f64(gaps.min(MAX_GAP));
        // Deadlines strictly increase.
        self.deadline += gap.max(Duration::from_nanos(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_the_one_asked_for() {
        let start = Instant::now();
        let mut timer = Timer::new(1000.0, start, 7);
        for _ in 0..20_000 {
            let tick = timer.tick(timer.deadline());
            assert_eq!(tick, Tick::default());
        }
        let taken = (timer.deadline() - start).as_secs_f64();
        assert!(
            (taken - 20.0).abs() < 0.6,
            "20,000 samples at 1 kHz took {taken} s"
        );
    }

    #[test]
    fn passed_deadlines_are_skipped_and_counted() {
        let start = Instant::now();
        let mut timer = Timer::new(1000.0, start, 7);
        let late = start + Duration::from_secs(2);
        let tick = timer.tick(late);
        assert_eq!(tick.lateness, Duration::from_secs(2));
        assert!((1800..2200).contains(&tick.missed), "{tick:?}");
        assert!(timer.deadline() + Duration::from_millis(1) > late);
        let much_later = start + Duration::from_secs(86_400);
        assert!(timer.tick(much_later).missed > 80_000_000);
        assert!(timer.deadline() + Duration::from_millis(1) > much_later);
    }

    #[test]
    fn samples_that_take_time_do_not_lower_the_rate() {
        let start = Instant::now();
        let mut timer = Timer::new(1000.0, start, 7);
        let (mut now, mut missed) = (start, 0);
        for _ in 0..10_000 {
            now = now.max(timer.deadline());
            missed += timer.tick(now).missed;
            now += Duration::from_micros(150);
        }
        assert!(missed < 10, "{missed} of 10,000");
    }
}
