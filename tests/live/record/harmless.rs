//! What a target must not notice: its signals arrive, its waits take their time.
//!
//! Nothing of this depends on the version, only the time that a pause takes does: one of each kind.

use std::process::Command;

use crate::support::{Interpreter, Place, Sampling, Target, fixtures, for_each_kind, wait_until};
use serde_json::Value;

/// A program with its library in C, which has the same name.
fn start(python: &Interpreter, name: &str, arguments: &[&str]) -> (Target, Place) {
    let place = python.new_place("lib");
    let file = format!("lib{name}.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
        .arg(place.host.join(&file))
        .arg(fixtures().join(format!("{name}.c")))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    let seen = place.seen.join(&file);
    let words = [&[seen.to_str().unwrap()], arguments].concat();
    let target = Target::start(python, &format!("{name}.py"), &words);
    (target, place)
}

/// What the program answers.
fn ask(target: &mut Target, order: &str) -> Value {
    target.say(order);
    serde_json::from_str(&target.next_line()).expect("it answers in JSON")
}

/// Counts of a stretch of time, in which the timer's signals come once in a millisecond.
#[derive(Debug, Default)]
struct Signals {
    handled: i64,
    /// Signals that fell together with one that was still pending.
    merged: i64,
    /// The milliseconds in which it waited for a CPU.
    waited: i64,
}

impl Signals {
    fn add(&mut self, before: &Value, after: &Value) {
        let gone = |number: &dyn Fn(&Value) -> i64| number(after) - number(before);
        self.handled += gone(&|answer| answer["alarm"]["handled"].as_i64().unwrap());
        self.merged += gone(&|answer| answer["alarm"]["overrun"].as_i64().unwrap());
        let waited_ns = gone(&|answer| answer["waited_ns"].as_i64().unwrap());
        self.waited += waited_ns / 1_000_000;
    }

    /// Signals that did not come of their own, of a hundred.
    fn merged_percent(&self) -> f64 {
        self.merged as f64 / (self.handled + self.merged) as f64 * 100.0
    }

    /// The same of those that came while the program had a CPU, or needed none.
    fn missing_percent(&self) -> f64 {
        let missing = (self.merged - self.waited).max(0);
        missing as f64 / (self.handled + self.merged) as f64 * 100.0
    }
}

#[test]
fn no_signal_is_lost() {
    for_each_kind("no-signal-lost", |python| {
        let (mut target, _library) = start(python, "timers", &[]);
        let sampling = Sampling::start(target.pid(), &["-f", "raw", "-r", "1000"]);
        ask(&mut target, "spin 1.0");
        let last = ask(&mut target, "children 50");
        let recording = sampling.stop();
        assert!(recording.samples_with("spin (").0 > 0, "{recording:#?}");
        println!("{}: {last}", python.label());
        // One that fell together with another is counted by that; of one that is lost nothing is left.
        for (timer, late) in [("alarm", 1), ("prof", 3)] {
            let number = |what| last[timer][what].as_i64().unwrap();
            let lost = number("due") - number("handled") - number("overrun");
            assert!(lost.abs() <= late, "{timer}: {lost} of {last}");
        }
        assert_eq!(last["child"]["handled"], last["child"]["due"], "{last}");
    });
}

#[test]
fn signal_handlers_run_as_often_as_without_us() {
    for_each_kind("signal-handlers", |python| {
        let (mut target, _library) = start(python, "timers", &[]);
        let (mut without, mut with) = (Signals::default(), Signals::default());
        let mut spins = 0;
        // In turn, so that both see the same machine.
        for _ in 0..6 {
            let first = ask(&mut target, "spin 0.02");
            let second = ask(&mut target, "spin 0.2");
            without.add(&first, &second);
            let sampling = Sampling::start(target.pid(), &["-f", "raw", "-r", "1000"]);
            let before = ask(&mut target, "spin 0.02");
            let after = ask(&mut target, "spin 0.2");
            with.add(&before, &after);
            spins += sampling.stop().samples_with("spin (").0;
        }
        assert!(spins > 0, "nothing was sampled");
        println!(
            "{}: {:.2} % of the signals missing without us, {:.2} % with us: {without:?} {with:?}",
            python.label(),
            without.missing_percent(),
            with.missing_percent()
        );
        // On a crowded machine we have to wait as well, at times while the target is paused: it
        // may cost as much again as the crowd costs anyhow.
        let allowed = 1.0 + without.merged_percent();
        assert!(with.missing_percent() <= allowed, "{without:?} {with:?}");
    });
}

#[test]
fn waits_take_their_time() {
    for_each_kind("waits", |python| {
        let (mut target, _library) = start(python, "early", &[]);
        let before = ask(&mut target, "");
        let sampling = Sampling::start(target.pid(), &["-f", "raw", "-r", "1000"]);
        let waits = |answer: &Value| answer["epoll_wait"]["waits"].as_u64().unwrap();
        let mut after = before.clone();
        wait_until("a thousand waits of each kind", || {
            after = ask(&mut target, "");
            waits(&after) >= waits(&before) + 1_000
        });
        let recording = sampling.stop();
        assert!(recording.samples_with("waits (").0 > 0, "{recording:#?}");
        println!("{}: {after}", python.label());
        for (kind, counts) in after.as_object().unwrap() {
            for what in ["early", "interrupted", "failed"] {
                assert_eq!(counts[what], 0, "{kind}: {after}");
            }
        }
    });
}

/// With a time limit on its socket a call ended with `EINTR` when its thread was paused just before it
/// fell asleep: 1 in 100 of `read`, `write`, `send` and their like.
#[test]
fn calls_on_sockets_with_a_time_limit_take_their_time() {
    for_each_kind("socket-calls", |python| {
        let (mut target, _library) = start(python, "early", &["sockets"]);
        let sampling = Sampling::start(target.pid(), &["-f", "raw", "-r", "1000"]);
        let mut answer = Value::Null;
        wait_until("a hundred calls of each kind", || {
            answer = ask(&mut target, "");
            answer["connect"]["waits"].as_u64().unwrap() >= 100
        });
        let recording = sampling.stop();
        assert!(recording.samples_with("calls (").0 > 0, "{recording:#?}");
        println!("{}: {answer}", python.label());
        for (kind, counts) in answer.as_object().unwrap() {
            for what in ["interrupted", "failed"] {
                assert_eq!(counts[what], 0, "{kind}: {answer}");
            }
        }
    });
}
