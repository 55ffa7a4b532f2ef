//! Tests of the diagnosis, on made-up facts and a made-up /proc.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::*;

fn user() -> Facts {
    Facts {
        own_uid: 1000,
        owner: Some(1000),
        owner_name: Some("alice".into()),
        ..Facts::default()
    }
}

fn root() -> Facts {
    Facts {
        root: true,
        own_uid: 0,
        ..user()
    }
}

// Long: a table of all causes.
#[test]
fn each_cause_has_its_remedy() {
    let cases = [
        (
            Facts {
                owner: Some(7),
                ..user()
            },
            "belongs to alice",
            r#"sudo env "PATH=$PATH""#,
        ),
        (
            Facts {
                yama_scope: 1,
                ..user()
            },
            "ptrace_scope is 1",
            "sudo env",
        ),
        (
            Facts {
                yama_scope: 1,
                ..user()
            },
            "its parents",
            "record -o profile.svg -- python",
        ),
        (
            Facts {
                yama_scope: 2,
                ..user()
            },
            "ptrace_scope is 2",
            "sudo env",
        ),
        (
            Facts {
                yama_scope: 3,
                has_ptrace_capability: true,
                ..root()
            },
            "ptrace_scope is 3",
            "kernel.yama.ptrace_scope",
        ),
        (
            Facts {
                environment: Environment::Container,
                ..root()
            },
            "SYS_PTRACE capability",
            "--cap-add SYS_PTRACE",
        ),
        (
            Facts {
                environment: Environment::Pod,
                ..root()
            },
            "SYS_PTRACE capability",
            r#"securityContext: {capabilities: {add: ["SYS_PTRACE"]}}"#,
        ),
        (
            root(),
            "requires the capability CAP_SYS_PTRACE",
            "CapabilityBoundingSet=CAP_SYS_PTRACE",
        ),
        (
            Facts {
                yama_scope: 3,
                ..root()
            },
            "ptrace_scope is 3",
            "until the machine is rebooted",
        ),
        (
            Facts {
                yama_scope: 1,
                ..user()
            },
            "ptrace_scope is 1",
            "sudo sysctl kernel.yama.ptrace_scope=0",
        ),
        (
            Facts {
                owner: Some(7),
                environment: Environment::Container,
                ..user()
            },
            "belongs to alice",
            "docker exec -u alice CONTAINER pyspy-rs …",
        ),
        (
            Facts {
                owner: Some(7),
                environment: Environment::Pod,
                ..user()
            },
            "belongs to alice",
            "--profile=general",
        ),
        (
            Facts {
                has_ptrace_capability: true,
                other_user_namespace: true,
                ..root()
            },
            "another user namespace",
            "as root of the host",
        ),
        (user(), "changed its user or privileges", "sudo env"),
        (
            Facts {
                owner: None,
                ..user()
            },
            "denies access",
            "as root",
        ),
        (
            Facts {
                has_ptrace_capability: true,
                ..root()
            },
            "denies access",
            "security module",
        ),
    ];
    for (facts, wrong, remedy) in cases {
        let problem = classify(42, facts.clone());
        let (text, hint) = (problem.to_string(), problem.hint());
        assert!(
            text.contains(wrong) && text.contains("42"),
            "{facts:?}: {text}"
        );
        assert!(hint.contains(remedy), "{facts:?}: {hint}");
        assert!(!text.contains('\n') && !hint.contains('\n'));
    }
}

/// A made-up /proc with these files.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn each_state_of_yama_has_its_remedy() {
    let user = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0\n";
    let capable = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000080000\n";
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    let bare_root = "Uid:\t0\t0\t0\t0\nCapEff:\t0\n";
    let (sudo, sysctl) = (
        r#"sudo env "PATH=$PATH" pyspy-rs …"#,
        "sudo sysctl kernel.yama.ptrace_scope=0",
    );
    let launch = "pyspy-rs record -o profile.svg -- python …";
    let locked = "until the machine is rebooted with another";
    for (own, scope, problem, remedies) in [
        (user, "0", "has changed its user or privileges", &[sudo][..]),
        (user, "1", "only its parents", &[sudo, sysctl, launch]),
        // Not even an own child may be attached to then.
        (user, "2", "only root", &[sudo]),
        (user, "3", "no process may attach", &[locked]),
        (capable, "3", "no process may attach", &[locked]),
        (root, "3", "no process may attach", &[locked]),
        // For a process with the capability, Yama is not the reason otherwise.
        (capable, "2", "denies access", &["dmesg"]),
        (bare_root, "1", "CAP_SYS_PTRACE", &["CAP_SYS_PTRACE"]),
    ] {
        let machine = machine(&[
            ("proc/self/status", own),
            ("proc/42/status", user),
            ("proc/sys/kernel/yama/ptrace_scope", scope),
        ]);
        let facts = Facts {
            // Not that of the machine that runs this test.
            environment: Environment::Machine,
            ..gather(42, machine.path())
        };
        let found = classify(42, facts);
        let (text, hint) = (found.to_string(), found.hint());
        assert!(text.contains(problem), "{scope}: {text}");
        for remedy in remedies {
            assert!(hint.contains(remedy), "{scope}: {hint}");
        }
        assert_eq!(hint.contains(launch), remedies.contains(&launch), "{hint}");
    }
}

#[test]
fn another_user_namespace_is_recognised_by_its_uid_map() {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    for (its, expected) in [("0 1000 1\n", false), ("0 0 4294967295\n", true)] {
        let machine = machine(&[
            ("proc/self/status", root),
            ("proc/self/uid_map", "0 1000 1\n"),
            ("proc/42/status", root),
            ("proc/42/uid_map", its),
        ]);
        assert_eq!(gather(42, machine.path()).other_user_namespace, expected);
    }
}

#[test]
fn reasons_that_forbid_a_pause_but_not_a_read() {
    assert!(!ptrace_is_forbidden(), "or no test of pauses can pass");
    for (seccomp, text, remedy) in [
        (
            true,
            "a seccomp filter forbids ptrace",
            "seccomp=unconfined",
        ),
        (false, "cannot be paused, only read", "--nonblocking"),
    ] {
        let problem = PermissionProblem::PauseForbidden { pid: 42, seccomp };
        assert!(problem.to_string().contains(text), "{problem}");
        assert!(problem.hint().contains(remedy), "{problem}");
    }
}

#[test]
fn the_facts_come_from_proc() {
    let folder = machine(&[
        (
            "proc/self/status",
            "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000080000\n",
        ),
        (
            "proc/42/status",
            "Uid:\t54321\t54321\t0\t0\nTracerPid:\t9\n",
        ),
        ("proc/9/status", "Tgid:\t8\n"),
        ("proc/8/comm", "evil\u{1b}[31m\n"),
        ("proc/sys/kernel/yama/ptrace_scope", "2\n"),
        ("proc/1/cgroup", "0::/docker/abc\n"),
    ]);
    let facts = gather(42, folder.path());
    assert!(!facts.root && facts.has_ptrace_capability);
    assert_eq!(facts.environment, Environment::Container);
    assert_eq!(facts.owner, Some(54321));
    assert_eq!(facts.owner_name.as_deref(), Some("user 54321"));
    assert_eq!(facts.tracer, Some((8, "evil\u{fffd}[31m".into())));
    assert_eq!(facts.yama_scope, 2);
    let nothing = gather(43, folder.path());
    assert_eq!((nothing.owner, nothing.tracer), (None, None));
}
