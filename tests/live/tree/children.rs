//! Processes and their children: each Python once, the others never in the way.

use std::process::Stdio;

use crate::support::{
    Dump, Recording, Stack, Target, for_each_interpreter, for_each_kind, pyspy_rs,
};

/// A child's pid, as children.py reports it.
fn child(target: &Target, kind: &str) -> u64 {
    target.ready["children"][kind].as_u64().expect("a pid")
}

#[test]
fn a_dump_has_every_python_process_once() {
    for_each_interpreter("dump-children", .., |python| {
        let target = Target::start(python, "children.py", &[]);
        let [fork, other_python, other] =
            ["fork", "python", "other"].map(|kind| child(&target, kind));
        let pid = target.pid().to_string();
        let mut command = pyspy_rs();
        let dumps = Dump::run_all(command.args(["dump", "--format=json", "-s", "--pid", &pid]));
        let mut pids: Vec<_> = dumps.iter().map(|dump| dump.pid).collect();
        assert_eq!(pids[0], u64::from(target.pid()), "the parent is first");
        pids.sort_unstable();
        let mut expected = [u64::from(target.pid()), fork, other_python];
        expected.sort_unstable();
        assert_eq!(pids, expected);

        dumps[0].assert_matches(&target.truth());
        let of = |pid| dumps.iter().find(|dump| dump.pid == pid).unwrap();
        let main = |pid| of(pid).threads.iter().find(|thread| thread.main).unwrap();
        let names = |pid| -> Vec<_> {
            let frames = main(pid).frames.iter();
            frames.map(|frame| frame.name.clone()).collect()
        };
        assert_eq!(names(fork), ["child_leaf", "forked", "<module>"]);
        assert_eq!(names(other_python)[..], ["child", "<module>"]);
        for child in [fork, other_python] {
            assert_eq!(of(child).threads.len(), 1, "{:#?}", of(child));
            assert_eq!(of(child).json["parent_pid"], u64::from(target.pid()));
        }

        // The text has no word of the shell, and nothing went wrong.
        let text = pyspy_rs()
            .args(["dump", "-s", "--pid", &pid])
            .output()
            .unwrap();
        assert!(text.status.success());
        assert_eq!(String::from_utf8_lossy(&text.stderr), "");
        let text = String::from_utf8(text.stdout).unwrap();
        let headers = text.lines().filter(|line| line.starts_with("Process "));
        assert_eq!(headers.count(), 3, "{text}");
        assert!(!text.contains(&format!("Process {other}:")), "{text}");
        let parent = format!("Parent Process {pid}: ");
        assert_eq!(text.matches(&parent).count(), 2, "{text}");

        // Without -s, only the one.
        assert_eq!(target.dump(&[]).pid, u64::from(target.pid()));
    });
}

#[test]
fn a_recording_has_a_frame_for_each_process() {
    for_each_interpreter("record-children", .., |python| {
        let target = Target::start(python, "children.py", &[]);
        let pid = target.pid();
        let options = ["-s", "-i", "-f", "raw", "-F", "-r", "200", "-d", "0.5"];
        let starts = |stack: &Stack, pids: &[u64], leaf: &str| {
            let mut frames = stack.frames.iter().zip(pids);
            frames.all(|(frame, pid)| frame.starts_with(&format!("process {pid}:\"")))
                && !stack.frames[pids.len()].starts_with("process ")
                && stack.frames.last().unwrap().starts_with(leaf)
        };
        let parent = u64::from(pid);
        let expected = [
            (&[parent][..], "leaf ("),
            (&[parent, child(&target, "fork")], "child_leaf ("),
            (&[parent, child(&target, "python")], "child (<string>:"),
        ];
        let count = |stacks: &[Stack], (pids, leaf): (&[u64], &str)| {
            let found = stacks.iter().filter(|stack| starts(stack, pids, leaf));
            found.count()
        };
        let recording = Recording::until(
            || Recording::of_pid(pid, &options),
            |recording| {
                let stacks = recording.stacks();
                expected.iter().all(|one| count(&stacks, *one) > 0)
            },
        );
        let stacks = recording.stacks();
        for one in expected {
            assert_eq!(count(&stacks, one), 1, "{one:?} in {stacks:#?}");
        }
        assert!(
            stacks
                .iter()
                .all(|stack| stack.frames[0].starts_with(&format!("process {pid}:")))
        );
    });
}

#[test]
fn children_that_come_later_are_found() {
    for_each_interpreter("later-children", .., |python| {
        let options = ["-s", "-f", "raw", "-F", "-r", "200"];
        let recording = Recording::launch(python, &["later_children.py"], &options);
        let chain = |leaf: &str| {
            let stacks = recording.stacks();
            let found = stacks.into_iter().find(|stack| {
                stack
                    .frames
                    .last()
                    .is_some_and(|frame| frame.starts_with(leaf))
            });
            let frames = found
                .unwrap_or_else(|| panic!("no {leaf} in {recording:#?}"))
                .frames;
            let of_process = |frame: &String| frame.starts_with("process ");
            frames.into_iter().filter(of_process).collect::<Vec<_>>()
        };
        let pids = |leaf: &str| -> Vec<u64> {
            let pid = |frame: &String| {
                frame["process ".len()..]
                    .split(':')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            };
            chain(leaf).iter().map(pid).collect()
        };
        let said = |key: &str| -> u64 {
            let line = recording
                .stdout
                .lines()
                .find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in {recording:#?}"))
                .trim()
                .parse()
                .unwrap()
        };
        let parent = said("parent");
        assert_eq!(pids("forked"), [parent, said("fork")]);
        assert_eq!(pids("started"), [parent, said("python")]);
        // A process between two Pythons is named too.
        let shell = said("shell");
        let below_shell = chain("below_shell");
        assert_eq!(pids("below_shell")[..2], [parent, shell], "{below_shell:?}");
        assert!(below_shell[1].contains("sh -c"), "{below_shell:?}");
        assert_eq!(below_shell.len(), 3);
    });
}

#[test]
fn a_child_that_ends_costs_nothing() {
    for_each_kind("ending-children", |python| {
        // Fifty children that live for some milliseconds each.
        let options = ["-s", "-f", "raw", "-F", "-r", "500"];
        let recording = Recording::launch(python, &["later_children.py", "50"], &options);
        let (forked, all) = recording.samples_with("forked (");
        assert!(all > forked, "{recording:#?}");
    });
}

#[test]
fn processes_that_are_no_python_alone_are_refused() {
    let mut sleep = std::process::Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = sleep.id().to_string();
    let output = pyspy_rs()
        .args(["dump", "-s", "--pid", &pid])
        .output()
        .unwrap();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Python"), "{said}");
}
