//! Messages about lateness, pauses and missed samples.

use std::time::Duration;

use crate::sampler::histogram::Histogram;
use crate::sampler::stats::{Engine, SamplerStats};
use crate::text::units::short_duration;

/// Largest share of time that sampling may take at a sustainable rate. Each sample is at a random moment of its period,
/// so some are close together; at half of the time few are late enough to be missed.
const USABLE: f64 = 0.5;
/// A pause of this length had to wait until the thread got a CPU.
const LONG_PAUSE: Duration = Duration::from_millis(5);
/// The rate was not sustained if more than one in this many samples was missed.
const MISSED: u64 = 20;

/// Median and 99th percentile of the lateness; `None` if it is below a tenth of the mean interval, where
/// it does not matter.
pub fn lateness(stats: &SamplerStats, rate_hz: u32) -> Option<String> {
    let (median, p99) = (stats.lateness.median()?, stats.lateness.p99()?);
    let gap = Duration::from_secs(1) / rate_hz.max(1);
    (p99 >= gap / 10).then(|| {
        format!(
            "{} median, {} p99",
            short_duration(median),
            short_duration(p99)
        )
    })
}

/// Number and length of pauses, for the log.
pub fn pauses(pauses: &Histogram) -> String {
    let times = (pauses.median(), pauses.p99(), pauses.max());
    let (Some(median), Some(p99), Some(max)) = times else {
        return "no pauses".to_owned();
    };
    format!(
        "{} pauses: {} median, {} p99, {} max",
        pauses.count(),
        short_duration(median),
        short_duration(p99),
        short_duration(max)
    )
}

/// A message if the rate was not sustained, with the cause.
pub fn missed(stats: &SamplerStats, rate_hz: u32) -> Option<String> {
    let pauses = stats.engine() == Engine::Pausing;
    let planned = stats.samples.saturating_add(stats.missed_ticks);
    if stats.missed_ticks == 0 || stats.missed_ticks < planned / MISSED {
        return None;
    }
    let missed = format!("Missed {} of {planned} samples", stats.missed_ticks);
    let late = stats.lateness.max().unwrap_or_default();
    let mean = stats.mean_sample_time();
    let is_too_often = mean.is_some_and(|mean| sustainable_rate(mean) < f64::from(rate_hz));
    // Rare waits do not explain what the rate does.
    let are_rare = stats.pauses.p99().is_none_or(|pause| pause < LONG_PAUSE);
    if pauses && waits_for_target(stats) && !(is_too_often && are_rare) {
        return Some(format!(
            "{missed}: the program got no CPU for up to {}, and its threads can only be paused when they have one; \
             its CPU time may be limited, or the machine is crowded; --nonblocking does not wait for it",
            short_duration(late.max(stats.pauses.max().unwrap_or_default()))
        ));
    }
    let mean = mean?;
    let sustainable = sustainable_rate(mean);
    Some(if sustainable < f64::from(rate_hz) {
        let advice = if pauses { " or --nonblocking" } else { "" };
        format!(
            "{missed}: mean sampling time {}; use a rate of at most {sustainable}{advice}",
            short_duration(mean)
        )
    } else {
        format!(
            "{missed}: the sampler was not scheduled in time (up to {} late; mean sampling time {})",
            short_duration(late),
            short_duration(mean)
        )
    })
}

/// Whether samples took long because threads that were to be paused had no CPU.
fn waits_for_target(stats: &SamplerStats) -> bool {
    let is_long = |pause: Duration| pause >= LONG_PAUSE;
    stats.short_pauses > 0 || stats.pauses.max().is_some_and(is_long)
}

/// The sustainable samples per second, rounded down to two digits.
fn sustainable_rate(mean_sample_time: Duration) -> f64 {
    let rate = USABLE / mean_sample_time.as_secs_f64().max(1e-9);
    let unit = 10_f64.powf(rate.log10().floor() - 1.0);
    if rate < 10.0 {
        rate.floor().max(1.0)
    } else {
        (rate / unit).floor() * unit
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    fn stats(samples: u64, missed_ticks: u64, sampling_time: Duration) -> SamplerStats {
        let mut stats = SamplerStats {
            samples,
            missed_ticks,
            sampling_time: sampling_time * u32::try_from(samples).unwrap(),
            ..SamplerStats::default()
        };
        for tick in 0..samples {
            stats.lateness.record(Duration::from_micros(10 * tick));
        }
        stats
    }

    fn unpaused(stats: SamplerStats) -> SamplerStats {
        SamplerStats {
            started_with: Engine::Nonblocking,
            ..stats
        }
    }

    #[test]
    fn missed_samples_have_a_cause_and_a_sustainable_rate() {
        let ms = Duration::from_millis;
        assert_eq!(missed(&stats(100, 0, ms(90)), 100), None);
        assert_eq!(missed(&stats(100, 4, ms(90)), 100), None);
        assert_eq!(
            missed(&stats(101, 99, ms(3)), 1_000).unwrap(),
            "Missed 99 of 200 samples: mean sampling time 3.00 ms; use a rate of at most 160 or \
             --nonblocking"
        );
        let text = missed(&unpaused(stats(101, 99, ms(3))), 1_000).unwrap();
        assert!(text.ends_with("use a rate of at most 160"), "{text}");
        let text = missed(&unpaused(stats(101, 99, ms(3))), 100).unwrap();
        assert!(
            text.contains("not scheduled in time (up to 1.00 ms late;"),
            "{text}"
        );
    }

    /// It was said that the sampler got no CPU.
    #[test]
    fn a_program_without_a_cpu_is_the_cause_of_missed_samples() {
        let mut late = stats(101, 99, Duration::from_millis(3));
        late.short_pauses = 2;
        let text = missed(&late, 100).unwrap();
        assert!(
            text.starts_with("Missed 99 of 200 samples: the program got no CPU for up to 1.00 ms,"),
            "{text}"
        );
        late.short_pauses = 0;
        late.pauses.record(Duration::from_millis(56));
        let text = missed(&late, 100).unwrap();
        assert!(text.contains("no CPU for up to 56.0 ms,"), "{text}");
        let text = missed(&unpaused(late), 100).unwrap();
        assert!(text.contains("not scheduled in time"), "{text}");
    }

    /// One long pause explained the 90 % that a rate of 100,000 cannot have.
    #[test]
    fn a_rare_long_pause_does_not_excuse_the_rate() {
        let mut often = stats(1_000, 9_000, Duration::from_micros(100));
        for _ in 0..999 {
            often.pauses.record(Duration::from_micros(20));
        }
        often.pauses.record(Duration::from_millis(44));
        let text = missed(&often, 100_000).unwrap();
        assert!(text.contains("use a rate of at most 5000"), "{text}");
        let text = missed(&often, 1_000).unwrap();
        assert!(text.contains("the program got no CPU"), "{text}");
    }

    #[test]
    fn rates_are_round_numbers() {
        for (mean_us, rate) in [
            (7, 71_000.0),
            (100, 5_000.0),
            (1_234, 400.0),
            (9_000, 55.0),
            (70_000, 7.0),
            (3_000_000, 1.0),
        ] {
            let sustainable = sustainable_rate(Duration::from_micros(mean_us));
            assert!(
                (sustainable - rate).abs() < 1e-6,
                "{mean_us}: {sustainable}"
            );
        }
    }

    #[test]
    fn lateness_is_shown_where_it_matters() {
        let stats = stats(101, 0, Duration::from_micros(1));
        assert_eq!(lateness(&stats, 10), None);
        assert_eq!(
            lateness(&stats, 1_000).unwrap(),
            "502 µs median, 991 µs p99"
        );
        assert_eq!(lateness(&SamplerStats::default(), 1_000), None);
    }

    #[test]
    fn pauses_are_one_line() {
        let mut histogram = Histogram::default();
        assert_eq!(pauses(&histogram), "no pauses");
        histogram.record(Duration::from_micros(48));
        histogram.record(Duration::from_millis(3));
        let text = pauses(&histogram);
        assert!(
            text.starts_with("2 pauses: ") && text.ends_with("3.00 ms max"),
            "{text}"
        );
    }
}
