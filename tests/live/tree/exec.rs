//! A process that replaces its program by another one is followed: no error, no sample of what was.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::support::{
    Dump, Interpreter, Recording, Sampling, Target, bench, for_each_kind, interpreters, pyspy_rs,
    wait_until,
};

/// Its own path as it sees it itself.
fn path(python: &Interpreter) -> String {
    python.executable.to_str().expect("text").to_owned()
}

/// What one program after the other executes: each native Python's next is of another version; what lives
/// under a root of its own has only itself. `script` is a console script that goes on with the next.
fn chain(python: &Interpreter, script: &str) -> Vec<String> {
    let others = interpreters().iter();
    let mut others = others.filter(|other| other.root.is_none() && other.label() != python.label());
    let (first, last) = (others.next().map(path), others.next_back().map(path));
    let own = || path(python);
    let (first, last) = match &python.root {
        None => (first.unwrap_or_else(own), last.unwrap_or_else(own)),
        Some(_) => (own(), own()),
    };
    vec![first, format!("script:{script}"), own(), last]
}

/// Records until each step was seen: they take a fifth of a second, in which a crowded machine may give us
/// no CPU. None may be an error.
fn with_all_steps(steps: usize, record: impl Fn() -> Recording) -> Recording {
    let record = || {
        let recording = record();
        recording.assert_no_error();
        recording
    };
    Recording::until(record, |recording| {
        let mut all = 0..=steps;
        all.all(|step| recording.samples_with(&format!("step_{step} (")).0 > 0)
    })
}

#[test]
fn a_launched_program_is_followed_from_python_to_python() {
    for_each_kind("exec-launched", |python| {
        let place = python.new_place("bin");
        let steps = chain(python, place.seen.join("entry-point").to_str().unwrap());
        let mut words = vec!["replaces_itself.py"];
        words.extend(steps.iter().map(String::as_str));
        with_all_steps(steps.len(), || {
            Recording::launch(python, &words, &["-f", "raw", "-F", "-r", "200"])
        });
    });
}

#[test]
fn a_process_by_its_pid_is_followed_whatever_the_rate() {
    for_each_kind("exec-pid", |python| {
        let place = python.new_place("bin");
        let mut steps = chain(python, place.seen.join("entry-point").to_str().unwrap());
        steps.insert(0, "wait".to_owned());
        let words: Vec<&str> = steps.iter().map(String::as_str).collect();
        // The first step was over before it was sampled.
        with_all_steps(steps.len() - 2, || {
            let mut target = Target::start(python, "replaces_itself.py", &words);
            // Flat out, a thousand samples fall into one exec.
            let options = ["-f", "raw", "-F", "-r", "5000", "-i"];
            let sampling = Sampling::start(target.pid(), &options);
            target.say("go");
            let recording = sampling.wait();
            assert_eq!(recording.summary["ended_by"], "program", "{recording:#?}");
            recording
        });
    });
}

#[test]
fn a_child_is_followed_below_its_parent() {
    for_each_kind("exec-child", |python| {
        let place = python.new_place("bin");
        let steps = chain(python, place.seen.join("entry-point").to_str().unwrap());
        // The shell has something to do afterwards, or it would replace itself with Python.
        let mut words: Vec<OsString> = ["--", "sh", "-c", "\"$@\"; true", "sh"]
            .map(OsString::from)
            .into();
        let mut program = vec![python.fixture("replaces_itself.py").into_os_string()];
        program.extend(steps.iter().map(OsString::from));
        words.extend(python.words(&program));
        let record = || run(&["-s", "-f", "raw", "-F", "-r", "200"], &words);
        let recording = with_all_steps(steps.len(), record);
        // Each program has a frame of its own, below that of the shell.
        for stack in recording.stacks() {
            let frames = &stack.frames;
            assert!(
                frames[0].starts_with("process ") && frames[0].contains("sh -c"),
                "{frames:?}"
            );
            assert!(frames[1].starts_with("process "), "{frames:?}");
            assert!(!frames[2].starts_with("process "), "{frames:?}");
        }
        let commands = |step: &str| -> Vec<String> {
            let stacks = recording.stacks().into_iter();
            let with =
                stacks.filter(|stack| stack.frames.iter().any(|frame| frame.starts_with(step)));
            let mut commands: Vec<String> = with.map(|stack| stack.frames[1].clone()).collect();
            commands.dedup();
            commands
        };
        let [first, last] = [commands("step_4 ("), commands("step_0 (")];
        assert_eq!((first.len(), last.len()), (1, 1), "{recording:#?}");
        assert_ne!(first, last);
        assert_eq!(
            first[0].split(':').next(),
            last[0].split(':').next(),
            "the same process"
        );
    });
}

#[test]
fn what_is_no_python_is_reported_and_waited_for() {
    let python = bench::python();
    let place = python.new_place("bin");
    let script = place.host.join("between.sh");
    let text = format!(
        "read line\nexec {} {}\n",
        path(python),
        python.fixture("replaces_itself.py").display()
    );
    fs::write(&script, text).unwrap();
    let shell = format!("sh {}", script.display());
    let mut target = Target::start(python, "replaces_itself.py", &["wait", &shell]);
    let pid = target.pid();
    let mut sampling = Sampling::start(pid, &["-f", "raw", "-F", "-r", "200", "-i"]);
    target.say("go");
    sampling.wait_until_said("which is no Python");
    target.say("and again");
    let recording = sampling.wait();
    let (after, _) = recording.samples_with("step_0 (");
    assert!(after > 0, "{recording:#?}");
    recording.assert_no_error();
    let mut said = recording.stderr.lines();
    let told = said
        .find(|line| line.contains("which is no Python"))
        .unwrap();
    assert!(
        told.starts_with(&format!("Process {pid} runs '/")),
        "{told}"
    );
    assert!(
        told.ends_with("waiting until it runs one again, or ends"),
        "{told}"
    );
    let again = format!("Process {pid} runs Python {} again", python.version);
    assert!(said.any(|line| line == again), "{recording:#?}");
}

#[test]
fn a_recording_ends_with_what_is_no_python() {
    let python = bench::python();
    let record = || {
        let mut target = Target::start(python, "replaces_itself.py", &["wait", "sleep 0.3"]);
        let sampling = Sampling::start(target.pid(), &["-f", "raw", "-F", "-r", "200", "-i"]);
        target.say("go");
        let recording = sampling.wait();
        recording.assert_no_error();
        assert_eq!(recording.summary["ended_by"], "program", "{recording:#?}");
        recording
    };
    Recording::until(record, |recording| recording.samples_with("main (").0 > 0);
    // The program's own status, and a file, as if it had been Python to its end.
    let words = ["--".into(), path(python).into()].into_iter();
    let program: [PathBuf; 1] = [python.fixture("replaces_itself.py")];
    let words: Vec<OsString> = words
        .chain(program.map(PathBuf::into_os_string))
        .chain([OsString::from("sleep 0.2")])
        .collect();
    let record = || run(&["-f", "raw", "-F", "-r", "200"], &words);
    Recording::until(record, |recording| recording.samples_with("step_1 (").0 > 0);
}

#[test]
fn dumps_and_recordings_of_a_process_that_executes_all_the_time() {
    for_each_kind("execs-forever", |python| {
        let target = Target::start(python, "execs_forever.py", &[]);
        let pid = target.pid();
        for _ in 0..5 {
            let mut command = pyspy_rs();
            let dump =
                Dump::run(command.args(["dump", "--format=json", "--pid", &pid.to_string()]));
            assert_eq!(dump.pid, u64::from(pid));
            assert!(!dump.threads.is_empty(), "{dump:#?}");
        }
        let sampling = Sampling::start(pid, &["-f", "raw", "-F", "-r", "1000"]);
        // Five programs, however long that takes.
        let mut stacks = HashSet::new();
        wait_until("it executes", || {
            // Where its stack is, which each execution changes (field 28 of proc_pid_stat(5)).
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stacks.insert(stat.split_whitespace().nth(27).map(str::to_owned));
            stacks.len() > 5
        });
        let recording = sampling.stop();
        recording.assert_no_error();
        assert!(recording.samples_with("leaf (").0 > 0, "{recording:#?}");
    });
}

fn run(options: &[&str], target: &[OsString]) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let output: Output = Recording::command(&path, options, target).output().unwrap();
    Recording::finished(&path, &output)
}
