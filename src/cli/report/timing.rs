//! How well the looks were taken, in words.

use std::time::Duration;

use crate::sampler::histogram::Histogram;
use crate::sampler::stats::SamplerStats;
use crate::text::units::short_duration;

/// The share of its time that looking may take where the rate is to be held. Looks are spaced at
/// random, so some come close together; at half of the time few wait so long that they are left out.
const USABLE: f64 = 0.5;
/// Looks left out and looks planned, from which on the rate was not held.
const MISSED: u64 = 20;

/// Median and 99th percentile of the lateness; `None` where it is small against the mean gap between
/// two looks, and so makes no difference.
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

/// How many pauses there were, and how long: for those who asked for more words.
pub fn pauses(pauses: &Histogram) -> String {
    let times = (pauses.median(), pauses.p99(), pauses.max());
    let (Some(median), Some(p99), Some(max)) = times else {
        return "nothing was paused".to_owned();
    };
    format!(
        "{} pauses: {} median, {} p99, {} max",
        pauses.count(),
        short_duration(median),
        short_duration(p99),
        short_duration(max)
    )
}

/// A word when the rate was not held, and which one would be.
pub fn missed(stats: &SamplerStats, rate_hz: u32, nonblocking: bool) -> Option<String> {
    let planned = stats.samples.saturating_add(stats.missed_ticks);
    if stats.missed_ticks == 0 || stats.missed_ticks < planned / MISSED {
        return None;
    }
    let begin = format!("{} of {planned} looks were left out", stats.missed_ticks);
    let mean = stats.mean_sample_time()?;
    let holds = rate_that_holds(mean);
    Some(if holds < f64::from(rate_hz) {
        let advice = if nonblocking {
            ""
        } else {
            ", and more with --nonblocking"
        };
        format!(
            "{begin}: a look takes {} on average, so that {holds} per second can be held{advice}",
            short_duration(mean)
        )
    } else {
        format!(
            "{begin}: we did not get a CPU in time, by up to {}; looking itself takes {} on average",
            short_duration(stats.lateness.max().unwrap_or_default()),
            short_duration(mean)
        )
    })
}

/// The looks a second that can be taken where one takes so long, rounded down to two digits.
fn rate_that_holds(mean_sample_time: Duration) -> f64 {
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

    fn stats(samples: u64, missed_ticks: u64, look: Duration) -> SamplerStats {
        let mut stats = SamplerStats {
            samples,
            missed_ticks,
            sampling_time: look * u32::try_from(samples).unwrap(),
            ..SamplerStats::default()
        };
        for tick in 0..samples {
            stats.lateness.record(Duration::from_micros(10 * tick));
        }
        stats
    }

    #[test]
    fn says_which_rate_can_be_held() {
        let ms = Duration::from_millis;
        assert_eq!(missed(&stats(100, 0, ms(90)), 100, false), None);
        assert_eq!(missed(&stats(100, 4, ms(90)), 100, false), None);
        assert_eq!(
            missed(&stats(101, 99, ms(3)), 1_000, false).unwrap(),
            "99 of 200 looks were left out: a look takes 3.00 ms on average, so that 160 per second \
             can be held, and more with --nonblocking"
        );
        let text = missed(&stats(101, 99, ms(3)), 1_000, true).unwrap();
        assert!(text.ends_with("160 per second can be held"), "{text}");
        let text = missed(&stats(101, 99, ms(3)), 100, true).unwrap();
        assert!(text.contains("a CPU in time, by up to 1.00 ms;"), "{text}");
    }

    #[test]
    fn rates_are_sensible_numbers() {
        for (look_us, rate) in [
            (7, 71_000.0),
            (100, 5_000.0),
            (1_234, 400.0),
            (9_000, 55.0),
            (70_000, 7.0),
            (3_000_000, 1.0),
        ] {
            let holds = rate_that_holds(Duration::from_micros(look_us));
            assert!((holds - rate).abs() < 1e-6, "{look_us}: {holds}");
        }
    }

    #[test]
    fn lateness_is_told_where_it_matters() {
        let stats = stats(101, 0, Duration::from_micros(1));
        assert_eq!(lateness(&stats, 10), None);
        assert_eq!(
            lateness(&stats, 1_000).unwrap(),
            "500 µs median, 999 µs p99"
        );
        assert_eq!(lateness(&SamplerStats::default(), 1_000), None);
    }

    #[test]
    fn pauses_are_told_in_one_line() {
        let mut histogram = Histogram::default();
        assert_eq!(pauses(&histogram), "nothing was paused");
        histogram.record(Duration::from_micros(48));
        histogram.record(Duration::from_millis(3));
        let text = pauses(&histogram);
        assert!(
            text.starts_with("2 pauses: ") && text.ends_with("3.00 ms max"),
            "{text}"
        );
    }
}
