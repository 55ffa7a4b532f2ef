//! The verdict on simulated curves: 20 seeds of each kind of program.
//!
//! The curves follow measurements of the programs of `fixtures/memory_shapes.py`: work that is freed at
//! once leaves some 100 KiB of noise, a heap retains about 1 MiB of the first block that it frees, a
//! full cache drifts upwards as new entries do not fit its holes, and several objects in a row need no
//! new page.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::time::Duration;

use crate::rss::leak::verdict::{Inconclusive, Verdict};
use crate::rss::series::RssSeries;

pub(crate) const MIB: f64 = 1_048_576.0;
/// Readings per second.
const RATE: f64 = 100.0;

/// SplitMix64: pseudo-random numbers, reproducible by seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Uniform from `low` to `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (high - low) * ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential with this mean.
    fn around(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.between(0.0, 1.0)).ln()
    }
}

/// A series over `seconds`, with the RSS as a function of the time in seconds.
pub(crate) fn series(seconds: f64, mut bytes: impl FnMut(f64) -> f64) -> RssSeries {
    let mut series = RssSeries::default();
    for tick in 0..=(seconds * RATE) as u64 {
        let at = tick as f64 / RATE;
        // Whole pages.
        let rss = (bytes(at) / 4096.0).round().max(1.0) as u64 * 4096;
        series.add(Duration::from_secs_f64(at), rss);
    }
    series
}

pub(crate) fn verdict(seconds: f64, bytes: impl FnMut(f64) -> f64) -> Verdict {
    series(seconds, bytes).trend().verdict
}

/// Background work: allocates up to so many bytes and frees them at once.
fn small_work(random: &mut Random, bytes: f64) -> f64 {
    random.between(0.0, 1.0).powi(3) * bytes
}

/// A recording of a minute for each of 20 seeds: at least 19 verdicts must be right.
pub(crate) fn check(
    what: &str,
    is_right: impl Fn(&Verdict) -> bool,
    mut curve: impl FnMut(&mut Random) -> RssSeries,
) {
    let verdicts = (0..20).map(|seed| curve(&mut Random(seed)).trend().verdict);
    let (right, wrong): (Vec<Verdict>, Vec<Verdict>) = verdicts.partition(is_right);
    assert!(right.len() >= 19, "{what}: {wrong:?}");
}

pub(crate) fn is_stable(verdict: &Verdict) -> bool {
    verdict.word() == "stable"
}

/// A leak of `rate` bytes per second, reported to within a tenth.
pub(crate) fn is_leak_of(rate: f64) -> impl Fn(&Verdict) -> bool {
    move |verdict| match verdict {
        Verdict::Growing {
            bytes_per_minute, ..
        } => (*bytes_per_minute as f64 / (rate * 60.0) - 1.0).abs() < 0.1,
        _ => false,
    }
}

fn leak(random: &mut Random, seconds: f64, rate: f64) -> RssSeries {
    let base = random.between(8.0, 500.0) * MIB;
    let work = random.between(0.0, 0.5) * MIB;
    // The unit of allocation: a page, the pools of an arena, or the growth of a list.
    let lump = random.between(1.0, 64.0) * 4096.0;
    series(seconds, |at| {
        base + (rate * at / lump).floor() * lump + small_work(random, work)
    })
}

#[test]
fn a_steady_leak_is_reported_with_its_rate() {
    for rate in [MIB, 50.0 * 1024.0] {
        check("a leak", is_leak_of(rate), |random| {
            leak(random, 60.0, rate)
        });
    }
    // Half a minute is enough; a longer recording gives the same verdict.
    check("30 s", is_leak_of(MIB), |random| leak(random, 30.0, MIB));
    check("an hour", is_leak_of(2048.0), |random| {
        leak(random, 3600.0, 2048.0)
    });
}

/// A saw tooth on a leak of `leak` bytes per second.
fn teeth(random: &mut Random, longest: f64, leak: f64) -> RssSeries {
    let base = random.between(8.0, 200.0) * MIB;
    let height = random.between(4.0, 100.0) * MIB;
    let period = random.between(0.3, longest);
    let uneven = random.between(0.0, 0.6);
    let (mut start, mut length, mut top) = (-random.between(0.0, period), period, height);
    let mut retained = 0.0;
    series(60.0, |at| {
        while at >= start + length {
            start += length;
            length = period * random.between(1.0 - uneven, 1.0 + uneven);
            top = height * random.between(1.0 - uneven, 1.0 + uneven);
            retained = random.between(0.5, 1.0) * MIB;
        }
        base + retained + leak * at + top * (at - start) / length
    })
}

#[test]
fn a_saw_tooth_is_stable_and_never_a_leak() {
    check("teeth of up to 10 s", is_stable, |random| {
        teeth(random, 10.0, 0.0)
    });
    // Longer teeth are ambiguous, but are no leak while one end of a tooth is in the recording.
    for seed in 0..1_000 {
        let verdict = teeth(&mut Random(seed), 40.0, 0.0).trend().verdict;
        assert!(!verdict.is_leak(), "{seed}: {verdict}");
    }
}

#[test]
fn a_leak_below_a_saw_tooth_is_reported() {
    check("teeth on a leak", Verdict::is_leak, |random| {
        teeth(random, 6.0, MIB)
    });
}

#[test]
fn a_warm_up_is_one_step() {
    let mut steps = Vec::new();
    check(
        "a load",
        |verdict| matches!(verdict, Verdict::Step { .. }),
        |random| {
            let (base, step) = (10.0 * MIB, random.between(20.0, 80.0) * MIB);
            let (at, takes) = (random.between(3.0, 50.0), random.between(0.2, 3.0));
            steps.push(at + takes / 2.0);
            series(60.0, |now| {
                let done = ((now - at) / takes).clamp(0.0, 1.0);
                base + step * done + small_work(random, 0.3 * MIB)
            })
        },
    );
    let step = verdict(60.0, |at| if at < 20.0 { 1e7 } else { 1e8 });
    let Verdict::Step { bytes, at, .. } = step else {
        panic!("{step}");
    };
    assert!((bytes as f64 / 9e7 - 1.0).abs() < 0.01, "{step}");
    assert!(at.as_secs().abs_diff(20) <= 2, "{step}");
}

#[test]
fn several_steps_that_end_are_stable() {
    check(
        "loads in the first third",
        |verdict| !verdict.is_leak() && verdict.word() != "inconclusive",
        |random| {
            let loads: Vec<(f64, f64)> = (0..4)
                .map(|_| (random.between(0.0, 20.0), random.between(3.0, 30.0) * MIB))
                .collect();
            series(60.0, |now| {
                let done = loads.iter().filter(|(at, _)| *at <= now);
                20.0 * MIB + done.map(|(_, size)| size).sum::<f64>()
            })
        },
    );
}

#[test]
fn a_full_cache_is_stable() {
    let cache = |random: &mut Random, filled: bool| {
        let size = random.between(20.0, 60.0) * MIB;
        let full = random.between(12.0, 20.0);
        // How full it is when the recording starts.
        let before = if filled { 1.0 } else { 0.0 };
        let (drift, noise) = (random.between(0.0, 0.1), random.between(0.005, 0.03));
        let (mut wave, mut next) = (0.0, 0.0);
        series(60.0, |at| {
            if at >= next {
                next += random.around(0.3);
                wave = 0.9 * wave + random.between(-noise, noise);
            }
            let filling = (before + at / full).min(1.0);
            let drifting = drift * (1.0 - (-at / 15.0).exp());
            10.0 * MIB + size * (filling + drifting + wave * filling)
        })
    };
    check("a cache that is full", is_stable, |random| {
        cache(random, true)
    });
    check("a cache that fills up", is_stable, |random| {
        cache(random, false)
    });
}

#[test]
fn a_sleeping_process_is_stable() {
    assert_eq!(verdict(60.0, |_| 12.0 * MIB), Verdict::Stable);
    assert_eq!(verdict(90_000.0, |_| 12.0 * MIB), Verdict::Stable);
}

/// Growth that slows down: a cache of ever rarer keys.
#[test]
fn growth_that_slows_down_is_no_leak() {
    for seed in 0..300 {
        let random = &mut Random(seed);
        let (size, soon) = (random.between(5.0, 100.0) * MIB, random.around(3.0) + 0.1);
        let logarithm = verdict(60.0, |at| {
            50.0 * MIB + size * (1.0 + at / soon).ln() / (1.0 + 60.0 / soon).ln()
        });
        // A logarithm with a slow enough start is straight over a minute.
        assert!(!logarithm.is_leak() || soon > 15.0, "{soon}: {logarithm}");
        let early = random.between(2.0, 25.0);
        let filling = verdict(60.0, |at| 50.0 * MIB - size * (-at / early).exp() + size);
        assert!(!filling.is_leak(), "{early}: {filling}");
    }
}

#[test]
fn bursts_of_requests_are_no_leak_and_hide_none() {
    let bursts = |random: &mut Random, leak: f64| {
        let (mut level, mut until) = (0.0, 0.0);
        series(60.0, |at| {
            if at >= until {
                let busy = level == 0.0;
                level = if busy {
                    random.between(1.0, 100.0) * MIB
                } else {
                    0.0
                };
                until = at + random.around(if busy { 0.3 } else { 0.7 });
            }
            30.0 * MIB + level + leak * at
        })
    };
    check("bursts", is_stable, |random| bursts(random, 0.0));
    check("bursts on a leak", Verdict::is_leak, |random| {
        bursts(random, 0.3 * MIB)
    });
}

#[test]
fn a_leak_after_a_start_is_reported_with_its_rate() {
    for rate in [MIB, 100.0 * 1024.0] {
        check("imports, then a leak", is_leak_of(rate), |random| {
            let (load, takes) = (random.between(10.0, 300.0) * MIB, random.between(0.2, 10.0));
            series(60.0, |at| {
                let since = (at - takes).max(0.0);
                8.0 * MIB + load * (at / takes).min(1.0) + rate * since
            })
        });
    }
    // A leak as large as the load before it may be reported with a part of the load in its rate.
    check("a load, then a leak", Verdict::is_leak, |random| {
        let (load, from) = (random.between(20.0, 80.0) * MIB, random.between(3.0, 20.0));
        series(60.0, |at| {
            let loaded = load * ((at - from) / 2.0).clamp(0.0, 1.0);
            8.0 * MIB + loaded + MIB * (at - from).max(0.0)
        })
    });
}

#[test]
fn noise_is_no_leak() {
    // Autocorrelated over 0.1 to 6 s.
    for seed in 0..300 {
        let random = &mut Random(seed);
        let decay = 1.0 - 1.0 / (RATE * random.between(0.1, 6.0));
        let size = random.between(1.0, 20.0) * MIB * (1.0 - decay * decay).sqrt();
        let mut wave = 0.0;
        let verdict = verdict(60.0, |_| {
            wave = decay * wave + size * random.between(-1.7, 1.7);
            200.0 * MIB + wave
        });
        assert!(!verdict.is_leak(), "{seed}: {verdict}");
    }
}

#[test]
fn an_inconclusive_verdict_has_its_reason() {
    let why = |verdict| match verdict {
        Verdict::Inconclusive { why, .. } => Some(why),
        _ => None,
    };
    assert_eq!(why(verdict(24.0, |at| at * MIB)), Some(Inconclusive::Short));
    assert_eq!(
        why(RssSeries::default().trend().verdict),
        Some(Inconclusive::Short)
    );
    let mut rare = RssSeries::default();
    for minute in 0..10 {
        rare.add(Duration::from_secs(minute * 60), 1 << 20);
    }
    assert_eq!(
        why(rare.trend().verdict),
        Some(Inconclusive::TooFewSamples(10))
    );
    // 60 MiB were released after 5 s, and 55 MiB have come since.
    let back = verdict(60.0, |at| (if at < 5.0 { 90.0 } else { 30.0 + at }) * MIB);
    let Some(Inconclusive::ReleasedBefore(bytes)) = why(back) else {
        panic!("{back}");
    };
    // From 35 MiB after the release to 90 MiB.
    let mib = bytes as f64 / MIB;
    assert!((50.0..56.0).contains(&mib), "{mib}");
}

#[test]
fn growth_that_is_freed_before_the_end_is_stable() {
    for last in [30.0, 48.0, 55.0] {
        let tooth = |at: f64| (10.0 + if at < last { at } else { 0.2 }) * MIB;
        assert_eq!(verdict(60.0, tooth), Verdict::Stable, "{last}");
    }
}

/// An exiting interpreter frees most of its memory.
#[test]
fn what_is_freed_at_exit_hides_no_leak() {
    let leak = |at: f64| {
        if at < 59.2 {
            (10.0 + at) * MIB
        } else {
            15.0 * MIB
        }
    };
    let mut series = series(60.0, leak);
    assert!(!series.trend().verdict.is_leak());
    series.end();
    assert!(series.trend().verdict.is_leak());
}

#[test]
fn the_line_lies_on_the_baseline() {
    let trend = series(60.0, |at| 10.0 * MIB + 1e6 * at).trend();
    assert_eq!(trend.baseline.len(), 24);
    assert!((trend.slope / 1e6 - 1.0).abs() < 0.02, "{trend:?}");
    for (at, bytes) in trend.baseline {
        let line = trend.intercept + trend.slope * at.as_secs_f64();
        assert!((line - bytes as f64).abs() < 0.5 * MIB, "{at:?}");
    }
}
