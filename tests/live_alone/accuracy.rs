//! Shares of time against what the program itself measures: between functions, and awake or asleep.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::shares::{Share, samples_at};
use crate::support::{Recording, Stack, Target, for_each_interpreter};
use serde_json::Value;

/// What the program answers to an empty line.
fn ask(target: &mut Target) -> Value {
    target.say("");
    serde_json::from_str(&target.next_line()).expect("it answers in JSON")
}

/// One program at a time, while it lives: two that are always busy, and a recording, would wait for
/// each other's CPUs.
static ALONE: Mutex<()> = Mutex::new(());

pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was recorded, and what the program said just before and after.
struct Seen {
    stacks: Vec<Stack>,
    ticks: f64,
    /// Ticks that were missed, as a part of those that were planned.
    missed: f64,
    before: Value,
    after: Value,
}

impl Seen {
    /// Records until there are `enough` ticks, which a crowded machine does not give in one run.
    fn record(target: &mut Target, rate: u32, seconds: f64, enough: f64) -> Self {
        let (asked, duration) = (rate.to_string(), seconds.to_string());
        let options = ["-f", "raw", "-F", "-r", &asked, "-d", &duration];
        let (mut stacks, mut ticks, mut planned) = (Vec::new(), 0.0, 0.0);
        let before = ask(target);
        for _ in 0..20 {
            let recording = Recording::of_pid(target.pid(), &options);
            stacks.extend(recording.stacks());
            ticks += recording.ticks_in(seconds);
            planned += f64::from(rate) * seconds;
            if ticks >= enough {
                break;
            }
        }
        Self {
            stacks,
            ticks,
            missed: (1.0 - ticks / planned).max(0.0),
            before,
            after: ask(target),
        }
    }

    /// The part of its answer that this finds, after less before.
    fn gone(&self, number: impl Fn(&Value) -> &Value) -> f64 {
        let number = |answer| number(answer).as_f64().expect("a number");
        number(&self.after) - number(&self.before)
    }
}

/// Takes shares until they are as near as that many points. Others are taken only where a crowd was in
/// the way: then the program may have had no CPU in the part of the time that was sampled, or there are too
/// few samples.
///
/// # Panics
/// If the tenth has too few samples, too.
fn calmly<const LEN: usize>(
    points: &[f64; LEN],
    mut take: impl FnMut() -> Result<[Share; LEN], String>,
) -> [Share; LEN] {
    let mut shares = take();
    for _ in 0..9 {
        match &shares {
            Err(why) => println!("again: {why}"),
            Ok(shares) => {
                let near = |(share, points): (&Share, &f64)| share.is_near(*points);
                let are_near = shares.iter().zip(points).all(near);
                if are_near || !shares.iter().any(Share::is_cpu_contended) {
                    break;
                }
            }
        }
        shares = take();
    }
    shares.unwrap_or_else(|why| panic!("ten times, the last with {why}"))
}

/// Records a program that knows how much time three functions take, on every interpreter; then all
/// of them together, where a small bias shows that one recording hides.
fn split_is_right(mode: &str) {
    const FUNCTIONS: [&str; 3] = ["ten_percent", "thirty_percent", "sixty_percent"];
    const PLANNED: [f64; 3] = [0.1, 0.3, 0.6];
    let pooled = RefCell::new(Vec::new());
    let plans = RefCell::new(Vec::new());
    for_each_interpreter(&format!("split-{mode}"), .., |python| {
        let _alone = alone();
        let mut target = Target::start(python, "shares.py", &[mode]);
        let shares = calmly(&[0.0; 3], || {
            let seen = Seen::record(&mut target, 2000, 0.7, 700.0);
            let stacks = &seen.stacks;
            let spent = |clock: &str| [0, 1, 2].map(|i| seen.gone(|answer| &answer[clock][i]));
            let (cpu, wall) = (spent("cpu"), spent("wall"));
            let sum = |times: [f64; 3]| times.iter().sum::<f64>();
            // A thread that waits for a CPU counts as active, but is sampled less often then: the truth
            // is between CPU time and wall time.
            let truth = |i: usize| [cpu[i] / sum(cpu), wall[i] / sum(wall)];
            plans
                .borrow_mut()
                .push([0, 1, 2].map(|i| cpu[i] / sum(cpu)));
            let hits = FUNCTIONS.map(|function| samples_at(stacks, function));
            let all: u64 = hits.iter().sum();
            // Beside the three there are only the turns of the loop around them.
            let total: u64 = stacks.iter().map(|stack| stack.count).sum();
            let others = total - all;
            if all < 500 || others > total / 10 {
                return Err(format!("{total} samples, {others} of them elsewhere"));
            }
            Ok([0, 1, 2].map(|i| {
                let share = Share::new(hits[i], all, truth(i), seen.missed);
                println!("{} {}: {}", python.label(), FUNCTIONS[i], share.describe());
                share
            }))
        });
        for (function, share) in FUNCTIONS.into_iter().zip(shares) {
            share.assert_near(function, 0.0);
            pooled.borrow_mut().push((function, share));
        }
    });
    let plans = plans.borrow();
    for (i, function) in FUNCTIONS.into_iter().enumerate() {
        // Of all versions: a host that takes the CPU away for 20 ms adds two points to a slice of one second.
        let own = plans.iter().map(|plan| plan[i]).sum::<f64>() / plans.len() as f64;
        println!(
            "all {function}: {:.2} % of the program's own CPU time",
            own * 100.0
        );
        assert!(
            mode == "locked" || (own - PLANNED[i]).abs() < 0.02,
            "{function}: {own} of the program's own CPU time, of {plans:.3?}"
        );
        let pooled = pooled.borrow();
        let own = || pooled.iter().filter(|(of, _)| *of == function);
        let share = Share::pooled(own().map(|(_, share)| share));
        println!("all {function}: {}", share.describe());
        // A point for what the clocks of the program cannot see, such as its own calls.
        share.assert_near(&format!("{function}, all versions"), 1.0);
    }
}

#[test]
fn slices_of_milliseconds_get_their_shares() {
    split_is_right("long");
}

#[test]
fn slices_of_50_microseconds_get_their_shares() {
    split_is_right("short");
}

#[test]
fn a_program_in_step_with_the_clock_gets_its_shares() {
    split_is_right("locked");
}

/// The share of ticks in which threads of a function were active, and what the kernel counted: time
/// on a CPU, and with the time waiting for one.
fn active_share(function: &str, seen: &Seen, threads: u32) -> Share {
    let has = |stack: &&Stack| stack.functions().contains(&function);
    let with = seen.stacks.iter().filter(has).map(|stack| stack.count);
    let all = seen.gone(|answer| &answer["wall"]) * f64::from(threads);
    let [cpu, wait] = ["cpu", "wait"]
        .map(|what| seen.gone(|answer| &answer["functions"][function][what]) / 1e9 / all);
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "a count"
    )]
    let ticks = (seen.ticks * f64::from(threads)) as u64;
    Share::new(with.sum(), ticks, [cpu, cpu + wait], seen.missed)
}

#[test]
fn threads_that_sleep_in_short_steps_are_active_as_long_as_they_run() {
    for_each_interpreter("naps", .., |python| {
        let _alone = alone();
        let mut target = Target::start(python, "duty.py", &["naps"]);
        let mut nap = || {
            let seen = Seen::record(&mut target, 1000, 0.8, 700.0);
            // Missed ticks can hide naps that ended, but show none.
            let share = Share {
                missed: 0.0,
                ..active_share("napper", &seen, 50)
            };
            println!("{} naps: {}", python.label(), share.describe());
            share
        };
        let mut share = nap();
        // In a second in which others want both CPUs all fifty queue for one.
        for _ in 0..2 {
            if !share.is_near(2.0) {
                share = nap();
            }
        }
        // Two points, since a nap that ends during a sample waits for the CPU that we are on. It is a
        // twentieth of what a profiler shows that wakes the threads that it samples.
        share.assert_near("naps", 2.0);
    });
}

#[test]
fn a_quarter_busy_is_a_quarter_active() {
    for_each_interpreter("quarters", .., |python| {
        let _alone = alone();
        let mut target = Target::start(python, "duty.py", &["quarters"]);
        let functions = ["quarter_of_4_ms", "quarter_of_20_ms", "quarter_of_100_ms"];
        let shares = calmly(&[3.0; 3], || {
            let seen = Seen::record(&mut target, 2000, 1.0, 1000.0);
            Ok(functions.map(|function| {
                let share = active_share(function, &seen, 1);
                println!("{} {function}: {}", python.label(), share.describe());
                share
            }))
        });
        for (function, share) in functions.into_iter().zip(shares) {
            share.assert_near(function, 3.0);
        }
    });
}
