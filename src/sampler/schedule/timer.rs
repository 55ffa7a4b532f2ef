//! [`Timer`]: the times of samples, one at a random moment of each period.
//!
//! No program can run in step with the samples, since a moment is uniformly distributed within its period and
//! independent of the others. And a recording has as many samples as periods, so that counts are times: with
//! independent gaps between samples (a Poisson process) the number of samples in 5 s at 100 Hz scatters by 22.
//! Sampling theory calls this stratified sampling; no estimate of a share is less exact than with independent
//! samples.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// The lowest rate; a period is 11 days then.
const MIN_RATE_HZ: f64 = 1e-6;
/// The first sample is not later than this, so that a recording that is shorter than a period has one, and the
/// memory at its start is known.
const FIRST_LIMIT: Duration = Duration::from_millis(10);
/// Rounding of times that are given in decimal, in periods.
const ROUNDING: f64 = 1e-6;

/// A schedule of samples. Periods are counted from its start, so that a late sample does not shift those after
/// it.
#[derive(Debug)]
pub struct Timer {
    start: Instant,
    rate_hz: f64,
    /// The number of the period that the deadline is in.
    period: u64,
    deadline: Instant,
    random: Rng,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    pub lateness: Duration,
    /// Number of periods after it that have passed without a sample.
    pub missed: u64,
}

impl Timer {
    /// A schedule of `rate_hz` periods per second, starting now.
    pub fn new(rate_hz: f64, now: Instant, seed: u64) -> Timer {
        let mut timer = Timer {
            start: now,
            rate_hz: rate_hz.max(MIN_RATE_HZ),
            period: 0,
            deadline: now,
            random: Rng::with_seed(seed),
        };
        timer.draw();
        if timer.rate_hz * FIRST_LIMIT.as_secs_f64() < 1.0 {
            timer.deadline = now + FIRST_LIMIT.mul_f64(timer.random.f64());
        }
        timer
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Schedules the next deadline when a sample starts at `now`. A deadline that passes during a sample is late,
    /// and its sample is taken as soon as possible; it is missed if its whole period has passed.
    pub fn tick(&mut self, now: Instant) -> Tick {
        let lateness = now.saturating_duration_since(self.deadline);
        self.period = self.period.saturating_add(1);
        let missed = self.period_at(now).saturating_sub(self.period);
        self.period = self.period.saturating_add(missed);
        self.draw();
        Tick { lateness, missed }
    }

    /// How many deadlines have passed at this time since the last tick, when no tick will follow.
    pub fn overdue(&self, at: Instant) -> u64 {
        match self.deadline <= at {
            true => self.period_at(at).saturating_sub(self.period).max(1),
            false => 0,
        }
    }

    fn period_at(&self, time: Instant) -> u64 {
        let periods = time.saturating_duration_since(self.start).as_secs_f64() * self.rate_hz;
        (periods + ROUNDING) as u64
    }

    /// Draws a deadline within the period.
    #[allow(
        clippy::cast_precision_loss,
        reason = "2^53 periods at the highest rate, 1 MHz, are 285 years"
    )]
    fn draw(&mut self) {
        let periods = self.period as f64 + self.random.f64();
        let time = Duration::try_from_secs_f64(periods / self.rate_hz).ok();
        let deadline = time.and_then(|time| self.start.checked_add(time));
        // Beyond the end of all time: never.
        self.deadline = deadline.unwrap_or(self.deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_sample_in_each_period() {
        let start = Instant::now();
        for rate_hz in [3.0, 100.0, 700_000.0] {
            let mut timer = Timer::new(rate_hz, start, 7);
            let mut moments = Vec::new();
            for period in 0..2_000_u32 {
                let periods = (timer.deadline() - start).as_secs_f64() * rate_hz;
                let moment = periods - f64::from(period);
                // A deadline is in whole nanoseconds.
                assert!(
                    (-0.001..1.001).contains(&moment),
                    "{moment} of period {period}"
                );
                if period > 0 {
                    moments.push(moment);
                }
                let tick = timer.tick(timer.deadline());
                assert_eq!(tick, Tick::default());
            }
            // Uniform, so the mean is 1/2 and a tenth of them is in the first tenth: within 4 standard errors.
            let mean = moments.iter().sum::<f64>() / 1_999.0;
            assert!((mean - 0.5).abs() < 0.026, "{mean}");
            let early = moments.iter().filter(|moment| **moment < 0.1).count();
            assert!((146..254).contains(&early), "{early}");
        }
    }

    /// 500 of 5 s at 100 Hz were anything from 430 to 570.
    #[test]
    fn every_period_is_sampled_or_missed() {
        let start = Instant::now();
        let end = start + Duration::from_secs(5);
        for seed in 0..100 {
            let mut timer = Timer::new(100.0, start, seed);
            let (mut now, mut ticks, mut missed) = (start, 0, 0);
            loop {
                now = now.max(timer.deadline());
                if now >= end {
                    break;
                }
                missed += timer.tick(now).missed;
                ticks += 1;
                // A sample takes 3 ms, and now and then much longer.
                let is_long = ticks % 50 == 0;
                now += Duration::from_millis(if is_long { 77 } else { 3 });
            }
            assert_eq!(ticks + missed + timer.overdue(end), 500, "seed {seed}");
            assert!(missed > 40, "{missed}");
        }
    }

    #[test]
    fn the_end_without_a_sample_is_overdue() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut timer = Timer::new(100.0, start, 7);
        timer.tick(timer.deadline());
        assert_eq!(timer.overdue(timer.deadline() - Duration::from_nanos(1)), 0);
        assert_eq!(timer.overdue(timer.deadline()), 1);
        assert_eq!(timer.overdue(after(1_500)), 149);
    }

    #[test]
    fn passed_periods_are_skipped_and_counted() {
        let start = Instant::now();
        let mut timer = Timer::new(1000.0, start, 7);
        let first = timer.deadline();
        let late = start + Duration::from_secs(2);
        let tick = timer.tick(late);
        assert_eq!((tick.lateness, tick.missed), (late - first, 1999));
        assert!(timer.deadline() >= late && timer.deadline() - late < Duration::from_millis(1));
        let much_later = start + Duration::from_secs(86_400);
        assert_eq!(timer.tick(much_later).missed, 86_400_000 - 2_001);
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
        assert_eq!(missed, 0);
    }

    #[test]
    fn the_first_sample_is_soon_at_any_rate() {
        let start = Instant::now();
        for rate_hz in [1e-6, 1.0, 99.0, 100.0, 1e6] {
            let timer = Timer::new(rate_hz, start, 7);
            assert!(timer.deadline() <= start + FIRST_LIMIT, "{rate_hz}");
        }
    }

    #[test]
    fn any_rate_has_deadlines() {
        let start = Instant::now();
        for rate_hz in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut timer = Timer::new(rate_hz, start, 7);
            timer.tick(start + Duration::from_secs(1));
            assert!(timer.deadline() >= start, "{rate_hz}");
        }
    }
}
