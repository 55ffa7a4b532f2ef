//! `record --memory`: which functions added resident memory, against what the program and the kernel report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::{
    Interpreter, Recording, Sampling, Target, for_some_at_once, for_some_interpreters, wait_until,
};

/// One at a time: two targets and two recordings would wait for each other's CPUs.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples a second that `--memory` takes.
const RATE: f64 = 1000.0;

/// The part of the growth that is without a name on a machine with CPUs to spare.
const UNKNOWN: f64 = 0.03;

/// What was recorded of a program.
pub struct Seen {
    pub recording: Recording,
    /// The bytes that each function has added, where the program reports them.
    pub truth: BTreeMap<String, f64>,
    /// Of the ticks that were planned, the part (0 to 1) that was missed.
    missed: f64,
    /// By how much it has grown, as the kernel has it, in bytes.
    pub kernel: f64,
}

impl Seen {
    fn record(python: &Interpreter, arguments: &[&str], options: &[&str]) -> Self {
        Self::of(python, "growing.py", arguments, options)
    }

    fn of(python: &Interpreter, program: &str, arguments: &[&str], options: &[&str]) -> Self {
        let _alone = alone();
        Self::beside_others(python, program, arguments, options)
    }

    pub fn beside_others(
        python: &Interpreter,
        program: &str,
        arguments: &[&str],
        options: &[&str],
    ) -> Self {
        let mut target = Target::start(python, program, arguments);
        let options = [&["--memory", "-f", "raw", "-F"], options].concat();
        let sampling = Sampling::start(target.pid(), &options);
        // What it adds before the first sample cannot be seen. That sample opens this.
        let stat = PathBuf::from(format!("/proc/{}/stat", target.pid()));
        wait_until("the first sample is taken", || sampling.has_open(&stat));
        target.say("go");
        let mut answer = target.next_line();
        let mut truth = BTreeMap::new();
        if let Some(json) = answer.strip_prefix("truth ") {
            truth = serde_json::from_str(json).expect("bytes by function");
            answer = target.next_line();
        }
        let recording = sampling.stop();
        let bytes = answer.strip_prefix("grown ").expect("the growth");
        // The kernel misses none.
        let missed = match recording.summary["engine"] == "kernel" {
            true => 0.0,
            false => f64::max(0.0, 1.0 - recording.ticks_in(1.0) / RATE),
        };
        Self {
            missed,
            kernel: bytes.parse().expect("bytes"),
            truth,
            recording,
        }
    }

    pub fn total(&self) -> f64 {
        let stacks = self.recording.stacks();
        stacks.iter().map(|stack| stack.count as f64).sum()
    }

    /// The share (0 to 1) of all growth that is below a function.
    pub fn share(&self, function: &str) -> f64 {
        let stacks = self.recording.stacks();
        let below = stacks
            .iter()
            .filter(|stack| stack.functions().contains(&function));
        below.map(|stack| stack.count as f64).sum::<f64>() / self.total()
    }

    /// Whether each share is no further off than so many points, and the ticks that were missed: what grew then on a
    /// crowded machine is unknown.
    pub fn has_shares(&self, label: &str, shares: &[(&str, f64)], points: f64) -> bool {
        let allowed = points / 100.0 + self.missed;
        shares.iter().all(|(function, share)| {
            let found = self.share(function);
            println!(
                "{label} {function}: {:.1} % of {:.1}, {:.0} % of ticks missed",
                found * 100.0,
                share * 100.0,
                self.missed * 100.0
            );
            (found - share).abs() <= allowed
        })
    }

    /// Records until it is right. Another try is for a machine that gave us no CPU for so long that what
    /// grew then cannot be attributed; where hardly a tick was missed, and hardly anything is left without a
    /// name, there is none.
    fn until(record: impl Fn() -> Self, is_right: impl Fn(&Self) -> bool) -> Self {
        for _ in 0..10 {
            let seen = record();
            if is_right(&seen) {
                return seen;
            }
            let Recording { file, stderr, .. } = &seen.recording;
            println!("{:.1} % missed:\n{file}{stderr}", seen.missed * 100.0);
            let is_crowded = seen.missed > 0.01 || seen.share("<between samples>") > UNKNOWN;
            assert!(is_crowded, "wrong, as printed above");
        }
        panic!("wrong ten times, as printed above");
    }

    pub fn assert_total(&self, label: &str) {
        let (total, kernel) = (self.total(), self.kernel);
        println!("{label}: {total} bytes of {kernel}");
        assert!((total / kernel - 1.0).abs() <= 0.05, "{total} of {kernel}");
    }
}

#[test]
fn functions_get_what_they_have_added_and_computing_gets_nothing() {
    for_some_interpreters("growth-in-turn", |python| {
        let label = python.label();
        let shares = [
            ("grow_64", 64.0 / 84.0),
            ("grow_16", 16.0 / 84.0),
            ("grow_4", 4.0 / 84.0),
            ("compute", 0.0),
        ];
        let record = || Seen::record(python, &["2", "0.5"], &[]);
        let seen = Seen::until(record, |seen| seen.has_shares(&label, &shares, 3.0));
        seen.assert_total(&label);
    });
}

#[test]
fn two_threads_that_grow_at_once_are_distinguished() {
    for_some_interpreters("growth-at-once", |python| {
        let label = python.label();
        let shares = [("grow_64", 64.0 / 80.0), ("grow_16", 16.0 / 80.0)];
        let record = || Seen::record(python, &["1", "0.5", "threads"], &["--threads"]);
        let seen = Seen::until(record, |seen| seen.has_shares(&label, &shares, 5.0));
        seen.assert_total(&label);
    });
}

/// A program that the rule was not made on.
#[test]
fn callers_recursion_maps_and_four_threads_get_their_shares() {
    for_some_interpreters("growth-otherwise", |python| {
        let label = python.label();
        let record = || Seen::of(python, "growing_otherwise.py", &["2"], &["--threads"]);
        let is_right = |seen: &Seen| {
            let all = seen.truth.values().sum::<f64>();
            let truth = seen.truth.iter();
            let (asleep, shares): (Vec<_>, Vec<_>) = truth
                .map(|(name, bytes)| (name.as_str(), bytes / all))
                .partition(|(name, _)| name.starts_with("fill_"));
            assert_eq!((asleep.len(), shares.len()), (4, 6), "{shares:?}");
            // These sleep in nearly every sample: what they keep in between is of no stack, and not of another thread.
            let between = seen.share("<between samples>");
            let asleep_all: f64 = asleep.iter().map(|(_, share)| share).sum();
            let known: f64 = asleep.iter().map(|(name, _)| seen.share(name)).sum();
            println!("{label} asleep: {known} and {between} of {asleep_all}");
            // Pieces of some milliseconds and calls of less are known from few samples.
            seen.has_shares(&label, &shares, 5.0)
                && known <= asleep_all + 0.05
                && known + between >= asleep_all - 0.05 - seen.missed
        };
        Seen::until(record, is_right).assert_total(&label);
    });
}

/// Short bursts that end in sleep: what sleeps has added nothing, whatever is sampled.
#[test]
fn the_sleep_behind_a_burst_gets_nothing() {
    let _alone = alone();
    // They sleep most of the time, and can do that together.
    for_some_at_once("growth-bursts", |python| {
        let record = || {
            let arguments = ["3", "0.25", "burst"];
            Seen::beside_others(python, "growing.py", &arguments, &[])
        };
        let is_right = |seen: &Seen| {
            let shares = ["grow_64", "grow_16", "grow_4"].map(|name| seen.share(name));
            let between = seen.share("<between samples>");
            let asleep = 1.0 - shares.iter().sum::<f64>() - between;
            println!(
                "{}: {shares:?}, {between} between, {asleep} asleep",
                python.label()
            );
            // It waits for a CPU only in the two fifths of the time in which it does not sleep, so that samples
            // are missed only there, and in the bursts no fewer than elsewhere.
            let unknown = seen.missed * 2.5;
            asleep <= 0.05
                && between <= 0.05 + unknown
                && (0.55 - unknown..=0.95).contains(&shares[0])
        };
        Seen::until(record, is_right).assert_total(&python.label());
    });
}

/// Bursts that are hardly ever sampled: the sleep after them got 61 to 97 % of what they added. A sample that finds the
/// thread in its sleep before it sleeps, or after, is no sample of what grew.
#[test]
fn the_sleep_behind_a_burst_of_microseconds_gets_nothing() {
    let _alone = alone();
    for_some_at_once("growth-short-bursts", |python| {
        let record = || Seen::beside_others(python, "short_bursts.py", &["3"], &[]);
        let is_right = |seen: &Seen| {
            let [nap, take, between] = ["nap", "take", "<between samples>"].map(|f| seen.share(f));
            println!("{}: nap {nap}, take {take}, {between}", python.label());
            nap <= 0.03 + seen.missed / 3.0 && take + between >= 0.8 - seen.missed
        };
        Seen::until(record, is_right).assert_total(&python.label());
    });
}
