//! The user that runs us, and what the system forbids: seccomp, other tracers, capabilities, users.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::bench::split_announced;
use crate::support::require::{has, has_program, has_root};
use crate::support::{
    Interpreter, Recording, Target, copy_program, fixtures, interpreters, pyspy_rs, read_summary,
    said, wait_until,
};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// One interpreter that every user can run, for what does not depend on it.
fn any() -> &'static Interpreter {
    let mut all = interpreters().iter().rev();
    let usable = |python: &&Interpreter| python.root.is_none() && python.version.major == 3;
    all.find(usable).expect("an interpreter")
}

fn is_root() -> bool {
    has_root("becoming another user")
}

/// A recording of `lively.py` with this engine. `runner` are words before our own command. On a
/// crowded machine half a second may not be enough to find a busy thread at work, so it is tried again.
fn record(runner: &[&str], pid: u32, engine: &str) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let target = ["--pid".into(), pid.to_string().into()];
    let is_right = |recording: &Recording| {
        recording.summary["engine"] == engine && recording.file.contains("busy (lively.py")
    };
    Recording::until(
        || {
            let options = ["-d", "0.5", "-f", "raw"];
            let ours = Recording::command(&file, &options, &target);
            let mut command = under(runner, &ours);
            Recording::finished(&file, &command.output().expect("it runs"))
        },
        is_right,
    )
}

/// The same command as the arguments of another one, if there is any.
fn under(runner: &[&str], command: &Command) -> Command {
    let ours = std::iter::once(command.get_program()).chain(command.get_args());
    let mut words = runner.iter().map(OsStr::new).chain(ours);
    let mut under = Command::new(words.next().unwrap());
    under.args(words).stdin(Stdio::null());
    under
}

/// Fails unless a recording went well, and said once why it did not pause.
fn assert_went_on(recording: &Recording, reason: &str) {
    let stderr = &recording.stderr;
    // Without pausing some stacks may be torn.
    assert_eq!(recording.unreadable(), 0, "{stderr}");
    let warnings: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .collect();
    assert_eq!(warnings.len(), 1, "{stderr}");
    assert!(warnings[0].contains(reason), "{stderr}");
}

fn assert_no_errors(summary: &Path) {
    let summary = read_summary(summary);
    let none = serde_json::json!({"unreadable": 0, "torn": 0});
    assert_eq!(summary["errors"], none, "{summary}");
}

/// The program that forbids system calls to another one.
fn forbid(folder: &Path) -> PathBuf {
    let program = folder.join("forbid");
    let source = fixtures().join("forbid.c");
    let mut cc = Command::new("cc");
    let built = cc.arg("-o").arg(&program).arg(source).status();
    assert!(built.expect("a C compiler").success());
    program
}

#[test]
fn seccomp_filters() {
    let folder = tempfile::tempdir().unwrap();
    let forbid = forbid(folder.path());
    let forbid = forbid.to_str().unwrap();
    let target = Target::start(any(), "lively.py", &[]);
    // Docker's filter refuses with EPERM, some others with ENOSYS.
    for errno in ["1", "38"] {
        let one = [forbid, "process_vm_readv", errno];
        let recording = record(&one, target.pid(), "pausing");
        let stderr = &recording.stderr;
        recording.assert_no_error();
        assert!(!stderr.contains("warning:"), "{stderr}");
        let both = [forbid, "ptrace,process_vm_readv", errno];
        let recording = record(&both, target.pid(), "nonblocking");
        assert_went_on(&recording, "a seccomp filter forbids ptrace here");
    }
    let (status, stdout, stderr) = said(Command::new(forbid).args([
        "ptrace",
        "1",
        crate::support::binary(),
        "dump",
        "--pid",
        &target.pid().to_string(),
    ]));
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(stdout.matches(" busy (").count(), 2, "{stdout}");
    assert!(stderr.matches("a seccomp filter").count() <= 1, "{stderr}");
}

#[test]
fn programs_that_another_one_traces() {
    if !has_program("strace") {
        return;
    }
    let target = Target::start(any(), "lively.py", &[]);
    let pid = target.pid();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
    let mut strace = strace.stdin(Stdio::null()).spawn().unwrap();
    let tasks = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let is_traced = |status: String| !status.contains("TracerPid:\t0\n");
    wait_until("strace traces all threads, or may not", || {
        strace.try_wait().unwrap().is_some()
            || tasks()
                .all(|task| fs::read_to_string(task.path().join("status")).is_ok_and(is_traced))
    });
    if let Some(status) = strace.try_wait().unwrap() {
        println!("SKIPPED: strace may not trace here: {status}");
        return;
    }
    let recording = record(&[], pid, "nonblocking");
    let _ = strace.kill();
    let _ = strace.wait();
    assert_went_on(
        &recording,
        &format!("traced by process {} (strace)", strace.id()),
    );
}

#[test]
fn stopped_programs() {
    let target = Target::start(any(), "lively.py", &[]);
    let id = target.pid().to_string();
    let pid = Pid::from_raw(id.parse().unwrap());
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.as_bytes()[0]
    };
    let dumped = || {
        let (status, stdout, stderr) = said(pyspy_rs().args(["dump", "--pid", &id]));
        assert_eq!(status, Some(0), "{stderr}");
        assert_eq!(stdout.matches(" busy (").count(), 2, "{stdout}");
        stderr
    };
    kill(pid, Signal::SIGSTOP).unwrap();
    wait_until("it is stopped", || state() == b'T');
    let stderr = dumped();
    assert!(
        stderr.contains(&format!("process {id} is stopped")),
        "{stderr}"
    );
    assert!(stderr.contains(&format!("kill -CONT {id}")), "{stderr}");
    assert_eq!(state(), b'T', "we have not let it go on");
    kill(pid, Signal::SIGCONT).unwrap();

    // As a debugger does that was left open.
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let threads: Vec<Pid> = tasks
        .map(|task| Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap()))
        .collect();
    for thread in &threads {
        ptrace::seize(*thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(*thread).unwrap();
        waitpid(*thread, Some(WaitPidFlag::__WALL)).unwrap();
    }
    let stderr = dumped();
    // Before a check can fail: a process that this thread traces cannot be killed and reaped.
    for thread in &threads {
        ptrace::detach(*thread, None).unwrap();
    }
    let tracer = format!("by process {} (", std::process::id());
    assert!(stderr.contains(&tracer), "{stderr}");
    wait_until("it goes on", || state() != b't');
    assert!(!dumped().contains(&tracer));
}

/// A command as the user `nobody`, with our binary's copy in this folder.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program).env_remove("KUBERNETES_SERVICE_HOST");
    command
}

/// A folder that belongs to the user `nobody`, with a copy of our binary in it.
fn folder_of_nobody() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("pyspy-rs");
    copy_program(Path::new(crate::support::binary()), &copy);
    (folder, copy)
}

/// An interpreter that the user `nobody` can run.
fn python_of_nobody() -> Option<&'static Interpreter> {
    let found = interpreters().iter().find(|python| {
        let mut command = as_nobody(&python.executable);
        python.root.is_none() && command.args(["-c", ""]).status().is_ok_and(|s| s.success())
    });
    if found.is_none() {
        println!("SKIPPED: no interpreter that every user can run");
    }
    found
}

#[test]
fn a_capability_on_the_binary_is_enough() {
    if !is_root() || !has_program("setcap") {
        return;
    }
    let (folder, ours) = folder_of_nobody();
    let set = Command::new("setcap")
        .arg("cap_sys_ptrace=ep")
        .arg(&ours)
        .status();
    if !set.unwrap().success() {
        println!("SKIPPED: this file system has no capabilities");
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let flags = nix::sys::statvfs::statvfs(folder.path()).unwrap().flags();
    if status.contains("NoNewPrivs:\t1") || flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID) {
        println!("SKIPPED: no program gets more rights by its file here");
        return;
    }
    let target = Target::start(any(), "lively.py", &[]);
    let id = target.pid().to_string();
    let (status, stdout, stderr) = said(as_nobody(&ours).args(["dump", "--pid", &id]));
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(stdout.matches(" busy (").count(), 2, "{stdout}");
    assert_eq!(stderr, "");
    let file = folder.path().join("out.txt");
    let summary = folder.path().join("summary.json");
    let is_busy_seen = || {
        let mut command = as_nobody(&ours);
        command
            .args(["record", "-d", "0.5", "--pid", &id, "-o"])
            .arg(&file)
            .arg("--summary")
            .arg(&summary);
        let (status, _, stderr) = said(&mut command);
        assert_eq!(status, Some(0), "{stderr}");
        assert_no_errors(&summary);
        assert!(!stderr.contains("warning:"), "{stderr}");
        let text = fs::read_to_string(&file).unwrap();
        text.contains("busy (lively.py")
    };
    wait_until("a busy thread is seen at work", is_busy_seen);
    assert_eq!(fs::metadata(&file).unwrap().uid(), 65534);
}

#[test]
fn an_ordinary_user_and_an_own_child() {
    if !is_root() {
        return;
    }
    let Some(python) = python_of_nobody() else {
        return;
    };
    let (folder, ours) = folder_of_nobody();
    let script = folder.path().join("split.py");
    fs::copy(fixtures().join("split.py"), &script).unwrap();
    let file = folder.path().join("out.txt");
    let mut command = as_nobody(&ours);
    let summary = folder.path().join("summary.json");
    command.args(["record", "-o"]).arg(&file);
    command.arg("--summary").arg(&summary).arg("--");
    command.arg(&python.executable).arg(&script).arg("1");
    let (status, _, stderr) = said(&mut command);
    assert_eq!(status, Some(0), "{stderr}");
    assert_no_errors(&summary);
    assert!(fs::read_to_string(&file).unwrap().contains("sixty_percent"));

    // Another user's program: the line to paste is the one that was typed.
    let target = Target::start(any(), "lively.py", &[]);
    let id = target.pid().to_string();
    let mut command = as_nobody(&ours);
    command.args(["dump", "--pid", &id]);
    let (status, _, stderr) = said(&mut command);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!(
            "Permission Denied: process {id} belongs to root, not to you"
        )),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("pyspy-rs dump --pid {id}\n")),
        "{stderr}"
    );
}

/// A program that is executed while a tracer without CAP_SYS_PTRACE has the process runs without the
/// rights of its file. It was so for 1 in 80 of such children at 1 kHz.
#[test]
fn children_that_execute_a_setuid_program_get_their_rights() {
    if !is_root() {
        return;
    }
    let (folder, ours) = folder_of_nobody();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let flags = nix::sys::statvfs::statvfs(folder.path()).unwrap().flags();
    if status.contains("NoNewPrivs:\t1") || flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID) {
        println!("SKIPPED: no program gets more rights by its file here");
        return;
    }
    let Some(python) = python_of_nobody() else {
        return;
    };
    let program = folder.path().join("has_root");
    let mut cc = Command::new("cc");
    let built = cc
        .arg("-o")
        .arg(&program)
        .arg(fixtures().join("has_root.c"))
        .status();
    assert!(built.expect("a C compiler").success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let script = folder.path().join("executes_setuid.py");
    fs::copy(fixtures().join("executes_setuid.py"), &script).unwrap();
    let summary = folder.path().join("summary.json");
    let mut command = as_nobody(&ours);
    command.args(["record", "-s", "-r", "1000", "-f", "raw", "-o"]);
    command.arg(folder.path().join("out.txt"));
    command.arg("--summary").arg(&summary).arg("--");
    command
        .arg(&python.executable)
        .arg(&script)
        .arg("500")
        .arg(&program);
    let (status, stdout, stderr) = said(&mut command);
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(split_announced(&stdout).0, "done 0\n", "{stderr}");
    // Its parent is paused as ever.
    assert_eq!(read_summary(&summary)["engine"], "pausing");
    let text = fs::read_to_string(folder.path().join("out.txt")).unwrap();
    assert!(text.contains("work ("), "children are sampled: {text}");
}

#[test]
fn under_sudo_the_files_are_the_users() {
    if !is_root() {
        return;
    }
    let (folder, _) = folder_of_nobody();
    let target = Target::start(any(), "lively.py", &[]);
    let file = folder.path().join("out.svg");
    let mut command = pyspy_rs();
    command.env("SUDO_UID", "65534").env("SUDO_GID", "65533");
    command.args([
        "record",
        "-d",
        "0.3",
        "--pid",
        &target.pid().to_string(),
        "-o",
    ]);
    let (status, _, stderr) = said(command.arg(&file));
    assert_eq!(status, Some(0), "{stderr}");
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (65534, 65533));
}

#[test]
fn root_of_another_user_namespace() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user"]);
    let made = unshare.arg("true").status();
    let is_made = made.is_ok_and(|status| status.success());
    if !has("namespaces", is_made, "no user namespace can be made here") {
        return;
    }
    let target = Target::start(any(), "lively.py", &[]);
    let id = target.pid().to_string();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", crate::support::binary()]);
    let (status, _, stderr) = said(command.args(["dump", "--pid", &id]));
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("is in another user namespace"), "{stderr}");
    assert!(stderr.contains("hint: run it outside"), "{stderr}");
}

/// As some manuals advise: whoever runs it could read root's processes.
#[test]
fn setuid_and_setgid_are_refused() {
    if !is_root() {
        return;
    }
    let (folder, ours) = folder_of_nobody();
    let flags = nix::sys::statvfs::statvfs(folder.path()).unwrap().flags();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if status.contains("NoNewPrivs:\t1") || flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID) {
        println!("SKIPPED: no program gets more rights by its file here");
        return;
    }
    let target = Target::start(any(), "lively.py", &[]);
    let id = target.pid().to_string();
    chown(&ours, Some(0), Some(0)).unwrap();
    for mode in [0o4755, 0o2755, 0o6755] {
        fs::set_permissions(&ours, fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [&["dump", "-l", "--pid", &id][..], &["--version"]] {
            let (status, stdout, stderr) = said(as_nobody(&ours).args(arguments));
            assert_eq!(status, Some(1), "{mode:o}: {stderr}");
            assert_eq!(stdout, "");
            assert!(
                stderr.starts_with("error: ") && stderr.contains("setuid"),
                "{stderr}"
            );
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
    // To root it lends nothing.
    let (status, _, stderr) = said(Command::new(&ours).args(["dump", "--pid", &id]));
    assert_eq!(status, Some(0), "{stderr}");
}

/// Only the debug log had them.
#[test]
fn unreadable_children_are_reported_once() {
    if !is_root() {
        return;
    }
    // Without this right nothing reads a process that has forbidden it, and the parent must not have it either.
    let without = ["setpriv", "--bounding-set=-sys_ptrace"];
    let script = any().command(&[any().fixture("unreadable_child.py")]);
    let target = Target::start_command(under(&without, &script));
    let folder = tempfile::tempdir().unwrap();
    let mut record = pyspy_rs();
    record.args(["record", "-s", "-d", "1", "-f", "raw", "-o"]);
    record.arg(folder.path().join("out.txt"));
    record.args(["--pid", &target.pid().to_string()]);
    let (_, _, stderr) = said(&mut under(&without, &record));
    let child = target.ready["child"].as_u64().unwrap();
    let notice = format!("Process {child} is not sampled: ");
    assert_eq!(stderr.matches(&notice).count(), 1, "{stderr}");
}

/// Why a thread could not be started was `Resource temporarily unavailable`.
#[test]
fn a_limit_of_threads_is_named() {
    let root = Path::new("/sys/fs/cgroup");
    let root = match root.join("pids").is_dir() {
        true => root.join("pids"),
        false => root.to_owned(),
    };
    let group = root.join(format!("pyspy-test-{}", std::process::id()));
    if !is_root() || fs::create_dir(&group).is_err() {
        println!("SKIPPED: no control groups can be made here");
        return;
    }
    let limited = fs::write(group.join("pids.max"), "1").is_ok();
    let target = Target::start(any(), "lively.py", &[]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("echo $$ >\"$0/cgroup.procs\" && exec \"$@\"");
    command.arg(&group).arg(crate::support::binary());
    command
        .args(["record", "-d", "0.1", "-o"])
        .arg(folder.path().join("x.txt"));
    let (status, _, stderr) = said(command.args(["--pid", &target.pid().to_string()]));
    let removed = fs::remove_dir(&group);
    if !limited {
        println!("SKIPPED: control groups have no pids.max here");
        return;
    }
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("the thread \"job control\""), "{stderr}");
    assert!(stderr.contains("(pids.max is 1)"), "{stderr}");
    removed.unwrap();
}
