//! Shares of a program that is launched, against what it has counted itself.

use std::collections::BTreeMap;

use super::accuracy::alone;
use crate::support::{Recording, for_each_kind};

/// What split.py says at its end: seconds of CPU time by function.
fn spent(recording: &Recording) -> BTreeMap<String, f64> {
    let line = recording.stdout.lines().last().expect("a last line");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Beside other tests it took eight times as long: a crowd makes a recording's shares scatter, and more are
/// taken.
#[test]
fn shares_are_those_of_the_cpu_time() {
    // The shares of samples taken at random moments scatter by at most sqrt(0.25 / n): this many
    // make 3 points four standard deviations.
    const ENOUGH: u64 = 4_445;
    // On a crowded machine a program does not move between its turns on a CPU, and the samples of one
    // turn are worth little more than one. So near the limit more are taken: what is really wrong
    // stays wrong.
    const CLEAR: f64 = 1.5;
    for_each_kind("split", |python| {
        let _alone = alone();
        let mut truth: BTreeMap<String, f64> = BTreeMap::new();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut all = 0;
        let mut differences = BTreeMap::new();
        for _ in 0..10 {
            let options = ["-f", "raw", "-r", "2000", "-F"];
            let recording = Recording::launch(python, &["split.py", "2.6"], &options);
            all += recording.samples_with("").1;
            for (function, seconds) in spent(&recording) {
                *counts.entry(function.clone()).or_default() += recording.samples_with(&function).0;
                *truth.entry(function).or_default() += seconds;
            }
            let total: f64 = truth.values().sum();
            for (function, seconds) in &truth {
                let share = counts[function] as f64 / all as f64;
                differences.insert(function.clone(), (share - seconds / total) * 100.0);
            }
            if all >= ENOUGH && differences.values().all(|points| points.abs() < CLEAR) {
                break;
            }
        }
        println!(
            "{}: {all} samples, {differences:+.1?} points",
            python.version
        );
        assert!(all >= ENOUGH, "only {all} samples");
        for (function, points) in differences {
            assert!(points.abs() < 3.0, "{function}: {points:+.1} points");
        }
    });
}
