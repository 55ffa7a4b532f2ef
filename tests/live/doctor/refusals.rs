//! `doctor` on what cannot be profiled: the reason, and the command that helps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::doctor::{
    Other, as_nobody, assert_let_go, examine, first_problem, native_python, profiled,
    public_python, refused, status,
};
use crate::support::require::has_root;
use crate::support::{Target, copy_program, fixtures, pyspy_rs, wait_until};
use serde_json::Value;

#[test]
fn what_is_no_python_is_reported() {
    let (problem, _) = refused(pyspy_rs(), 4_194_305);
    assert_eq!(problem, "no process has the pid 4194305");

    let sleep = Other::start(Command::new("sleep").arg("600"));
    let (problem, _) = refused(pyspy_rs(), sleep.pid());
    assert!(
        problem.ends_with("sleep, not a Python program"),
        "{problem}"
    );
    assert_let_go(sleep.pid());

    let zombie = Other::start(Command::new("sh").args(["-c", "exit 0"]));
    wait_until("a zombie", || {
        status(zombie.pid(), "State").starts_with('Z')
    });
    let page = examine(pyspy_rs(), zombie.pid());
    assert!(page["access"].is_null(), "{page:#}");
    let (problem, fixes) = first_problem(&page);
    assert!(problem.contains("is a zombie that its parent"), "{problem}");
    let us = std::process::id();
    let fix = format!(
        "none: nothing can be read of a zombie; it goes when process {us} waits for it, or ends"
    );
    assert_eq!(fixes, [fix]);

    // Not in a container: its first processes are its own.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let (problem, fixes) = refused(pyspy_rs(), 2);
        assert!(problem.contains("a kernel thread"), "{problem}");
        assert!(fixes[0].starts_with("none"), "{fixes:?}");
    }
}

#[test]
fn a_thread_and_a_wrapper_lead_to_the_process() {
    let python = native_python();
    let target = Target::start(python, "threads.py", &["3"]);
    let tasks = fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
    let mut tids = tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let thread: u32 = tids.find(|tid| *tid != target.pid()).unwrap();
    let (_, fixes) = refused(pyspy_rs(), thread);
    assert_eq!(fixes, [format!("pyspy-rs doctor {}", target.pid())]);

    let mut shell = Command::new("sh");
    shell.args(["-c", r#""$@"; exit 0"#, "sh"]);
    shell.arg(&python.executable).arg(python.fixture("ping.py"));
    let target = Target::start_command(shell);
    let id = target.started_pid();
    let child = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let (problem, fixes) = refused(pyspy_rs(), id);
    assert!(problem.contains("not a Python program"), "{problem}");
    let expected = format!("inspect its Python child: pyspy-rs doctor {}", child.trim());
    assert_eq!(fixes, [expected]);
    // The shell is killed when this ends; its child then reads the end of its stdin.
}

/// A C program that says that it is a CPython.
fn build_fake(folder: &Path, version: u32) -> PathBuf {
    let program = folder.join(format!("fake-{version:x}"));
    let status = Command::new("cc")
        .args(["-w", "-rdynamic", "-DGARBAGE=0", "-o"])
        .arg(&program)
        .arg(format!("-DVERSION={version}u"))
        .arg(fixtures().join("fake_python.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    program
}

#[test]
fn an_unknown_version_and_one_that_never_starts() {
    let folder = tempfile::tempdir().unwrap();
    for (version, expected) in [
        (
            0x0363_02f0,
            "runs CPython 3.99.2, which this release does not know",
        ),
        (
            0x030b_01f0,
            "runs nothing: it is still starting, or has already ended",
        ),
    ] {
        let mut fake = Other::start(&mut Command::new(build_fake(folder.path(), version)));
        assert_eq!(fake.line(), "ready");
        let page = examine(pyspy_rs(), fake.pid());
        let (problem, _) = first_problem(&page);
        assert!(problem.ends_with(expected), "{problem}");
        // What is known all the same is there.
        assert_eq!(page["access"]["proc_mem"]["works"], true, "{page:#}");
        assert_eq!(page["threads"]["total"], 1, "{page:#}");
        assert_let_go(fake.pid());
    }
}

/// Our binary where every user can run it.
fn binary_for_all(folder: &Path) -> PathBuf {
    let copy = folder.join("pyspy-rs");
    copy_program(Path::new(crate::support::binary()), &copy);
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn permissions_have_commands_that_fix_them() {
    if !has_root("becoming another user") {
        return;
    }
    let Some(python) = public_python() else {
        println!("SKIPPED: no interpreter that every user can run");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let ours = binary_for_all(folder.path());
    let as_root = |pid: u32| format!(r#"sudo env "PATH=$PATH" pyspy-rs doctor {pid}"#);

    let roots = Target::start(python, "waits.py", &[]);
    let page = examine(as_nobody(&ours), roots.pid());
    let (problem, fixes) = first_problem(&page);
    assert_eq!(
        problem,
        format!("process {} belongs to root, not to you", roots.pid())
    );
    assert_eq!(fixes, [as_root(roots.pid())]);
    for way in ["process_vm_readv", "proc_mem", "ptrace_seize"] {
        assert_eq!(page["access"][way]["works"], false, "{way}: {page:#}");
    }
    assert_eq!(page["verdict"]["can_pause"], false);
    // What everybody may know is there.
    assert_eq!(page["process"]["uid"], 0);
    assert_eq!(page["process"]["executable"], Value::Null);
    assert_eq!(page["pyspy_rs"]["uid"], 65534);
    assert_eq!(page["pyspy_rs"]["capability_names"], Value::Array(vec![]));
    // What the links of its namespaces hide cannot be called the same.
    assert_eq!(page["process"]["namespaces"][1]["same"], Value::Null);

    // Root without the capability, as in a container.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]);
    command.arg(&ours);
    let (problem, fixes) = refused(command, roots.pid());
    assert!(problem.contains("SYS_PTRACE"), "{problem}");
    assert!(fixes[0].contains("SYS_PTRACE"), "{fixes:?}");

    // A process of the same user that guards its memory, as after a change of its user: the reason is given by
    // the system's settings, here a made-up one.
    let script = folder.path().join("guarded.py");
    let mut program = "import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n".to_owned();
    program.push_str("print('ready')\nimport sys\nsys.stdout.flush()\nsys.stdin.read()\n");
    fs::write(&script, program).unwrap();
    let mut command = as_nobody(&python.executable);
    command.arg(&script);
    let guarded = Target::start_command(command);
    for scope in [1, 2, 3] {
        let mount = format!(
            "mount -t tmpfs none /proc/sys/kernel && mkdir /proc/sys/kernel/yama && \
             echo {scope} > /proc/sys/kernel/yama/ptrace_scope && exec \"$@\""
        );
        let nobody = as_nobody(&ours);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &mount, "sh"]);
        command.arg(nobody.get_program()).args(nobody.get_args());
        let page = examine(command, guarded.pid());
        assert_eq!(page["pyspy_rs"]["yama_scope"], scope);
        let (problem, fixes) = first_problem(&page);
        let sysctl = fixes
            .iter()
            .any(|fix| fix.ends_with("kernel.yama.ptrace_scope=0"));
        assert!(
            problem.contains(&format!("ptrace_scope is {scope}")),
            "{problem}"
        );
        assert_eq!(fixes[0] == as_root(guarded.pid()), scope < 3, "{fixes:?}");
        assert_eq!(sysctl, scope == 1, "{fixes:?}");
    }
    profiled(guarded.pid());
}
