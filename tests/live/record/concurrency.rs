//! Concurrency models: greenlets, coroutines under load, interpreters with GILs of their own, a thousand
//! threads. The stacks are those of what runs, whole, and nothing is an error.

use std::fs;

use crate::support::chains::assert_possible;
use crate::support::{
    Dump, Interpreter, Pool, Recording, Stack, Target, for_each_interpreter, for_each_kind,
    samples, wait_until,
};
use serde_json::Value;

/// gevent and its greenlet, the newest that have wheels for the version.
pub fn gevent(python: &Interpreter) -> [&'static str; 2] {
    match python.version.minor_pair() {
        (2, _) => ["gevent==22.10.2", "greenlet==2.0.2"],
        (3, ..=6) => ["gevent==1.4.0", "greenlet==1.1.3.post0"],
        (3, 7) => ["gevent==22.10.2", "greenlet==2.0.2"],
        (3, 8) => ["gevent==24.2.1", "greenlet==3.1.1"],
        (3, 9) => ["gevent==24.11.1", "greenlet==3.1.1"],
        _ => ["gevent==26.9.0", "greenlet==3.5.6"],
    }
}

/// A fixture with packages on its path; `None`, which is said, where those cannot be had.
pub fn start_with(
    python: &Interpreter,
    packages: &[&str],
    fixture: &str,
    arguments: &[&str],
) -> Option<Target> {
    let folder = python.packages(packages)?;
    let fixture = python.fixture(fixture).into_os_string();
    let words = std::iter::once(fixture).chain(arguments.iter().map(Into::into));
    let mut command = python.command(&words.collect::<Vec<_>>());
    command.env("PYTHONPATH", folder);
    Some(Target::start_command(command))
}

/// Records until there are enough samples, which a crowded machine does not give in one run. None of
/// them may be an error; there, a thread may have no CPU for as long as it is tried again, in the middle of
/// what cannot be read. Of few samples one or two are chance, so near the limit more are taken.
fn record(target: &Target, rate: &str, options: &[&str], enough: u64) -> Vec<Stack> {
    let mut all = vec!["-f", "raw", "-F", "-r", rate, "-d", "0.5"];
    all.extend(options);
    let pool = Pool::until(
        || Recording::of_pid(target.pid(), &all),
        |pool| pool.samples() >= enough && pool.errors * 100 <= pool.samples(),
    );
    pool.stacks
}

/// Waits until the main thread is inside of one of these system calls.
fn wait_for_call(target: &Target, calls: &[&str]) {
    wait_until("the main thread waits", || {
        let call = fs::read_to_string(format!("/proc/{}/syscall", target.pid()));
        let call = call.unwrap_or_default();
        calls.contains(&call.split(' ').next().unwrap_or_default())
    });
}

const READ: &[&str] = &["0"];
/// `epoll_wait` and `epoll_pwait`.
const EPOLL: &[&str] = &["232", "281"];

/// The main thread's frames are those that the program reported: name, file, line and first line.
fn assert_reported(target: &Target, dump: &Dump) {
    assert!(dump.errors.is_empty(), "{:?}", dump.errors);
    let main = dump.threads.iter().find(|thread| thread.main).unwrap();
    let seen: Vec<Value> = main
        .frames
        .iter()
        .map(|frame| (&*frame.name, &*frame.filename, frame.line, frame.first_line))
        .map(|frame| serde_json::to_value(frame).unwrap())
        .collect();
    assert_eq!(target.ready["frames"], Value::from(seen));
}

#[test]
fn a_greenlet_that_blocks() {
    for_each_interpreter("greenlet-blocks", .., |python| {
        let target = start_with(python, &gevent(python), "greenlets.py", &["block"]);
        let Some(target) = target else { return };
        wait_for_call(&target, READ);
        assert_reported(&target, &target.dump(&[]));
    });
}

#[test]
fn the_hub_waits_for_all_greenlets() {
    for_each_kind("greenlet-hub", |python| {
        let target = start_with(python, &gevent(python), "greenlets.py", &["wait"]);
        let Some(target) = target else { return };
        wait_for_call(&target, EPOLL);
        assert_reported(&target, &target.dump(&[]));
        let stacks = record(&target, "2000", &["--idle"], 100);
        assert_possible(&stacks, |functions| {
            matches!(functions, ["run" | "Hub.run"]) || functions[0].ends_with("wait")
        });
        // A hub that waits does not run.
        let busy = Recording::of_pid(target.pid(), &["-f", "raw", "-d", "0.2"]);
        assert_eq!((busy.errors(), samples(&busy.stacks())), (0, 0));
    });
}

/// Frames are unlinked for a moment at each switch: 5 in 100 samples were given up as torn.
#[test]
fn greenlets_that_switch_as_fast_as_they_can() {
    for_each_kind("greenlet-switch", |python| {
        let target = start_with(python, &gevent(python), "greenlets.py", &["switch"]);
        let Some(target) = target else { return };
        let stacks = record(&target, "2000", &[], 500);
        // All of the chain, since they never return.
        let left = ["left_1", "left_2", "left_3"];
        let right = ["right_1", "right_2", "right_3"];
        assert_possible(&stacks, |seen| {
            seen.starts_with(&left) || seen.starts_with(&right)
        });
        for chain in [left, right] {
            let starts = |stack: &&Stack| stack.functions().starts_with(&chain);
            let own = samples(stacks.iter().filter(starts));
            assert!(own * 4 > samples(&stacks), "{own} of {chain:?}");
        }
    });
}

#[test]
fn greenlets_that_compute() {
    for_each_kind("greenlet-compute", |python| {
        let target = start_with(python, &gevent(python), "greenlets.py", &["burn"]);
        let Some(target) = target else { return };
        let stacks = record(&target, "2000", &[], 500);
        // Nothing is below a greenlet's function, or the hub's; in the hub C calls what is next.
        assert_possible(&stacks, |functions| {
            let leads = [
                "left_computes",
                "right_computes",
                "naps",
                "say_ready",
                "run",
                "Hub.run",
            ];
            leads.contains(&functions[0])
                && match functions {
                    [_] => true,
                    ["left_computes" | "right_computes", "compute"] => true,
                    [_, rest @ ..] => !rest.iter().any(|name| name.ends_with("computes")),
                    [] => false,
                }
        });
        let of = |name: &str| {
            let is = |stack: &&Stack| stack.functions() == [name, "compute"];
            samples(stacks.iter().filter(is))
        };
        for side in ["left_computes", "right_computes"] {
            assert!(of(side) * 10 > samples(&stacks), "{side}: {}", of(side));
        }
    });
}

/// Whether a stack of asyncio_load.py has its coroutines in order: below the loop's frames a beginning of
/// one chain, and at its end possibly what the leaf coroutine calls.
fn is_chain(functions: &[&str]) -> bool {
    let Some(start) = functions.iter().position(|name| *name == "serve") else {
        return !functions
            .iter()
            .any(|name| name.starts_with("left") || name.starts_with("right"));
    };
    let below = &functions[start + 1..];
    let ours = |name: &&&str| name.starts_with("left_") || name.starts_with("right_");
    ["left", "right"].iter().any(|side| {
        let chain = ["handler", "service", "query", "rows"].map(|name| format!("{side}_{name}"));
        let depth = below.iter().take_while(ours).count();
        depth <= chain.len()
            && below.iter().zip(&chain).take(depth).all(|(seen, name)| seen == name)
            && below[depth..].iter().filter(ours).count() == 0
            // `compute` is called by the last two alone.
            && (depth >= 3 || !below.contains(&"compute"))
    })
}

#[test]
fn coroutines_under_load() {
    for_each_kind("asyncio-load", |python| {
        if python.version.minor_pair() < (3, 6) {
            return;
        }
        let target = Target::start(python, "asyncio_load.py", &[]);
        let stacks = record(&target, "2000", &[], 500);
        assert_possible(&stacks, |functions| {
            functions.len() >= 2 && functions[0] == "<module>" && is_chain(functions)
        });
        let whole = |stack: &&Stack| stack.functions().ends_with(&["right_rows", "compute"]);
        let whole = samples(stacks.iter().filter(whole));
        assert!(whole * 50 > samples(&stacks), "{whole}");
    });
}

#[test]
fn coroutines_under_load_in_uvloop() {
    for_each_kind("uvloop-load", |python| {
        let version = match python.version.minor_pair() {
            (2, _) | (3, ..=11) => return,
            (3, 12 | 13) => "uvloop==0.22.1",
            _ => "uvloop==0.23.0",
        };
        let target = start_with(python, &[version], "asyncio_load.py", &["uvloop"]);
        let Some(target) = target else { return };
        // The loop itself is C.
        assert_possible(&record(&target, "2000", &[], 500), |functions| {
            functions[0] == "<module>" && is_chain(functions)
        });
    });
}

/// By thread: which interpreter it is busy in, and its kernel id.
fn busy_threads(target: &Target, dump: &Dump) -> Vec<(i64, u64)> {
    let ids = target.ready["ids"].as_object().unwrap();
    let busy = ids.iter().map(|(name, id)| {
        let thread = dump.thread(name);
        let id = id.as_i64().unwrap();
        assert_eq!(thread.interpreter_ids, [id, 0], "{thread:#?}");
        let names: Vec<_> = thread.frames.iter().map(|frame| &*frame.name).collect();
        assert!(
            names.starts_with(&["inner", "outer", "<module>"]),
            "{names:?}"
        );
        assert!(names.ends_with(&["Thread._bootstrap"]) || names.ends_with(&["_bootstrap"]));
        (id, thread.os_thread_id.unwrap())
    });
    busy.collect()
}

/// `[id, gil, gil_holder]` of each interpreter of a dump.
fn gils(dump: &Dump) -> Vec<[Option<i64>; 3]> {
    let all = dump.json["interpreters"].as_array().unwrap();
    let keys = ["id", "gil", "gil_holder"];
    all.iter()
        .map(|one| keys.map(|key| one[key].as_i64()))
        .collect()
}

#[test]
fn interpreters_with_gils_of_their_own() {
    for_each_interpreter("own-gils", (3, 12).., |python| {
        let target = Target::start(python, "interpreters.py", &["own", "3"]);
        // One that was just woken may have to wait for its CPU before it has its GIL again.
        wait_until("all are busy at once", || {
            let dump = target.dump(&[]);
            let busy = busy_threads(&target, &dump);
            let mut expected = vec![[Some(0), Some(0), None]];
            expected.extend(
                busy.iter()
                    .map(|&(id, tid)| [Some(id), Some(id), Some(i64::try_from(tid).unwrap())]),
            );
            let spare = target.ready["spare"].as_i64();
            expected.push([spare, spare, None]);
            dump.threads.iter().filter(|thread| thread.active).count() == 3
                && gils(&dump) == expected
        });
        let stacks = record(&target, "2000", &["--gil"], 300);
        let inner = |stack: &&Stack| stack.functions().ends_with(&["<module>", "outer", "inner"]);
        assert!(stacks.iter().all(|stack| inner(&stack)), "{stacks:#?}");
    });
}

#[test]
fn interpreters_that_share_a_gil() {
    for_each_kind("shared-gil", |python| {
        if python.version.minor_pair() < (3, 8) {
            return;
        }
        let target = Target::start(python, "interpreters.py", &["shared", "3"]);
        let mut holders = Vec::new();
        wait_until("a second one has had the GIL", || {
            let dump = target.dump(&[]);
            let busy = busy_threads(&target, &dump);
            let gils = gils(&dump);
            assert_eq!(gils.len(), 5, "{gils:?}");
            assert!(gils.iter().all(|gil| gil[1] == Some(0)), "{gils:?}");
            let holds = dump.threads.iter().filter(|thread| thread.owns_gil);
            let holds: Vec<_> = holds.map(|thread| thread.os_thread_id.unwrap()).collect();
            assert!(holds.len() <= 1, "{holds:?}");
            if let [tid] = holds[..] {
                assert!(busy.iter().any(|(_, busy)| *busy == tid));
                assert!(
                    gils.iter().all(|gil| gil[2] == i64::try_from(tid).ok()),
                    "{gils:?}"
                );
                holders.push(tid);
            }
            holders.iter().any(|tid| *tid != holders[0])
        });
        record(&target, "2000", &[], 300);
    });
}

#[test]
fn a_thousand_threads() {
    for_each_kind("1000-threads", |python| {
        let target = Target::start(python, "many_threads.py", &["1000"]);
        let dump = target.dump(&[]);
        assert!(dump.errors.is_empty(), "{:?}", dump.errors);
        assert_eq!(dump.threads.len(), 1001);
        for number in (0..1000).filter(|_| dump.version_at_least(3, 6)) {
            let thread = dump.thread(&format!("worker-{number}"));
            let names: Vec<_> = thread.frames.iter().map(|frame| &*frame.name).collect();
            assert_eq!(names[..2], ["waits", "outer"]);
            assert!(!thread.active && !thread.owns_gil, "{thread:#?}");
        }
        let mut tids: Vec<_> = dump
            .threads
            .iter()
            .map(|thread| thread.os_thread_id)
            .collect();
        tids.sort_unstable();
        tids.dedup();
        assert_eq!(tids.len(), 1001);
        let options = ["-f", "raw", "-F", "-r", "100", "-d", "0.5", "--idle"];
        let pool = Recording::at_least(2_002, || Recording::of_pid(target.pid(), &options));
        let stacks = pool.stacks;
        let of = |leaf: &str| {
            let has = |stack: &&Stack| stack.functions().ends_with(&[leaf]);
            samples(stacks.iter().filter(has))
        };
        // Each tick samples each of them; on a crowded machine one may be over after 250 ms, which is an error.
        assert!(pool.errors > 0 || of("waits") == 1000 * of("main_waits"));
        assert_eq!(of("waits") + of("main_waits"), samples(&stacks));
    });
}
