//! Tests of the judgement about permissions, on made-up facts and a made-up /proc.
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
                container: true,
                ..root()
            },
            "SYS_PTRACE capability",
            "--cap-add SYS_PTRACE",
        ),
        (
            Facts {
                container: true,
                kubernetes: true,
                ..root()
            },
            "SYS_PTRACE capability",
            r#"securityContext: {capabilities: {add: ["SYS_PTRACE"]}}"#,
        ),
        (user(), "changed its user or rights", "sudo env"),
        (
            Facts {
                owner: None,
                ..user()
            },
            "does not let us",
            "as root",
        ),
        (
            Facts {
                has_ptrace_capability: true,
                ..root()
            },
            "does not let us",
            "security module",
        ),
    ];
    for (facts, wrong, remedy) in cases {
        let problem = judge(42, facts.clone());
        let (text, hint) = (problem.to_string(), problem.hint());
        assert!(
            text.contains(wrong) && text.contains("42"),
            "{facts:?}: {text}"
        );
        assert!(hint.contains(remedy), "{facts:?}: {hint}");
        assert!(!text.contains('\n') && !hint.contains('\n'));
    }
}

#[test]
fn the_facts_come_from_proc() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "proc/self/status",
        "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000080000\n",
    );
    write(
        "proc/42/status",
        "Uid:\t54321\t54321\t0\t0\nTracerPid:\t9\n",
    );
    write("proc/9/status", "Tgid:\t8\n");
    write("proc/8/comm", "evil\u{1b}[31m\n");
    write("proc/sys/kernel/yama/ptrace_scope", "2\n");
    write("proc/1/cgroup", "0::/docker/abc\n");
    let facts = gather(42, folder.path());
    assert!(!facts.root && facts.has_ptrace_capability && facts.container);
    assert_eq!(facts.owner, Some(54321));
    assert_eq!(facts.owner_name.as_deref(), Some("user 54321"));
    assert_eq!(facts.tracer, Some((8, "evil\u{fffd}[31m".into())));
    assert_eq!(facts.yama_scope, 2);
    let nothing = gather(43, folder.path());
    assert_eq!((nothing.owner, nothing.tracer), (None, None));
}
