//! A tree of forty processes, half of them hostile ones that take turns, under every command: each ends in
//! time, takes little memory, leaves no process stopped and no file but the one asked for.
//!
//! Slow: `PYSPY_SOAK_SECONDS` (300 if not given) is how long it goes on.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::require::has_root;
use crate::support::{
    Target, Terminal, binary, fixtures, interpreters, peak_kib, pyspy_rs, wait_until,
};

/// Processes of each of the two kinds.
const EACH: usize = 20;
/// The most memory that a command may take, in KiB.
const MAX_MEMORY: u64 = 200 << 10;
/// How long a command may take beyond what it was asked for: attaching to a process may take 5 s and its
/// sample in a dump as long again, one process after the other, while twenty others need the CPUs.
const LIMIT: Duration = Duration::from_secs(10 * 2 * EACH as u64);

/// What ordinary processes run, by turns.
const ORDINARY: &[&[&str]] = &[
    &["ping.py"],
    &["threads.py", "4"],
    &["asyncio_load.py"],
    &["deep_locals.py", "30"],
    &["sleepers.py"],
    &["busy.py"],
    &["switching.py"],
    &["waits.py"],
];

/// What hostile Python programs run, by turns.
const HOSTILE: &[&[&str]] = &[
    &["unanswered.py", "userfaultfd"],
    &["unanswered.py", "mapped"],
    &["unanswered.py", "path"],
    &["thread_churn.py"],
    &["code_churn.py"],
    &["execs_forever.py"],
    &["pools.py", "fork"],
    &["recursion.py", "20000"],
];

/// Hostile programs in C, with their arguments; `FOLDER` is a folder of its own.
const HOSTILE_IN_C: &[&[&str]] = &[
    &["large_structures.c", "lines", "5000"],
    &["large_structures.c", "long_table", "100"],
    &["large_structures.c", "interpreters", "9000"],
    &["large_structures.c", "states", "99000", "3"],
    &["many_mappings.c", "FOLDER", "60000"],
    &["large_array.c", "3."],
    &["truncates_its_library.c", "FOLDER"],
];

/// The commands, whose file is `FILE` and whose process is `PID`; the seconds that each was asked for.
const COMMANDS: &[(u64, &str)] = &[
    (0, "dump -s --pid PID"),
    (0, "dump -s -l --json --pid PID"),
    (0, "dump -s -ll --nonblocking --pid PID"),
    (0, "dump"),
    (0, "doctor --pid PID"),
    (2, "record -s -d 2 -o FILE.svg --pid PID"),
    (2, "record -s -d 2 -r 1000 -f raw -o FILE.txt --pid PID"),
    (
        2,
        "record -s -d 2 --nonblocking -i -f speedscope -o FILE.json --pid PID",
    ),
    (
        2,
        "record -s -d 2 --memory -t -f chrometrace -o FILE.json --pid PID",
    ),
    (
        2,
        "record -s -d 2 --cpu --gc -f lines -o FILE.txt --pid PID",
    ),
    (2, "memory -s -d 2 -o FILE.html --pid PID"),
];

/// The tree, and what is in it.
struct Tree {
    root: Target,
    python: PathBuf,
    folder: TempDir,
    hostile: Vec<u32>,
    started: usize,
}

impl Tree {
    fn start() -> Self {
        let python = interpreters().iter().rev();
        let mut python = python.filter(|python| python.root.is_none() && python.build.is_empty());
        let python = python.next().expect("a CPython outside of a chroot");
        let mut tree = Self {
            root: Target::start(python, "tree.py", &[]),
            python: python.executable.clone(),
            folder: tempfile::tempdir().unwrap(),
            hostile: Vec::new(),
            started: 0,
        };
        for program in HOSTILE_IN_C {
            tree.build(program[0]);
        }
        for words in ORDINARY.iter().cycle().take(EACH) {
            let words = tree.python_words(words);
            tree.ask(&words);
        }
        for _ in 0..EACH {
            tree.start_hostile();
        }
        tree
    }

    fn program(&self, source: &str) -> PathBuf {
        self.folder.path().join(source.trim_end_matches(".c"))
    }

    fn build(&self, source: &str) {
        let status = Command::new("cc")
            .args(["-O1", "-rdynamic", "-no-pie", "-o"])
            .arg(self.program(source))
            .arg(fixtures().join(source))
            .status()
            .expect("a C compiler");
        assert!(status.success(), "{source}");
    }

    fn python_words(&self, words: &[&str]) -> Vec<OsString> {
        let script = fixtures().join(words[0]).into_os_string();
        let rest = words[1..].iter().map(OsString::from);
        [self.python.clone().into_os_string(), script]
            .into_iter()
            .chain(rest)
            .collect()
    }

    /// Starts a child; returns its pid.
    fn ask(&mut self, words: &[OsString]) -> u32 {
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        self.root.say(&serde_json::to_string(&words).unwrap());
        self.root.next_line().parse().expect("a pid")
    }

    fn start_hostile(&mut self) {
        let number = self.started;
        self.started += 1;
        let all = HOSTILE.len() + HOSTILE_IN_C.len();
        let words = if let Some(words) = HOSTILE.get(number % all) {
            self.python_words(words)
        } else {
            let words = HOSTILE_IN_C[number % all - HOSTILE.len()];
            let own = self.folder.path().join(number.to_string());
            fs::create_dir(&own).unwrap();
            let argument = |word: &&str| match *word {
                "FOLDER" => own.clone().into_os_string(),
                word => word.into(),
            };
            let program = self.program(words[0]).into_os_string();
            let rest = words[1..].iter().map(argument);
            std::iter::once(program).chain(rest).collect()
        };
        let pid = self.ask(&words);
        self.hostile.push(pid);
    }

    /// Ends the oldest hostile process, and starts the next.
    fn turn(&mut self) {
        let oldest = self.hostile.remove(0);
        self.root.say(&oldest.to_string());
        self.root.next_line();
        self.start_hostile();
    }

    /// The processes of the tree.
    fn pids(&self) -> BTreeSet<u32> {
        let mut found = BTreeSet::from([self.root.pid()]);
        let mut left = vec![self.root.pid()];
        while let Some(pid) = left.pop() {
            for task in entries(&format!("/proc/{pid}/task")) {
                let children = format!("/proc/{pid}/task/{task}/children");
                let children = fs::read_to_string(children).unwrap_or_default();
                let children = children.split_whitespace().flat_map(str::parse);
                left.extend(children.filter(|child| found.insert(*child)));
            }
        }
        found
    }

    /// Fails if a thread of the tree is stopped or traced.
    fn assert_runs(&self, after: &str) {
        for pid in self.pids() {
            for task in entries(&format!("/proc/{pid}/task")) {
                let stat = || fs::read_to_string(format!("/proc/{pid}/task/{task}/stat"));
                let state = || {
                    let stat = stat().unwrap_or_default();
                    let (_, rest) = stat.rsplit_once(") ")?;
                    rest.chars().next()
                };
                // `T` is also a child that a fixture's own parent has stopped: none has.
                let stopped = matches!(state(), Some('t' | 'T'));
                assert!(!stopped, "{pid}/{task} is left stopped by {after}");
            }
        }
    }
}

fn entries(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.flat_map(|name| name.parse()).collect()
}

/// The processes that run our binary.
fn ours() -> BTreeSet<u32> {
    let binary = Path::new(binary());
    let runs = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
    entries("/proc").into_iter().filter(runs).collect()
}

/// How a command went.
struct Outcome {
    took: Duration,
    peak_kib: u64,
    status: Option<i32>,
}

/// Waits for a command; `None` when it does not end within the limit.
fn watch(child: &mut Child, limit: Duration) -> Option<Outcome> {
    let begin = Instant::now();
    let mut peak = 0;
    loop {
        peak = peak.max(peak_kib(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            return Some(Outcome {
                took: begin.elapsed(),
                peak_kib: peak,
                status: status.code(),
            });
        }
        if begin.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command on the tree, and checks what it leaves.
fn run(tree: &Tree, seconds: u64, line: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let pid = tree.root.pid().to_string();
    let words = line.split(' ').map(|word| match word.split_once("FILE") {
        Some((_, end)) => format!("{}{end}", file.display()),
        None if word == "PID" => pid.clone(),
        None => word.to_owned(),
    });
    let words: Vec<String> = words.collect();
    let stderr = tempfile::tempfile().unwrap();
    let mut child = pyspy_rs()
        .args(&words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    let limit = Duration::from_secs(seconds) + LIMIT;
    let Some(outcome) = watch(&mut child, limit) else {
        let stack = fs::read_to_string(format!("/proc/{}/stack", child.id()));
        let _ = child.kill();
        panic!("{line} does not end: {stack:?}");
    };
    let said = said_to(stderr);
    // 1: a process that is too hostile, 2: a choice to be made.
    assert!(
        matches!(outcome.status, Some(0..=2)),
        "{line}: {:?} {said}",
        outcome.status
    );
    assert!(
        outcome.peak_kib < MAX_MEMORY,
        "{line}: {} KiB",
        outcome.peak_kib
    );
    let expected = words
        .iter()
        .find(|word| word.starts_with(file.to_str().unwrap()));
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            expected.is_some_and(|one| path == Path::new(one)),
            "{line} leaves {path:?}"
        );
    }
    if outcome.status == Some(0)
        && let Some(expected) = expected
    {
        assert!(
            Path::new(expected).is_file(),
            "{line} writes no file: {said}"
        );
    }
    tree.assert_runs(line);
    wait_until("no process of ours is left", || ours().is_empty());
    outcome
}

/// Shows the tree in a terminal until the table is there; then `q` ends it.
fn watch_live(tree: &Tree) {
    let Some(terminal) = Terminal::open("soak") else {
        return;
    };
    let words = [binary(), "top", "-s", "--delay", "0.2", "--pid"].join(" ");
    terminal.run(&format!("{words} {}", tree.root.pid()));
    terminal.wait_for("the table", |screen| screen.contains("%Own"));
    terminal.key("q");
    terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
    tree.assert_runs("top");
    wait_until("no process of ours is left", || ours().is_empty());
}

fn said_to(mut stderr: fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut said = String::new();
    stderr.rewind().unwrap();
    let _ = stderr.read_to_string(&mut said);
    said
}

#[test]
#[ignore = "slow: five minutes, or PYSPY_SOAK_SECONDS"]
fn hostile_and_ordinary_processes_by_turns() {
    if !has_root("userfaultfd and FUSE") {
        return;
    }
    let seconds = std::env::var("PYSPY_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(300, |seconds| seconds.parse().expect("a number"));
    let begin = Instant::now();
    let mut tree = Tree::start();
    let mut worst: Vec<Option<Outcome>> = COMMANDS.iter().map(|_| None).collect();
    let mut runs = 0;
    while begin.elapsed() < Duration::from_secs(seconds) {
        for ((asked, line), worst) in COMMANDS.iter().zip(&mut worst) {
            let outcome = run(&tree, *asked, line);
            runs += 1;
            println!(
                "{:5} s  {:6.2} s  {:4} MiB  status {:?}  {line}",
                begin.elapsed().as_secs(),
                outcome.took.as_secs_f64(),
                outcome.peak_kib >> 10,
                outcome.status,
            );
            match worst {
                Some(worst) => {
                    worst.took = worst.took.max(outcome.took);
                    worst.peak_kib = worst.peak_kib.max(outcome.peak_kib);
                }
                None => *worst = Some(outcome),
            }
            tree.turn();
        }
        watch_live(&tree);
    }
    let mut table = format!(
        "{runs} commands, {} hostile processes; the worst:\n",
        tree.started
    );
    for ((_, line), worst) in COMMANDS.iter().zip(worst) {
        let worst = worst.expect("each ran");
        let (took, peak) = (worst.took.as_secs_f64(), worst.peak_kib >> 10);
        let _ = writeln!(table, "{took:6.2} s  {peak:4} MiB  {line}");
    }
    println!("{table}");
}
