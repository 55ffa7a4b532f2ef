//! The verdict on the effects of the heap: it retains a part of the first block that it frees, and a
//! cache in it drifts.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::tests::{MIB, Random, check, is_leak_of, is_stable, series, verdict};
use crate::rss::leak::verdict::Verdict;
use crate::rss::series::RssSeries;

/// Teeth in a heap that retains most of the first, which half hides the later ones; the retained part
/// varies by an arena or two.
fn small_teeth(random: &mut Random, idle: f64) -> RssSeries {
    let height = random.between(4.0, 20.0) * MIB;
    let period = random.between(1.0, 10.0);
    let retains = random.between(0.3, 0.7) * height;
    let (mut start, mut length, mut retained) = (idle, period, 0.0);
    let mut top = height;
    series(60.0, |at| {
        while at >= start + length {
            start += length;
            length = period * random.between(0.6, 1.4);
            top = height * random.between(0.4, 1.4);
            retained = retains + random.between(0.0, 4.0).floor() * 0.25 * MIB;
        }
        let taken = top * ((at - start) / length).max(0.0);
        10.0 * MIB + taken.max(retained)
    })
}

#[test]
fn what_a_heap_retains_of_the_first_tooth_is_no_step_and_no_leak() {
    check("from the first tooth on", is_stable, |random| {
        small_teeth(random, 0.0)
    });
    // The lower level is observed, but so is that more comes and goes afterwards.
    for seed in 0..300 {
        let verdict = small_teeth(&mut Random(seed), 15.0).trend().verdict;
        assert!(!verdict.is_leak(), "{seed}: {verdict}");
    }
    let idle_first = verdict(60.0, |at| {
        let tooth = if at < 12.0 { 0.0 } else { at % 3.0 * 10.0 };
        let retained = if at < 15.0 { 0.0 } else { 8.0 };
        (10.0 + tooth.max(retained)) * MIB
    });
    assert_eq!(idle_first.word(), "stable", "{idle_first}");
}

#[test]
fn a_step_exceeds_what_comes_and_goes() {
    let teeth_of = |mib: f64| {
        verdict(60.0, move |at| {
            let retained = if at < 25.0 { 10.0 } else { 25.0 };
            (retained + at % 2.0 / 2.0 * mib) * MIB
        })
    };
    let step = teeth_of(10.0);
    let Verdict::Step { bytes, .. } = step else {
        panic!("{step}");
    };
    assert!((bytes as f64 / MIB - 15.0).abs() < 1.0, "{step}");
    // A heap may have retained it.
    let settled = teeth_of(40.0);
    assert_eq!(settled.word(), "stable", "{settled}");
    assert!(settled.to_string().contains("it grew by 15"), "{settled}");
}

/// A cache that takes `fills` seconds to fill, and then drifts by some 5 % with pauses.
fn drifting_cache(random: &mut Random, fills: f64) -> RssSeries {
    let size = random.between(20.0, 60.0) * MIB;
    let (mut drifted, mut next, mut pause) = (0.0, fills, 0.0);
    series(60.0, |at| {
        if at >= next {
            next += 0.5;
            if at >= pause && random.between(0.0, 1.0) < 0.25 {
                pause = at + random.between(4.0, 8.0);
            }
            if at >= pause {
                drifted += size * random.between(0.0, 0.003);
            }
        }
        10.0 * MIB + size * (at / fills).min(1.0) + drifted
    })
}

#[test]
fn a_cache_that_drifts_is_no_leak_and_a_slow_leak_is_one() {
    for fills in [12.0, 15.0, 18.0] {
        check("a cache", is_stable, |random| drifting_cache(random, fills));
    }
    // As much in a process of that size, but evenly.
    check("a leak", is_leak_of(60.0 * 1024.0), |random| {
        let lump = random.between(0.1, 0.4) * MIB;
        series(60.0, |at| {
            70.0 * MIB + (60.0 * 1024.0 * at / lump).floor() * lump
        })
    });
}
