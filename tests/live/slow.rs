//! What takes minutes: longer runs of what the other tests do briefly. `cargo test-slow` runs it, one test
//! after the other; do so after a change of how stacks are read or processes are found.

use crate::record::churn::{code_churn, code_churn_with_pauses};
use crate::record::concurrency::{gevent, start_with};
use crate::record::nonblocking::storm;
use crate::support::chains::Chains;
use crate::support::shares::{SIGMAS, deviation};
use crate::support::{Recording, Target, for_each_interpreter, for_each_kind};

/// What is promised of steady targets, for ten seconds each.
#[test]
#[ignore = "slow: two minutes"]
fn ten_seconds_of_each_pool_without_an_error() {
    for_each_kind("ten-seconds-pools", |python| {
        let kinds: &[&str] = match python.version.minor_pair() {
            (2, _) => &["fork"],
            _ => &["fork", "spawn", "forkserver", "futures"],
        };
        for kind in kinds {
            let target = Target::start(python, "pools.py", &[kind]);
            let options = ["-s", "-f", "raw", "-d", "10", "-i"];
            let recording = Recording::of_pid(target.pid(), &options);
            println!("{python} {kind}: {} samples", recording.samples());
            recording.assert_no_error();
        }
    });
}

#[test]
#[ignore = "slow: a minute for each interpreter"]
fn names_files_and_lines_of_code_that_comes_and_goes_agree_for_30_seconds() {
    for_each_interpreter("code-churn-30", .., |python| {
        code_churn_with_pauses(python, "30");
        code_churn(python, "30", &["--nonblocking"]);
    });
}

#[test]
#[ignore = "slow: ten seconds of each program on each interpreter"]
fn ten_seconds_of_each_concurrency_model_without_an_error() {
    for_each_interpreter("ten-seconds", .., |python| {
        let version = python.version.minor_pair();
        let mut targets = Vec::new();
        for mode in ["switch", "burn", "wait"] {
            targets.extend(start_with(python, &gevent(python), "greenlets.py", &[mode]));
        }
        targets.push(Target::start(python, "many_threads.py", &["1000"]));
        if version >= (3, 6) {
            targets.push(Target::start(python, "asyncio_load.py", &[]));
        }
        if version >= (3, 8) {
            targets.push(Target::start(python, "interpreters.py", &["shared", "3"]));
        }
        if version >= (3, 12) {
            targets.push(Target::start(python, "interpreters.py", &["own", "3"]));
        }
        for target in targets {
            let options = ["-f", "raw", "--idle", "-d", "10"];
            let recording = Recording::of_pid(target.pid(), &options);
            println!("{python}: {} samples", recording.samples());
            recording.assert_no_error();
        }
    });
}

/// What leads to the leaf frame and the frames themselves are copied some 400 ns after one another, in
/// which the storm goes round once or twice. What does not fit is tried again; taking the first stack that
/// did fit, states that last longer were seen too often, by up to 20 points.
#[test]
#[ignore = "slow: a minute, and needs two CPUs; a program that waits for one is seen in one place again and again"]
fn a_call_storm_without_pausing_has_the_same_leaves() {
    for_each_interpreter("storm-leaves", .., |python| {
        let modes: [&[&str]; 2] = [&[], &["--nonblocking"]];
        let [paused, free] = storm(python, "storm.py", &Chains::of_storm(4, 4), modes);
        let mut worst = 0.0_f64;
        for leaf in paused.leaves.keys().chain(free.leaves.keys()) {
            let (truth, share) = (paused.share(leaf), free.share(leaf));
            let noise = deviation(truth, paused.all()).hypot(deviation(share, free.all()));
            let off = share - truth;
            worst = worst.max(off.abs());
            assert!(
                off.abs() <= 0.03 + SIGMAS * noise,
                "{leaf} is {off} off: {paused:?} {free:?}"
            );
        }
        println!("{}: leaves {:.1} points off", python.label(), worst * 100.0);
    });
}
