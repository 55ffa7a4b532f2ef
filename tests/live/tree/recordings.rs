//! Trees of processes as programs in production make them: `-s` shows each Python below its parents.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{Dump, Interpreter, Recording, Stack, Target, bench, for_each_kind, pyspy_rs};

/// How often a recording is repeated until every process has been seen at work: on a crowded machine one
/// may get no CPU for long.
const ATTEMPTS: usize = 30;
/// What records a tree for a moment.
const BRIEFLY: [&str; 7] = ["-s", "-f", "raw", "-F", "-d", "0.5", "-r"];

/// The pids of a stack's process frames, root first.
fn pids(stack: &Stack) -> Vec<u64> {
    let frames = stack.frames.iter();
    let labels = frames.map_while(|frame| frame.strip_prefix("process "));
    let pids = labels.map(|label| label.split(':').next().unwrap().parse().unwrap());
    pids.collect()
}

/// Whether a stack has a frame of this function.
fn has(stack: &Stack, function: &str) -> bool {
    stack.functions().contains(&function)
}

/// The processes that were seen in a function, each with its ancestors.
fn seen_in(recording: &Recording, function: &str) -> HashSet<Vec<u64>> {
    let stacks = recording.stacks().into_iter();
    let chains = stacks
        .filter(|stack| has(stack, function))
        .map(|stack| pids(&stack));
    chains.collect()
}

/// Records the tree until all these processes were seen in the function; no sample may be an error.
fn record_until_seen(target: &Target, workers: &[u64], function: &str) -> HashSet<Vec<u64>> {
    let mut seen = HashSet::new();
    for _ in 0..ATTEMPTS {
        let options = [&BRIEFLY[..], &["100"]].concat();
        let recording = Recording::of_pid(target.pid(), &options);
        recording.assert_no_error();
        seen.extend(seen_in(&recording, function));
        let is_seen = |worker: &u64| seen.iter().any(|chain| chain.last() == Some(worker));
        if workers.iter().all(is_seen) {
            return seen;
        }
    }
    panic!("not all of {workers:?} in {function}: {seen:?}");
}

fn workers(target: &Target) -> Vec<u64> {
    let workers = target.ready["workers"].as_array().unwrap().iter();
    workers.map(|pid| pid.as_u64().unwrap()).collect()
}

fn check_pool(python: &Interpreter, kind: &str) {
    let target = Target::start(python, "pools.py", &[kind]);
    let (root, workers) = (u64::from(target.pid()), workers(&target));
    let seen = record_until_seen(&target, &workers, "turn");
    for chain in &seen {
        assert_eq!(chain[0], root, "{chain:?}");
        // The fork server is in between; from 3.14 on it is the default.
        let is_served =
            kind == "forkserver" || kind == "futures" && python.version.minor_pair() >= (3, 14);
        let depth = if is_served { 3 } else { 2 };
        assert_eq!(chain.len(), depth, "{chain:?}");
    }
    let dumps =
        Dump::run_all(pyspy_rs().args(["dump", "--format=json", "-s", "--pid", &root.to_string()]));
    let dumped: HashSet<u64> = dumps.iter().map(|dump| dump.pid).collect();
    assert_eq!(dumps[0].pid, root);
    assert!(
        workers.iter().all(|worker| dumped.contains(worker)),
        "{dumped:?}"
    );
}

#[test]
fn pools_have_their_workers_below_them() {
    for_each_kind("pools", |python| {
        let kinds: &[&str] = match python.version.minor_pair() {
            (2, _) => &["fork"],
            _ => &["fork", "spawn", "forkserver", "futures"],
        };
        // All at once: most of the time is waiting.
        thread::scope(|scope| {
            for kind in kinds {
                scope.spawn(|| check_pool(python, kind));
            }
        });
    });
}

#[test]
fn workers_of_a_prefork_parent_come_and_go() {
    for_each_kind("prefork", |python| {
        let target = Target::start(python, "pools.py", &["prefork"]);
        let root = u64::from(target.pid());
        let first: HashSet<u64> = workers(&target).into_iter().collect();
        let mut later: HashSet<u64> = HashSet::new();
        for _ in 0..ATTEMPTS {
            let mut options = BRIEFLY.to_vec();
            options.push("200");
            let recording = Recording::of_pid(target.pid(), &options);
            recording.assert_readable();
            for chain in seen_in(&recording, "turn") {
                assert_eq!((chain[0], chain.len()), (root, 2), "{chain:?}");
                later.extend(chain.last().filter(|pid| !first.contains(*pid)));
            }
            if later.len() >= 4 {
                return;
            }
        }
        panic!("no successors of {first:?} but {later:?}");
    });
}

#[test]
fn children_of_a_fiftieth_of_a_second_are_no_errors() {
    for_each_kind("short-lived", |python| {
        let options = ["-s", "-f", "raw", "-F", "-r", "500"];
        let recording = Recording::launch(python, &["later_children.py", "50"], &options);
        recording.assert_readable();
    });
}

/// Sends requests until `stop` is set.
fn ask(port: u64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A worker that is just taking another's place refuses; so be it.
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())) else {
            continue;
        };
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

fn check_gunicorn(python: &Interpreter, worker_class: &str) {
    let requirement = match python.version.minor_pair() {
        (2, _) => "gunicorn==19.10.0",
        _ => "gunicorn==23.0.0",
    };
    let Some(packages) = python.packages(&[requirement]) else {
        return;
    };
    let packages = packages.to_str().unwrap();
    let target = Target::start(python, "web_app.py", &[packages, worker_class]);
    let worker = |line: String| -> u64 { line.strip_prefix("worker ").unwrap().parse().unwrap() };
    let workers: Vec<u64> = (0..4).map(|_| worker(target.next_line())).collect();
    let (port, stop) = (
        target.ready["port"].as_u64().unwrap(),
        AtomicBool::new(false),
    );
    let seen = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(port, &stop));
        }
        let _stop = StopOnDrop(&stop);
        record_until_seen(&target, &workers, "handle")
    });
    let root = u64::from(target.pid());
    let expected: HashSet<Vec<u64>> = workers.iter().map(|worker| vec![root, *worker]).collect();
    assert_eq!(seen, expected);
    drop(target);
}

/// Ends the requests when a check fails, too.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn gunicorn_has_four_workers() {
    for_each_kind("gunicorn", |python| {
        // On 2.7 its threads need a package more.
        let classes: &[&str] = match python.version.minor_pair() {
            (2, _) => &["sync"],
            _ => &["sync", "gthread"],
        };
        thread::scope(|scope| {
            for class in classes {
                scope.spawn(|| check_gunicorn(python, class));
            }
        });
    });
}

/// `sh -c SCRIPT sh WORDS...`
fn shell(script: &str, words: &[OsString]) -> Vec<OsString> {
    let mut shell: Vec<OsString> = ["--", "sh", "-c", script, "sh"].map(OsString::from).into();
    shell.extend_from_slice(words);
    shell
}

fn record(options: &[&str], target: &[OsString]) -> (Output, Option<Recording>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let output = Recording::command(&path, options, target).output().unwrap();
    let recording = path.exists().then(|| Recording::finished(&path, &output));
    (output, recording)
}

#[test]
fn a_shell_script_that_starts_python() {
    for_each_kind("shell-script", |python| {
        let words = python.words(&[python.fixture("replaces_itself.py")]);
        let script = "sleep 0.1; \"$@\"; sleep 0.1; \"$@\"; true";
        let options = ["-s", "-f", "raw", "-F", "-r", "200"];
        // Each runs for a fifth of a second, in which a crowded machine may give us no CPU: then there is a
        // recording of one, or none. What is named while its interpreter ends may be freed already, an error that is
        // not in every recording.
        let has_both = |recording: &Recording| {
            seen_in(recording, "step_0").len() == 2 && recording.errors() == 0
        };
        let mut said = String::new();
        let recording = (0..30).find_map(|_| {
            let (output, recording) = record(&options, &shell(script, &words));
            said = format!("{}: {output:?}", output.status);
            recording.filter(has_both)
        });
        let recording = recording.expect(&said);
        let seen = seen_in(&recording, "step_0");
        let roots: HashSet<u64> = seen.iter().map(|chain| chain[0]).collect();
        assert_eq!(roots.len(), 1, "below one shell: {seen:?}");
        assert!(seen.iter().all(|chain| chain.len() == 2), "{seen:?}");
        recording.assert_no_error();

        // Without -s it is said what is missing, while the script runs and when it has ended. Python runs for a
        // fifth of a second here, too: on a crowded machine it may be gone before we have searched for it.
        let hint = "hint: add -s (--subprocesses)";
        let is_told = (0..30).any(|_| {
            let (output, recording) = record(&["-f", "raw"], &shell("\"$@\"; true", &words));
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                recording.is_none() && output.status.code() == Some(1),
                "{said}"
            );
            said.contains(hint)
        });
        assert!(is_told, "{said}");
    });
}

#[test]
fn a_shell_that_runs_python_by_its_pid() {
    let python = bench::python();
    let words = python.words(&[python.fixture("pools.py"), "fork".into()]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "\"$@\"; true", "sh"]).args(&words);
    let target = Target::start_command(command);
    let pid = target.pid().to_string();
    let shell = u64::from(target.pid());
    let seen = record_until_seen(&target, &workers(&target), "turn");
    assert!(
        seen.iter()
            .all(|chain| chain[0] == shell && chain.len() == 3),
        "{seen:?}"
    );
    // What is no Python has no stacks to print, those below it have.
    let dumps = Dump::run_all(pyspy_rs().args(["dump", "--format=json", "-s", "--pid", &pid]));
    assert!(
        dumps.len() >= 4 && dumps.iter().all(|dump| dump.pid != shell),
        "{dumps:#?}"
    );
    assert_eq!(dumps[0].json["parent_pid"], shell);
    let refused = pyspy_rs().args(["dump", "--pid", &pid]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
}

/// A daemon forks twice, and its parents end at once: it was lost in 7 of 7 recordings.
#[test]
fn a_daemon_that_forks_twice_is_followed() {
    for_each_kind("daemon", |python| {
        // It serves until this folder is gone.
        let place = python.new_place("serves");
        let daemon = python.words(&[python.fixture("daemon.py"), place.seen.clone()]);
        let shell = ["sh", "-c", r#""$0" "$@" &"#].map(OsString::from);
        for program in [daemon.clone(), [&shell[..], &daemon].concat()] {
            let options = ["-s", "-f", "raw", "-F", "-d", "1"];
            let record = || Recording::of_program(&program, &options);
            Recording::until(record, |recording| {
                let stacks = recording.stacks();
                stacks.iter().any(|stack| has(stack, "compute"))
            });
        }
    });
}
