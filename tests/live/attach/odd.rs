//! Processes that are seen in an unusual way, or are no Python: what a dump shows, and what it says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::require::has_root;
use crate::support::{
    Interpreter, Target, copy_program, fixtures, for_each_at_once, for_each_interpreter,
    interpreters, pyspy_rs,
};

/// Fails to dump a process; returns the two lines that say why and what to do.
fn refusal(command: &mut Command, pid: u32) -> (String, String) {
    let output = command
        .args(["dump", "--pid", &pid.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let [error, hint] = lines[..] else {
        panic!("not two lines: {said}");
    };
    let error = error
        .strip_prefix("error: ")
        .expect("it says what is wrong");
    let hint = hint.strip_prefix("hint: ").expect("it says what to do");
    (error.to_owned(), hint.to_owned())
}

/// A program that is dead and reaped when this is dropped.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Other {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Other(command.spawn().expect("it starts"))
    }

    /// The first line of its stdout.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of our binary where every user can run it.
fn binary_for_all(folder: &Path) -> PathBuf {
    let copy = folder.join("pyspy-rs");
    copy_program(Path::new(crate::support::binary()), &copy);
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    copy
}

/// A command as the user `nobody`.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program);
    command
}

#[test]
fn in_other_namespaces() {
    if !has_root("making namespaces") {
        return;
    }
    let all = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    for flags in [&all[2..], &all[..], &all[2..3], &all[..1]] {
        for_each_at_once(&format!("namespaces {}", flags.join(" ")), .., |python| {
            let script = python.fixture("calls.py");
            let inner = python.command(&[script.as_os_str()]);
            let mut command = Command::new("unshare");
            command.args(flags).arg("--kill-child");
            if !flags.contains(&"--fork") {
                command = Command::new("unshare");
                command.args(flags);
            }
            command.arg(inner.get_program()).args(inner.get_args());
            for (name, value) in inner.get_envs() {
                if let Some(value) = value {
                    command.env(name, value);
                }
            }
            // A new root is entered in the new namespaces, where only its own /proc can be mounted.
            if python.root.is_some() && flags.contains(&"--user") {
                println!("SKIPPED {python}: chroot needs rights that its user namespace lacks");
                return;
            }
            let mut target = Other::start(command.stderr(Stdio::inherit()));
            assert!(target.line().starts_with("ready"));
            let pid = match flags.contains(&"--fork") {
                true => {
                    let id = target.0.id();
                    let list = format!("/proc/{id}/task/{id}/children");
                    fs::read_to_string(list).unwrap().trim().to_owned()
                }
                false => target.0.id().to_string(),
            };
            let dump = crate::support::Dump::run(pyspy_rs().args([
                "dump",
                "--format=json",
                "--pid",
                &pid,
            ]));
            let main = &dump.threads[0];
            assert_eq!(main.os_thread_id, pid.parse().ok(), "the outer id");
            assert!(main.frames.len() > 2, "{main:?}");
        });
    }
}

#[test]
fn as_an_unprivileged_user() {
    if !has_root("becoming another user") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ours = binary_for_all(folder.path());
    let Some(python) = interpreters().iter().find(|python| {
        let mut command = as_nobody(&python.executable);
        python.root.is_none() && command.args(["-c", ""]).status().is_ok_and(|s| s.success())
    }) else {
        println!("SKIPPED: no interpreter that every user can run");
        return;
    };
    let script = folder.path().join("waits.py");
    fs::copy(fixtures().join("waits.py"), &script).unwrap();
    // Its program is deleted meanwhile: without privilege only memory is left to be read.
    let renamed = folder.path().join("renamed");
    copy_program(&python.executable, &renamed);
    let mut command = as_nobody(&renamed);
    let target = Target::start_command({
        command.arg(&script);
        command
    });
    fs::remove_file(&renamed).unwrap();
    let dumped = as_nobody(&ours)
        .args(["dump", "--pid", &target.pid().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&dumped.stdout);
    assert!(text.contains("waits (waits.py:"), "{dumped:?}");
    drop(target);

    let roots = Target::start(python, "waits.py", &[]);
    let (error, hint) = refusal(&mut as_nobody(&ours), roots.pid());
    assert_eq!(
        error,
        format!(
            "Permission Denied: process {} belongs to root, not to you",
            roots.pid()
        )
    );
    // In a container without a sudo.
    let remedies = ["sudo", "docker exec -u root", "kubectl debug"];
    assert!(
        remedies.iter().any(|remedy| hint.contains(remedy)),
        "{hint}"
    );
}

#[test]
fn main_thread_that_ended_before_the_others() {
    for_each_interpreter("main thread ended", .., |python| {
        let target = Target::start(python, "main_exits.py", &[]);
        let dump = target.dump(&[]);
        let tasks = fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
        let tasks: Vec<u64> = tasks
            .map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        let living = dump.threads.iter().find(|thread| {
            thread
                .frames
                .first()
                .is_some_and(|frame| frame.name == "works")
        });
        let id = living
            .expect("its stack is there")
            .os_thread_id
            .expect("its id is known");
        assert_ne!(id, u64::from(target.pid()));
        assert!(tasks.contains(&id), "{id} of {tasks:?}");
        // Its state is left, and was shown as a thread that is idle.
        let ended: Vec<bool> = dump.threads.iter().map(|thread| thread.ended).collect();
        assert_eq!(ended, [true, false], "{dump:#?}");
    });
}

#[test]
fn exit_handlers_are_seen() {
    for_each_interpreter("exit handler", .., |python| {
        let target = Target::start(python, "at_exit.py", &[]);
        let dump = target.dump(&[]);
        let names: Vec<&str> = dump.threads[0].frames.iter().map(|f| &*f.name).collect();
        assert_eq!(names.first(), Some(&"says_goodbye"), "{names:?}");
    });
}

#[test]
fn threads_zombies_and_other_programs_are_distinguished() {
    let python: &Interpreter = &interpreters()[0];
    let target = Target::start(python, "threads.py", &[]);
    let tasks = fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
    let thread = tasks
        .map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .find(|tid: &u32| *tid != target.pid())
        .expect("another thread");
    let (error, hint) = refusal(&mut pyspy_rs(), thread);
    assert_eq!(
        error,
        format!(
            "{thread} is a thread of process {}, not a process",
            target.pid()
        )
    );
    assert_eq!(hint, format!("give the process: --pid {}", target.pid()));

    let sleep = Other::start(Command::new("sleep").arg("600"));
    let (error, _) = refusal(&mut pyspy_rs(), sleep.0.id());
    assert!(error.ends_with("sleep, not a Python program"), "{error}");

    let mut zombie = Other::start(Command::new("sh").args(["-c", "exit 0"]));
    zombie.line();
    let stat = format!("/proc/{}/stat", zombie.0.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let (error, _) = refusal(&mut pyspy_rs(), zombie.0.id());
    assert!(error.contains("is a zombie that its parent"), "{error}");

    // Not in a container: its first processes are its own.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let (error, _) = refusal(&mut pyspy_rs(), 2);
        assert_eq!(error, "process 2 is a kernel thread, not a Python program");
    }
}

#[test]
fn another_program_called_python() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("python3");
    copy_program(Path::new("/bin/sleep"), &fake);
    let sleep = Other::start(Command::new(&fake).arg("600"));
    let (error, hint) = refusal(&mut pyspy_rs(), sleep.0.id());
    assert!(
        error.ends_with("but holds no CPython that can be found"),
        "{error}"
    );
    assert!(error.contains("python3"), "{error}");
    assert!(hint.contains("PyPy"), "{hint}");
    // A recording of it ends when it ends.
    let out = folder.path().join("out.svg");
    let status = pyspy_rs()
        .args(["record", "-o"])
        .arg(out)
        .arg("--")
        .arg(&fake)
        .arg("0.1")
        .status()
        .unwrap();
    assert!(status.success());
}

/// A C program that says that it is a CPython.
fn build_fake(folder: &Path, version: u32, garbage: u32) -> PathBuf {
    let program = folder.join(format!("fake-{version:x}-{garbage}"));
    let status = Command::new("cc")
        .args(["-w", "-rdynamic", "-o"])
        .arg(&program)
        .arg(format!("-DVERSION={version}u"))
        .arg(format!("-DGARBAGE={garbage}"))
        .arg(fixtures().join("fake_python.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    program
}

#[test]
fn an_unknown_version_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut fake = Other::start(&mut Command::new(build_fake(folder.path(), 0x0363_02f0, 0)));
    assert_eq!(fake.line(), "ready");
    let (error, hint) = refusal(&mut pyspy_rs(), fake.0.id());
    assert!(
        error.ends_with("runs CPython 3.99.2, which this release does not know"),
        "{error}"
    );
    assert!(hint.contains("3.15"), "{hint}");
}

#[test]
fn garbage_in_place_of_an_interpreter_ends_soon() {
    let folder = tempfile::tempdir().unwrap();
    let refused = &|version, garbage| {
        let program = build_fake(folder.path(), version, garbage);
        let mut fake = Other::start(&mut Command::new(program));
        assert_eq!(fake.line(), "ready");
        let (error, _) = refusal(&mut pyspy_rs(), fake.0.id());
        let expected = ["runs nothing", "describes itself wrongly"];
        assert!(expected.iter().any(|text| error.contains(text)), "{error}");
    };
    // At once, as each is tried for a second.
    std::thread::scope(|scope| {
        for version in [0x030b_01f0, 0x030c_01f0, 0x030d_00f0, 0x030e_00f0] {
            for garbage in 0..5 {
                scope.spawn(move || refused(version, garbage));
            }
        }
    });
}
