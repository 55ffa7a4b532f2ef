//! `--memory`: growth is of the stack whose page faults added it.

use super::{for_each_kind, is_had};
use crate::memory::growth::Seen;
use crate::support::{Interpreter, for_each_at_once};

const KERNEL: [&str; 2] = ["--engine", "kernel"];

/// Functions of 0.2 to 3 ms in a row: with pauses their shares are 4 to 10 points off.
#[test]
fn bursts_of_a_millisecond_have_their_shares() {
    if !is_had() {
        return;
    }
    for_each_at_once("kernel-growth-bursts", .., |python: &Interpreter| {
        let label = python.label();
        let seen = Seen::beside_others(python, "growing.py", &["1.5", "0.05", "burst"], &KERNEL);
        let shares = [
            ("grow_64", 64.0 / 84.0),
            ("grow_16", 16.0 / 84.0),
            ("grow_4", 4.0 / 84.0),
            ("compute", 0.0),
        ];
        // Ten times what was measured on a quiet machine.
        assert!(
            seen.has_shares(&label, &shares, 3.0),
            "{}",
            seen.recording.file
        );
        // The function that allocates, and not one that it has called before.
        assert!(
            seen.share("keep") > 0.9,
            "{}{}",
            seen.recording.file,
            seen.recording.stderr
        );
        seen.assert_total(&label);
    });
}

/// Some 25 faults, then 20 ms of sleep.
#[test]
fn a_burst_of_microseconds_is_known() {
    if !is_had() {
        return;
    }
    for_each_at_once("kernel-growth-short", .., |python: &Interpreter| {
        let seen = Seen::beside_others(python, "short_bursts.py", &["2"], &KERNEL);
        let (take, nap) = (seen.share("take"), seen.share("nap"));
        println!("{}: take {take}, nap {nap}", python.label());
        assert!(take > 0.85 && nap < 0.05, "{}", seen.recording.file);
        seen.assert_total(&python.label());
    });
}

#[test]
fn threads_that_grow_at_once_are_distinguished() {
    for_each_kind("kernel-growth-threads", .., |python| {
        let label = python.label();
        let options = [&KERNEL[..], &["--threads"]].concat();
        let program = ["1", "0.5", "threads"];
        let seen = Seen::beside_others(python, "growing.py", &program, &options);
        let shares = [("grow_64", 64.0 / 80.0), ("grow_16", 16.0 / 80.0)];
        assert!(
            seen.has_shares(&label, &shares, 5.0),
            "{}",
            seen.recording.file
        );
        seen.assert_total(&label);
    });
}

/// A fault may add 512 pages, or 16 of a file, or none that stays.
#[test]
fn huge_pages_files_and_what_is_released_count_for_what_they_are() {
    for_each_kind("kernel-growth-oddly", .., |python| {
        let label = python.label();
        let seen = Seen::beside_others(python, "growing_oddly.py", &["12"], &KERNEL);
        for (name, truth) in &seen.truth {
            let found = seen.share(name) * seen.total();
            println!("{label} {name}: {found} of {truth}");
            // On a crowded machine a reading has a whole round. Then the faults share what has stayed, and these may be of
            // pages that were read before they were written to, or of addresses that churn had before.
            let most = match name.as_str() {
                // What was resident at a reading counts as added and released.
                "churn" => continue,
                "touched" => 2.0,
                _ => 1.35,
            };
            let part = found / truth;
            assert!(
                (0.65..=most).contains(&part),
                "{name} {part}: {}",
                seen.recording.file
            );
        }
        let released = seen.recording.summary["memory"]["released_bytes"].as_f64();
        let net = seen.total() - released.expect("bytes");
        assert!(
            (net / seen.kernel - 1.0).abs() < 0.02,
            "{net} of {}",
            seen.kernel
        );
    });
}
