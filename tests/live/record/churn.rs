//! What comes and goes as fast as it can: threads, frames, code objects.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::support::chains::Chains;
use crate::support::shares::at_most;
use crate::support::{
    Interpreter, Pool, Recording, Sampling, Stack, Target, for_each_interpreter, for_each_kind,
    samples, wait_until,
};

/// How many stacks a test wants to have seen on each interpreter.
const ENOUGH: u64 = 300;

/// Records `seconds` at a time until the stacks are enough, which a crowded machine does not give in one
/// run; the stacks, and how many could not be read. Of few samples some errors are chance, so near the
/// limit, one in a hundred with pauses, more are taken.
fn record(
    target: &Target,
    options: &[&str],
    seconds: &str,
    is_enough: impl Fn(&[Stack]) -> bool,
) -> (Vec<Stack>, u64) {
    let may_fail = options.contains(&"--nonblocking");
    let options = [&["-f", "raw", "-d", seconds], options].concat();
    let pool = Pool::until(
        || Recording::of_pid(target.pid(), &options),
        |pool| is_enough(&pool.stacks) && (may_fail || pool.errors <= pool.samples() / 100),
    );
    (pool.stacks, pool.errors)
}

/// What the program answers to an empty line: how many there have been so far.
fn say_and_count(target: &mut Target) -> u64 {
    target.say("");
    target.next_line().parse().expect("a count")
}

/// Whether a stack of thread_churn.py is possible, root first.
pub fn is_possible_thread(stack: &Stack) -> bool {
    let functions = stack.functions();
    let is_own = |frame: &String| frame.contains("(thread_churn.py");
    if functions.starts_with(&["<module>"]) {
        let is_chain = |name: &&str| name.starts_with("left") || name.starts_with("right");
        return functions[1..].first().is_none_or(|name| *name == "churn")
            && !functions.iter().any(is_chain);
    }
    let outside = stack.frames.iter().take_while(|frame| !is_own(frame));
    let (outside, inside) = functions.split_at(outside.count());
    // A Thread object can go anywhere, and a weak reference to it with a function of its own.
    let weak = |frame: &&String| frame.contains("(_weakrefset.py");
    let weak = stack.frames.iter().rev().take_while(weak).count();
    let inside = &inside[..inside.len().saturating_sub(weak)];
    match outside.first() {
        // Before the interpreter has made the first frame there is none.
        None => ["right_1", "right_2", "right_3"].starts_with(inside),
        Some(root) if root.ends_with("_bootstrap") => {
            ["left_1", "left_2", "left_3"].starts_with(inside) || inside == ["listen"]
        }
        Some(_) => weak == stack.frames.len(),
    }
}

#[test]
fn threads_that_come_and_go_have_no_impossible_stack() {
    for_each_interpreter("thread-churn", .., |python| {
        let mut target = Target::start(python, "thread_churn.py", &[]);
        let options = ["-f", "raw", "-F", "-r", "1000", "-v"];
        let round = || {
            let sampling = Sampling::start(target.pid(), &options);
            let first = say_and_count(&mut target);
            wait_until("a thousand threads have come and gone", || {
                say_and_count(&mut target) >= first + 1_000
            });
            let recording = sampling.stop();
            // No thread gets a line of its own: a line with all others in it is there already.
            let longest = recording.stderr.lines().map(str::len).max();
            assert!(longest < Some(500), "{}", recording.stderr);
            recording
        };
        let is_enough =
            |pool: &Pool| pool.samples_of("left_3").min(pool.samples_of("right_3")) > 10;
        let Pool { stacks, errors } = Pool::until(round, is_enough);
        for stack in &stacks {
            assert!(is_possible_thread(stack), "{stack:?}");
        }
        let all = samples(&stacks);
        println!("{}: {all} stacks, {errors} errors", python.label());
        let allowed = at_most(0.01, all);
        assert!(errors as f64 <= allowed, "{errors} beside {all} stacks");
        assert!(target.is_alive());
        // It ends when it has seen all of its threads through.
        assert!(target.finish().success());
        let last = target.next_line();
        let mut counts = last.split(' ').filter_map(|word| word.parse::<u64>().ok());
        assert_eq!(counts.next(), counts.next(), "{last}");
    });
}

/// How many functions depths.py has.
const DEEPEST: usize = 900;

/// In each of these a stack of depths.py has to be seen.
const DEPTHS: [Range<usize>; 3] = [2..300, 300..600, 600..903];

/// Records depths.py and returns all stacks, wrong ones and those that could not be read.
fn depths(python: &Interpreter, options: &[&str]) -> (Vec<Stack>, Vec<Stack>, u64) {
    let target = Target::start(python, "depths.py", &[]);
    let options = [&["-F", "-r", "2000"], options].concat();
    // Long ways and short ones take turns, for longer than one recording.
    let is_enough = |stacks: &[Stack]| {
        let has = |range: &Range<usize>| {
            let mut depths = stacks.iter().map(|stack| stack.frames.len());
            depths.any(|depth| range.contains(&depth))
        };
        samples(stacks) >= ENOUGH && DEPTHS.iter().all(has)
    };
    let (stacks, errors) = record(&target, &options, "0.8", is_enough);
    let chain = (0..).map(|place| format!("f_{place}")).take(DEEPEST);
    let chain = Chains::new(&["<module>", "descend"], vec![chain.collect()]);
    let (wrong, right): (Vec<_>, Vec<_>) = stacks
        .into_iter()
        .partition(|stack| !chain.allow(&stack.functions()));
    println!(
        "{} {options:?}: {} right stacks from {:?} to {:?} deep, {} wrong, {errors} errors",
        python.label(),
        samples(&right),
        right.iter().map(|stack| stack.frames.len()).min(),
        right.iter().map(|stack| stack.frames.len()).max(),
        samples(&wrong)
    );
    (right, wrong, errors)
}

#[test]
fn recursion_that_grows_and_shrinks_has_every_frame() {
    for_each_kind("depths", |python| {
        let (right, wrong, errors) = depths(python, &[]);
        assert!(wrong.is_empty(), "{wrong:?}");
        let all = samples(&right);
        assert!(errors <= all / 100, "{errors} errors beside {all} stacks");
    });
}

#[test]
fn recursion_that_grows_and_shrinks_has_every_frame_without_pausing() {
    for_each_kind("depths-nonblocking", |python| {
        let (right, wrong, _) = depths(python, &["--nonblocking"]);
        let wrong = samples(&wrong);
        let all = wrong + samples(&right);
        assert!(wrong as f64 <= at_most(0.003, all), "{wrong} of {all}");
    });
}

/// Whether a frame of code_churn.py, `name (<churn N>:line)`, is of two code objects.
fn disagrees(frame: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    let numbered = ["f_", "g_"]
        .iter()
        .find_map(|kind| number(frame.strip_prefix(kind)?.split(' ').next()?));
    let place = || {
        let (_, place) = frame.strip_suffix(')')?.split_once(" (<churn ")?;
        // The first instruction of a module has no line from 3.11 on.
        let (file, line) = match place.split_once(">:") {
            Some((file, line)) => (number(file)?, number(line)?),
            None => number(place.strip_suffix('>')?).map(|file| (file, file + 1))?,
        };
        Some((file, line))
    };
    match (numbered, place()) {
        // The module of compiled code bears no number.
        (name, Some((file, line))) => {
            // Before its first instruction a module is at its first line. 3.10 calls that 1, whatever is there.
            let is_at_start = line == 1 && frame.starts_with("<module> ");
            !((file + 1..=file + 4).contains(&line) || is_at_start)
                || name.map_or(!frame.starts_with("<module> "), |name| name != file)
        }
        (name, None) => name.is_some() || frame.contains("<churn"),
    }
}

/// Records code_churn.py for `seconds`; the stacks, and how many could not be read.
pub fn code_churn(python: &Interpreter, seconds: &str, options: &[&str]) -> (Vec<Stack>, u64) {
    let mut target = Target::start(python, "code_churn.py", &[]);
    let before = say_and_count(&mut target);
    let has_own = |stack: &Stack| stack.frames.iter().any(|frame| frame.contains("<churn "));
    // Without pausing most of them are gone before their names could be read.
    let enough = if options.contains(&"--nonblocking") {
        ENOUGH / 10
    } else {
        ENOUGH
    };
    let is_enough = |stacks: &[Stack]| {
        let own = stacks.iter().filter(|stack| has_own(stack));
        samples(own) >= enough
    };
    let options = [&["-r", "2000"], options].concat();
    let (mut stacks, mut errors) = record(&target, &options, seconds, is_enough);
    let mut made = say_and_count(&mut target) - before;
    while made <= 1_000 {
        let more = record(&target, &options, seconds, is_enough);
        stacks.extend(more.0);
        errors += more.1;
        made = say_and_count(&mut target) - before;
    }
    let frames = stacks.iter().flat_map(|stack| &stack.frames);
    let wrong: Vec<_> = frames.filter(|frame| disagrees(frame)).collect();
    println!(
        "{} {options:?}: {made} code objects, {} stacks of which {} have some, {errors} errors, {} \
         mixed frames",
        python.label(),
        samples(&stacks),
        samples(stacks.iter().filter(|stack| has_own(stack))),
        wrong.len(),
    );
    let first = wrong.get(..5).unwrap_or(&wrong);
    assert!(wrong.is_empty(), "{}: {first:#?}", wrong.len());
    (stacks, errors)
}

/// The same, and each stack must be one that was.
pub fn code_churn_with_pauses(python: &Interpreter, seconds: &str) {
    let (stacks, errors) = code_churn(python, seconds, &[]);
    // The kernel engine names frames later, and says of code that was freed meanwhile that it is gone.
    let is_gone = |frame: &String| frame.starts_with("<code that is gone>");
    let is_named = |stack: &&Stack| !stack.frames.iter().any(is_gone);
    for stack in stacks.iter().filter(is_named) {
        assert!(is_possible_churn(stack), "{stack:?}");
    }
    let all = samples(&stacks);
    assert!(errors <= all / 100, "{errors} errors beside {all} stacks");
}

/// Whether all frames of code_churn.py's made functions are of one number, and in order.
fn is_possible_churn(stack: &Stack) -> bool {
    let functions = stack.functions();
    if functions.starts_with(&["listen"]) || functions[0].ends_with("_bootstrap") {
        return true;
    }
    let shape: Vec<_> = functions
        .iter()
        .map(|name| name.split_once('_').map_or(*name, |(kind, _)| kind))
        .collect();
    let numbers = functions
        .iter()
        .filter_map(|name| name.rsplit_once('_')?.1.parse::<u64>().ok());
    let numbers: BTreeSet<_> = numbers.collect();
    let copies = ["<module>", "churn", "with", "f", "g"];
    let copying = ["<module>", "churn", "with", "copy"];
    let source = ["<module>", "churn", "with", "<module>"];
    let sourced = ["<module>", "churn", "with", "f"];
    numbers.len() <= 1
        && [&copies[..], &copying, &source, &sourced]
            .iter()
            .any(|whole| whole.starts_with(&shape))
}

#[test]
fn names_files_and_lines_of_code_that_comes_and_goes_agree() {
    let case = "code-churn";
    for_each_interpreter(case, .., |python| code_churn_with_pauses(python, "0.8"));
}

#[test]
fn names_files_and_lines_of_code_that_comes_and_goes_agree_without_pausing() {
    for_each_interpreter("code-churn-nonblocking", .., |python| {
        code_churn(python, "0.8", &["--nonblocking"]);
    });
}
