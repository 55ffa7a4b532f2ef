//! [`Timer`]: when to look next. Deadlines are absolute, so that a late look does not shift those
//! after it, and randomly spaced, so that no program can run in step with us.

use std::time::{Duration, Instant};

/// The longest gap between two looks, in mean gaps: an exponential gap is longer once in 20,000.
const LONGEST_GAP: f64 = 10.0;

/// A schedule with exponentially distributed gaps around a mean.
#[derive(Debug)]
pub struct Timer {
    mean: Duration,
    deadline: Instant,
    random: SplitMix,
}

/// A deadline that has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// How much later than planned it is.
    pub lateness: Duration,
    /// Deadlines after it that have been left out.
    pub missed: u64,
}

impl Timer {
    /// A schedule of `rate_hz` looks a second on average, whose first is now.
    pub fn new(rate_hz: f64, now: Instant, seed: u64) -> Timer {
        let mean = Duration::try_from_secs_f64(1.0 / rate_hz).unwrap_or(Duration::MAX);
        Timer {
            mean,
            deadline: now,
            random: SplitMix(seed),
        }
    }

    /// When the next look is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes note that a look starts now, and plans the next one. Random gaps are often shorter than
    /// a look takes; those looks are taken late, or the rate would not be the one asked for. But no
    /// later than one mean gap: what is older is left out and counted.
    pub fn tick(&mut self, now: Instant) -> Tick {
        let mut tick = Tick {
            lateness: now.saturating_duration_since(self.deadline),
            missed: 0,
        };
        self.advance();
        // As many fell into that time as do on average; which ones they were does not matter.
        let behind = now.saturating_duration_since(self.deadline);
        if behind >= self.mean {
            tick.missed = (behind.as_secs_f64() / self.mean.as_secs_f64()) as u64;
            self.deadline = now;
            self.advance();
        }
        tick
    }

    fn advance(&mut self) {
        let gap = self
            .mean
            .mul_f64(self.random.exponential().min(LONGEST_GAP));
        // A gap of 0 would let the loop in `tick` stand still.
        self.deadline += gap.max(Duration::from_nanos(1));
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough randomness to stay out of step.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Exponentially distributed with mean 1.
    fn exponential(&mut self) -> f64 {
        // 53 bits make a number in [0, 1); one minus it is never 0.
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        -(1.0 - uniform).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_the_one_asked_for() {
        let start = Instant::now();
        let mut pace = Timer::new(1000.0, start, 7);
        for _ in 0..20_000 {
            let tick = pace.tick(pace.deadline());
            assert_eq!(tick, Tick::default());
        }
        let taken = (pace.deadline() - start).as_secs_f64();
        assert!(
            (taken - 20.0).abs() < 0.6,
            "20,000 looks at 1 kHz took {taken} s"
        );
    }

    #[test]
    fn passed_deadlines_are_left_out_and_counted() {
        let start = Instant::now();
        let mut pace = Timer::new(1000.0, start, 7);
        let late = start + Duration::from_secs(2);
        let tick = pace.tick(late);
        assert_eq!(tick.lateness, Duration::from_secs(2));
        assert!((1800..2200).contains(&tick.missed), "{tick:?}");
        assert!(pace.deadline() + Duration::from_millis(1) > late);
        let much_later = start + Duration::from_secs(86_400);
        assert!(pace.tick(much_later).missed > 80_000_000);
        assert!(pace.deadline() + Duration::from_millis(1) > much_later);
    }

    #[test]
    fn looks_that_take_time_do_not_lower_the_rate() {
        let start = Instant::now();
        let mut pace = Timer::new(1000.0, start, 7);
        let (mut now, mut missed) = (start, 0);
        for _ in 0..10_000 {
            now = now.max(pace.deadline());
            missed += pace.tick(now).missed;
            now += Duration::from_micros(150);
        }
        assert!(missed < 10, "{missed} of 10,000");
    }
}
