//! Stacks, names and times.

use super::{for_each, for_each_kind, options, record};
use crate::record::churn::{code_churn, is_possible_thread};
use crate::support::chains::Chains;
use crate::support::shares::samples_at;
use crate::support::{Pool, Recording, Sampling, Stack, Target, samples};

/// Pools recordings of a process until they have that many stacks: a crowded machine gives few in one.
fn pool(target: &Target, least: u64, others: &[&str]) -> Pool {
    Recording::at_least(least, || record(target, others))
}

#[test]
fn a_call_storm_has_no_impossible_stack() {
    for_each("kernel-storm", .., |python| {
        let target = Target::start(python, "storm.py", &[]);
        target.until_it_reads_stdin();
        let ends = ["left_4", "right_4"];
        let pool = Pool::until(
            || record(&target, &["-F", "-r", "2000", "-d", "1"]),
            |pool| pool.samples() >= 1_000 && ends.iter().all(|leaf| pool.samples_of(leaf) > 0),
        );
        Chains::of_storm(4, 4).assert_possible(&pool.stacks);
        let (all, errors) = (pool.samples(), pool.errors);
        println!(
            "{}: {all} stacks, all possible, {errors} errors",
            python.label()
        );
        assert!(errors <= 2 + all / 500, "{errors} errors in {all} samples");
    });
}

/// A generator's frame is the current one for some instructions before it is linked to its caller.
#[test]
fn generators_have_their_callers() {
    for_each("kernel-generators", .., |python| {
        let target = Target::start(python, "generator_pipe.py", &[]);
        target.until_it_reads_stdin();
        let pool = pool(&target, 1_000, &["-F", "-r", "2000", "-d", "1"]);
        let chain = ["drive", "link_4", "link_3", "link_2", "link_1", "source"];
        let chain = vec![chain.map(str::to_owned).to_vec()];
        Chains::new(&["<module>"], chain).assert_possible(&pool.stacks);
        let all = pool.samples();
        println!("{}: {all} stacks, {} errors", python.label(), pool.errors);
        assert!(
            pool.errors <= 2 + all / 10,
            "{} errors beside {all}",
            pool.errors
        );
    });
}

/// A code object that is freed between a sample and its naming must not lend its address to another's name.
#[test]
fn code_that_comes_and_goes_has_no_other_ones_name() {
    for_each_kind("kernel-code-churn", .., |python| {
        let (stacks, errors) = code_churn(python, "1", &["--engine", "kernel"]);
        let all = samples(&stacks);
        assert!(
            errors <= 2 + all / 100,
            "{errors} errors beside {all} stacks"
        );
    });
}

/// Threads are sampled from their first moment on, before we know them.
#[test]
fn threads_that_come_and_go_are_seen() {
    for_each_kind("kernel-thread-churn", .., |python| {
        let target = Target::start(python, "thread_churn.py", &[]);
        let pool = Pool::until(
            || record(&target, &["-F", "-r", "1000", "-d", "1"]),
            |pool| pool.samples_of("left_3").min(pool.samples_of("right_3")) > 10,
        );
        for stack in &pool.stacks {
            assert!(is_possible_thread(stack), "{stack:?}");
        }
        let all = samples(&pool.stacks);
        println!("{}: {all} stacks, {} errors", python.label(), pool.errors);
        assert!(
            pool.errors <= 2 + all / 50,
            "{} errors beside {all}",
            pool.errors
        );
    });
}

#[test]
fn a_deep_stack_is_whole_and_a_deeper_one_is_an_error() {
    for_each_kind("kernel-deep", .., |python| {
        let deep = Target::start(python, "deep_busy.py", &["1000"]);
        let pool = pool(&deep, 20, &["-F", "-r", "500", "-d", "0.5"]);
        let in_down = |stack: &&Stack| stack.functions().contains(&"down");
        for stack in pool.stacks.iter().filter(in_down) {
            let functions = stack.functions();
            assert_eq!(
                functions.iter().filter(|name| **name == "down").count(),
                1_000
            );
        }
        let deeper = Target::start(python, "deep_busy.py", &["1200"]);
        let recording = Recording::until(
            || record(&deeper, &["-F", "-r", "500", "-d", "0.5"]),
            |recording| recording.errors() > 0,
        );
        assert_eq!(samples_at(&recording.stacks(), "down"), 0);
        let expected = "has a stack deeper than the kernel copies";
        assert!(recording.stderr.contains(expected), "{}", recording.stderr);
    });
}

/// Each stack weighs what its thread has used since the stack before, so that no CPU time is missing.
#[test]
fn cpu_time_is_that_of_the_kernel() {
    for_each_kind("kernel-cpu", .., |python| {
        let mut target = Target::start(python, "cpu_burn.py", &["0.8"]);
        let sampling = Sampling::start(target.pid(), &options(&["--cpu", "-F", "-r", "200"]));
        target.say("");
        let used: f64 = target.next_line().parse().unwrap();
        let stacks = sampling.stop().stacks();
        let burnt = stacks
            .iter()
            .filter(|stack| stack.functions().contains(&"burn"));
        let off = samples(burnt) as f64 / 1e3 / used - 1.0;
        println!("{}: {:+.2} % of {used} us", python.label(), off * 100.0);
        assert!(off.abs() <= 0.03, "{off}");
    });
}
