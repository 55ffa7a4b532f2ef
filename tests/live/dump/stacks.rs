//! Every frame that CPython itself reports is in the dump, with its name, file and lines: one test
//! per shape of program, each on every interpreter of the machine.

use std::fs;
use std::ops::RangeBounds;

use crate::support::{Dump, Target, Truth, fixtures, for_each_interpreter};

/// Dumps the program on each of these versions and compares all its threads with CPython's view.
fn dump_matches(case: &str, arguments: &[&str], versions: impl RangeBounds<(u32, u32)>) {
    dump_matches_and(case, case, arguments, versions, |_, _| ());
}

/// The same, with checks of what must be in there at all: the truth alone would also match if the
/// program did not do what it is for.
fn dump_matches_and(
    case: &str,
    fixture: &str,
    arguments: &[&str],
    versions: impl RangeBounds<(u32, u32)>,
    check: impl Fn(&Dump, &Truth),
) {
    for_each_interpreter(case, versions, |python| {
        let target = Target::start(python, &format!("{fixture}.py"), arguments);
        let truth = target.truth();
        let dump = target.dump(&[]);
        dump.assert_matches(&truth);
        check(&dump, &truth);
    });
}

/// The names of a thread's frames, leaf first.
fn names<'a>(dump: &'a Dump, thread: &str, truth: &Truth) -> Vec<&'a str> {
    let frames = &dump.find(truth.thread(thread)).frames;
    frames.iter().map(|frame| frame.name.as_str()).collect()
}

#[test]
fn calls() {
    dump_matches_and("calls", "calls", &[], .., |dump, truth| {
        let qualified = dump.version_at_least(3, 11);
        let method = if qualified { "Thing.method" } else { "method" };
        assert!(names(dump, "MainThread", truth).contains(&method));
    });
}

#[test]
fn lambdas_and_decorators() {
    dump_matches("lambdas", &[], ..);
}

#[test]
fn comprehensions() {
    dump_matches_and(
        "comprehensions",
        "comprehensions",
        &[],
        ..,
        |dump, truth| {
            let own_frame = names(dump, "MainThread", truth)
                .iter()
                .any(|name| name.ends_with("<setcomp>"));
            assert_eq!(
                own_frame,
                !dump.version_at_least(3, 12),
                "PEP 709 inlines them"
            );
        },
    );
}

#[test]
fn generators() {
    dump_matches("generators", &[], ..);
}

/// No other frame is below it: a chain that ends in a generator is usually one that is just being linked.
#[test]
fn a_generator_may_be_the_outermost_frame() {
    for_each_interpreter("generator-alone", .., |python| {
        let target = Target::start(python, "generator_alone.py", &[]);
        let truth = target.truth();
        let dump = target.dump(&[]);
        let names = |names: &[&str]| names == ["inner", "outermost"];
        let has_it = dump.threads.iter().any(|thread| {
            let found: Vec<_> = thread
                .frames
                .iter()
                .map(|frame| frame.name.as_str())
                .collect();
            names(&found)
        });
        assert!(has_it, "{dump:#?}");
        dump.assert_matches(&truth);
    });
}

#[test]
fn yield_from() {
    dump_matches("yield_from", &[], (3, 3)..);
}

#[test]
fn coroutines() {
    dump_matches("coroutines", &[], (3, 6)..);
}

#[test]
fn asyncio_loop() {
    dump_matches("asyncio_loop", &[], (3, 6)..);
}

#[test]
fn executed_code() {
    dump_matches_and("executed", "executed", &[], .., |dump, truth| {
        let main = dump.find(truth.thread("MainThread"));
        assert_eq!(main.frames[0].filename, "<made up>");
        assert_eq!(main.frames[0].line, Some(5));
    });
}

#[test]
fn recursion_1000_deep() {
    dump_matches_and("recursion", "recursion", &["1000"], .., |dump, truth| {
        let names = names(dump, "deep", truth);
        assert_eq!(names.iter().filter(|name| **name == "down").count(), 1000);
    });
}

#[test]
fn recursion_20000_deep() {
    let case = "recursion-20000";
    dump_matches_and(case, "recursion", &["20000"], .., |dump, truth| {
        let names = names(dump, "deep", truth);
        assert_eq!(names.iter().filter(|name| **name == "down").count(), 20_000);
    });
}

#[test]
fn multiline_calls() {
    dump_matches("multiline", &[], ..);
}

#[test]
fn forty_threads() {
    dump_matches_and("threads", "threads", &["40"], .., |dump, truth| {
        assert_eq!(dump.threads.len(), 42); // And the main one and the reporter.
        let depths: Vec<_> = (0..40)
            .map(|number| names(dump, &format!("worker-{number:02}"), truth))
            .map(|names| names.iter().filter(|name| **name == "descend").count())
            .collect();
        assert_eq!(depths, (1..=40).collect::<Vec<_>>());
    });
}

#[test]
fn unicode_names() {
    dump_matches_and(
        "unicode_names",
        "unicode_names",
        &[],
        (3, 3)..,
        |dump, truth| {
            let thread = dump.find(truth.thread("поток 🧵"));
            assert_eq!(thread.frames[0].name, "café");
            assert_eq!(thread.frame("𐌰𐌱𐌲").line, Some(21));
            assert_eq!(thread.frame("шаг").filename, "шаблоны/🐍 змея.py");
        },
    );
}

#[test]
fn unicode_path() {
    for_each_interpreter("unicode_path", (3, 3).., |python| {
        let place = python.new_place("Папка с 🐍");
        for file in ["truth.py", "unicode_names.py"] {
            fs::copy(fixtures().join(file), place.host.join(file)).unwrap();
        }
        let script = place.seen.join("unicode_names.py");
        let target = Target::start_at(python, &script, &[]);
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        let main = dump.find(target.truth().thread("MainThread"));
        assert_eq!(main.frames[0].filename, script.to_str().unwrap());
    });
}

#[test]
fn c_frames() {
    dump_matches("c_frames", &[], ..);
}

#[test]
fn finalizer() {
    dump_matches("finalizer", &[], ..);
}

#[test]
fn timer() {
    dump_matches("timer", &[], ..);
}

#[test]
fn signal_handler() {
    dump_matches("signal_handler", &[], ..);
}

#[test]
fn inside_a_collection() {
    // The callback has released the GIL: the stack is right, whichever thread is reported to collect.
    dump_matches("gc_running", &[], ..);
}

#[test]
fn subinterpreters() {
    let case = "subinterpreters";
    dump_matches_and(case, case, &["3"], (3, 8).., |dump, truth| {
        for number in 0..3 {
            let thread = dump.find(truth.thread(&format!("sub-{number}")));
            assert_eq!(thread.interpreter_ids.len(), 2, "{thread:#?}");
            assert_ne!(
                thread.interpreter_ids[0], 0,
                "the one of the leaf comes first"
            );
        }
        let main = dump.find(truth.thread("MainThread"));
        assert_eq!(main.interpreter_ids, [0]);
    });
}
