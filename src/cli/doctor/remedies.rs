//! Problems with a process, and the commands that fix them.

use super::report::Problem;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::diagnose::facts::ProcessFacts;
use crate::os::permission::PermissionProblem;
use crate::os::process::TargetProcess;
use crate::os::ptrace::pause::PauseError;
use crate::os::thread::state::RunState;

/// Most children of a process without Python that are tried.
const MAX_CHILDREN: usize = 256;
/// Most of them that are named.
const MAX_NAMED: usize = 10;

/// The command that runs `doctor` as root.
fn as_root(pid: Pid) -> String {
    format!(r#"sudo env "PATH=$PATH" pyspy-rs doctor {pid}"#)
}

pub fn for_attach_error(pid: Pid, facts: Option<&ProcessFacts>, error: &AttachError) -> Problem {
    let fixes = match error {
        AttachError::NotPython { .. } if facts.is_some_and(|facts| facts.kernel_thread) => {
            vec!["none: kernel threads run no Python".to_owned()]
        }
        // Diagnosed again: the error has only the text.
        AttachError::PermissionDenied { .. } => {
            for_permission(pid, &PermissionProblem::diagnose(pid))
        }
        AttachError::IsThread { pid, .. } => vec![format!("pyspy-rs doctor {pid}")],
        AttachError::NotPython { .. } => match python_children(pid) {
            found if found.is_empty() => vec![error.hint()],
            found => found,
        },
        AttachError::Ended { .. } => vec![format!("none: {}", error.hint())],
        other => vec![other.hint()],
    };
    let problem = match error {
        // Without the words for those who search stderr.
        AttachError::PermissionDenied { problem, .. } => problem.clone(),
        other => other.to_string(),
    };
    Problem { problem, fixes }
}

pub fn for_pause_error(pid: Pid, error: &PauseError) -> Problem {
    let mut fixes = match error {
        PauseError::PermissionDenied(problem) => for_permission(pid, problem),
        PauseError::Io { .. } => Vec::new(),
    };
    fixes.push(format!(
        "without pausing: pyspy-rs record --nonblocking -o profile.svg --pid {pid}"
    ));
    Problem {
        problem: format!("threads cannot be paused: {error}"),
        fixes,
    }
}

/// The commands that grant access, the preferred one first.
pub fn for_permission(pid: Pid, problem: &PermissionProblem) -> Vec<String> {
    let launch = "or launch the program: pyspy-rs record -o profile.svg -- python3 …";
    match problem {
        PermissionProblem::OtherUser { .. } | PermissionProblem::NotDumpable { .. } => {
            vec![as_root(pid)]
        }
        PermissionProblem::Yama { scope: 1, .. } => vec![
            as_root(pid),
            "or, for all your processes: sudo sysctl -w kernel.yama.ptrace_scope=0".to_owned(),
            launch.to_owned(),
        ],
        PermissionProblem::Yama { scope: 2, .. } => vec![as_root(pid), launch.to_owned()],
        PermissionProblem::Unknown { root: false, .. } => vec![as_root(pid)],
        PermissionProblem::AlreadyTraced { tracer, .. } => {
            vec![format!("find that tracer, and end it: ps -fp {tracer}")]
        }
        // Containers and security modules: no command, only the hint.
        other => vec![other.hint()],
    }
}

/// A problem of a process that can be read.
pub fn for_state(pid: Pid, facts: &ProcessFacts) -> Option<Problem> {
    if let Some(frozen) = &facts.frozen {
        let (file, text) = frozen.remedy();
        return Some(Problem {
            problem: format!(
                "the process is frozen by its control group {}: its stacks do not change",
                frozen.group.display()
            ),
            fixes: vec![
                "of a container: docker unpause".to_owned(),
                format!("or: echo {text} > {}", file.display()),
            ],
        });
    }
    (facts.state == RunState::Stopped).then(|| Problem {
        problem: "the process is stopped (Ctrl-Z or SIGSTOP): its stacks do not change".to_owned(),
        fixes: vec![format!("kill -CONT {pid}")],
    })
}

/// The Python children of a wrapper, as commands to inspect them.
fn python_children(pid: Pid) -> Vec<String> {
    let Ok(target) = TargetProcess::open(pid) else {
        return Vec::new();
    };
    let children = target.children().into_iter().take(MAX_CHILDREN);
    children
        .filter(|child| PythonProcess::examine(child.pid).is_ok())
        .take(MAX_NAMED)
        .map(|child| format!("inspect its Python child: pyspy-rs doctor {}", child.pid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::permission::Environment;

    #[test]
    fn each_permission_has_a_command_with_the_pid() {
        let pid = 8172;
        let owner = "alice".to_owned();
        for (problem, first, some) in [
            (
                PermissionProblem::OtherUser {
                    pid,
                    owner,
                    environment: Environment::Machine,
                },
                "sudo env",
                "",
            ),
            (PermissionProblem::NotDumpable { pid }, "sudo env", ""),
            (
                PermissionProblem::Yama { pid, scope: 1 },
                "sudo env",
                "ptrace_scope=0",
            ),
            (
                PermissionProblem::Yama { pid, scope: 2 },
                "sudo env",
                "record -o",
            ),
            (
                PermissionProblem::Unknown { pid, root: false },
                "sudo env",
                "",
            ),
        ] {
            let fixes = for_permission(pid, &problem);
            assert!(
                fixes.first().is_some_and(|fix| fix.starts_with(first)),
                "{fixes:?}"
            );
            assert!(
                fixes
                    .first()
                    .is_some_and(|fix| fix.ends_with("doctor 8172")),
                "{fixes:?}"
            );
            assert!(fixes.iter().any(|fix| fix.contains(some)), "{fixes:?}");
        }
        let frozen = for_permission(pid, &PermissionProblem::Yama { pid, scope: 3 });
        assert!(frozen.iter().all(|fix| !fix.contains("sudo")), "{frozen:?}");
        let traced = PermissionProblem::AlreadyTraced {
            pid,
            tracer: 7,
            command: "gdb".to_owned(),
        };
        let problem = for_pause_error(pid, &PauseError::PermissionDenied(traced));
        assert!(problem.problem.contains("gdb"), "{problem:?}");
        assert!(
            problem.fixes.iter().any(|fix| fix.ends_with("ps -fp 7")),
            "{problem:?}"
        );
        assert!(
            problem
                .fixes
                .iter()
                .any(|fix| fix.contains("--nonblocking")),
            "{problem:?}"
        );
    }
}
