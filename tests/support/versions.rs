//! A few CPythons that stand for all, cases that run on all of them at once, and how a case ends.

use std::any::Any;
use std::fs;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::interpreters::is_empty;
use super::require::skip;
use super::{Interpreter, interpreters, lasting_folder};

/// Every version that is supported, oldest first.
pub fn supported() -> impl DoubleEndedIterator<Item = (u32, u32)> {
    python_offsets::supported().map(|(major, minor)| (major.into(), minor.into()))
}

/// The oldest, those with frames of each kind, the newest.
fn some_versions() -> [(u32, u32); 4] {
    let newest = supported().next_back().expect("a version");
    [(2, 7), (3, 8), (3, 12), newest]
}

/// One interpreter of each of [`some_versions`], a plain build where there is one.
///
/// # Panics
/// If there is none at all.
pub fn some_interpreters() -> Vec<&'static Interpreter> {
    let of = |version: (u32, u32)| {
        let mut all = interpreters()
            .iter()
            .filter(|python| python.version.minor_pair() == version);
        let found = all.clone().find(|python| python.build.is_empty());
        let found = found.or_else(|| all.next());
        if found.is_none() {
            let (major, minor) = version;
            skip(&format!("{major}.{minor}"), "there is no such CPython");
        }
        found
    };
    let found: Vec<_> = some_versions().into_iter().filter_map(of).collect();
    assert!(
        !found.is_empty(),
        "no interpreter of {:?} (see tests/support/interpreters.rs for the places that are searched)",
        some_versions()
    );
    found
}

/// Runs `case` on [`some_interpreters`], one after the other: for what is measured, which others that
/// need a CPU would disturb.
pub fn for_some_interpreters(name: &str, case: impl Fn(&Interpreter)) {
    let outcomes = some_interpreters()
        .into_iter()
        .map(|python| outcome(python, &case))
        .collect();
    finish(name, outcomes);
}

/// Runs `case` on [`some_interpreters`], all at once: for what waits most of the time.
pub fn for_some_at_once(name: &str, case: impl Fn(&Interpreter) + Sync) {
    at_once(name, some_interpreters(), case);
}

/// Runs `case` on every interpreter whose (major, minor) is within `versions`, all at once: for what
/// waits most of the time, or is many small things in a row.
pub fn for_each_at_once(
    name: &str,
    versions: impl RangeBounds<(u32, u32)>,
    case: impl Fn(&Interpreter) + Sync,
) {
    let within = |python: &&Interpreter| versions.contains(&python.version.minor_pair());
    at_once(name, interpreters().iter().filter(within).collect(), case);
}

/// Runs `case` on these interpreters, all at once.
///
/// # Panics
/// If it fails on any.
pub fn at_once(name: &str, chosen: Vec<&Interpreter>, case: impl Fn(&Interpreter) + Sync) {
    if is_empty(name, &chosen) {
        return;
    }
    let case = &case;
    let outcomes = thread::scope(|scope| {
        let runs: Vec<_> = chosen
            .into_iter()
            .map(|python| scope.spawn(move || outcome(python, case)))
            .collect();
        let results = runs.into_iter().map(|run| run.join());
        results
            .map(|run| run.expect("a panic is an outcome"))
            .collect()
    });
    finish(name, outcomes);
}

pub(super) fn outcome<'a>(python: &'a Interpreter, case: impl Fn(&Interpreter)) -> Outcome<'a> {
    let result = catch_unwind(AssertUnwindSafe(|| case(python)));
    (python, result.map_err(|panic| message_of(&*panic)))
}

/// What a panic says.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

/// An interpreter, and the message if the case failed on it.
pub(super) type Outcome<'a> = (&'a Interpreter, Result<(), String>);

/// Says on which interpreters a case ran, and fails if it failed on any, with the messages: a log of many
/// tests may be cut in the middle.
pub(super) fn finish(name: &str, outcomes: Vec<Outcome>) {
    let label = |(python, result): &Outcome| {
        let mark = if result.is_ok() { "" } else { "!" };
        format!(" {}{mark}", python.label())
    };
    let line: String = outcomes.iter().map(label).collect();
    println!("case {name} ran on{line}");
    record(name, &line);
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(python, result)| Some(format!("{python}: {}", result.as_ref().err()?)))
        .collect();
    assert!(
        failed.is_empty(),
        "case {name} failed on {}",
        failed.join("\nand on ")
    );
}

/// Leaves the versions in a file per case, from which a table can be made.
fn record(name: &str, line: &str) {
    let folder = lasting_folder().join("cases");
    // It serves people and no test; one that cannot be written fails nothing.
    let _ = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(name), format!("{}\n", line.trim_start())));
}
