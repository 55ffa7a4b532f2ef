//! [`PermissionProblem`]: why the system does not let us look into a process, and what to do.

use std::fs;
use std::path::Path;

use super::{Pid, Tid, container, status::Status};

/// What stands between us and a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionProblem {
    /// The process belongs to somebody else and we aren't root.
    OtherUser {
        /// The process.
        pid: Pid,
        /// Its owner, by name or number.
        owner: String,
    },
    /// The Yama security module lets a process look into its descendants only.
    Yama {
        /// The process.
        pid: Pid,
        /// The value of `kernel.yama.ptrace_scope`: 1 only descendants, 2 only root, 3 nobody.
        scope: u32,
    },
    /// We are root without `CAP_SYS_PTRACE`, as in a container that hasn't been given it.
    Container {
        /// The process.
        pid: Pid,
        /// Whether Kubernetes runs the container.
        kubernetes: bool,
    },
    /// Another program traces the process already; there can be one only.
    AlreadyTraced {
        /// The process.
        pid: Pid,
        /// Who traces it.
        tracer: Pid,
        /// The tracer's command.
        command: String,
    },
    /// It is our own user's process, but one that has changed its rights or guards its secrets.
    NotDumpable {
        /// The process.
        pid: Pid,
    },
    /// None of these: a security module, or another user namespace.
    Unknown {
        /// The process.
        pid: Pid,
        /// Whether we are root.
        root: bool,
    },
}

/// What the system says about us; taken apart from the judgement so that it can be tested.
#[derive(Clone, Debug, Default)]
struct Facts {
    root: bool,
    own_uid: u32,
    has_ptrace_capability: bool,
    owner: Option<u32>,
    owner_name: Option<String>,
    tracer: Option<(Pid, String)>,
    yama_scope: u32,
    container: bool,
    kubernetes: bool,
}

/// `CAP_SYS_PTRACE` in the kernel's include/uapi/linux/capability.h.
pub(super) const CAP_SYS_PTRACE: u32 = 19;

impl PermissionProblem {
    /// Finds out why a process may not be read. Ask only after the system has refused.
    pub fn diagnose(pid: Pid) -> PermissionProblem {
        judge(pid, gather(pid, Path::new("/")))
    }

    /// Finds out why one of its threads may not be paused: mostly because it is traced already.
    pub fn diagnose_trace(pid: Pid, tid: Tid) -> PermissionProblem {
        let facts = gather(tid, Path::new("/"));
        match facts.tracer.clone() {
            Some((tracer, command)) => PermissionProblem::AlreadyTraced {
                pid,
                tracer,
                command,
            },
            None => judge(pid, facts),
        }
    }

    /// One line that says what to do about it.
    pub fn hint(&self) -> String {
        const SUDO: &str = r#"sudo env "PATH=$PATH" pyspy-rs …"#;
        match self {
            PermissionProblem::OtherUser { .. } | PermissionProblem::NotDumpable { .. } => {
                format!("run it as root: {SUDO}")
            }
            PermissionProblem::Yama { scope: 3.., .. } => {
                "no process may be attached to until the machine starts with another \
                 kernel.yama.ptrace_scope"
                    .into()
            }
            PermissionProblem::Yama { .. } => format!(
                "run it as root: {SUDO}, or start the program with pyspy-rs: \
                 pyspy-rs record -o profile.svg -- python …"
            ),
            PermissionProblem::Container {
                kubernetes: true, ..
            } => {
                r#"add to the container: securityContext: {capabilities: {add: ["SYS_PTRACE"]}}"#
                    .into()
            }
            PermissionProblem::Container { .. } => {
                "start the container with --cap-add SYS_PTRACE, or run pyspy-rs outside of it".into()
            }
            PermissionProblem::AlreadyTraced { tracer, .. } => format!(
                "end the debugger or tracer (process {tracer}) first, or use --nonblocking"
            ),
            PermissionProblem::Unknown { root: false, .. } => format!("try it as root: {SUDO}"),
            PermissionProblem::Unknown { .. } => {
                "run it in the process's own user namespace or outside of all, and look for denials \
                 by a security module (AppArmor, SELinux, seccomp) in the kernel's log"
                    .into()
            }
        }
    }
}

impl std::fmt::Display for PermissionProblem {
    /// One line that says what is wrong.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PermissionProblem::OtherUser { pid, owner } => {
                write!(f, "process {pid} belongs to {owner}, not to you")
            }
            PermissionProblem::Yama { pid, scope } => write!(
                f,
                "the system lets nobody but {} look into process {pid} \
                 (kernel.yama.ptrace_scope is {scope})",
                match scope {
                    1 => "its parents",
                    2 => "root",
                    _ => "the kernel",
                }
            ),
            PermissionProblem::Container { pid, .. } => write!(
                f,
                "looking into process {pid} needs the SYS_PTRACE capability, which this container \
                 lacks"
            ),
            PermissionProblem::AlreadyTraced {
                pid,
                tracer,
                command,
            } => write!(
                f,
                "process {pid} is being traced by process {tracer} ({command})"
            ),
            PermissionProblem::NotDumpable { pid } => write!(
                f,
                "process {pid} has changed its user or rights, so it may not be looked into"
            ),
            PermissionProblem::Unknown { pid, .. } => {
                write!(f, "the system does not let us look into process {pid}")
            }
        }
    }
}

/// Collects the facts; `root` is where /proc and the container's marks are looked for.
fn gather(pid: Pid, root: &Path) -> Facts {
    let own = Status::read(&root.join("proc/self/status")).unwrap_or_default();
    let target = Status::read(&root.join(format!("proc/{pid}/status"))).unwrap_or_default();
    let own_uid = own.effective_uid.unwrap_or(u32::MAX);
    let owner_name = target.real_uid.map(user_name);
    let tracer = target.tracer.map(|thread| tracer(thread, root));
    let yama_scope = yama_scope(root).unwrap_or(0);
    let kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    Facts {
        root: own_uid == 0,
        own_uid,
        has_ptrace_capability: own.effective_capabilities >> CAP_SYS_PTRACE & 1 == 1,
        owner: target.real_uid,
        owner_name,
        tracer,
        yama_scope,
        container: kubernetes || container::is_inside(root),
        kubernetes,
    }
}

/// A user's name, or `user 1000` for one without.
pub(super) fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

/// The process that a tracing thread belongs to, and its command.
pub(super) fn tracer(thread: Tid, root: &Path) -> (Pid, String) {
    let status = Status::read(&root.join(format!("proc/{thread}/status")));
    let tracer = status
        .ok()
        .and_then(|status| status.process)
        .unwrap_or(thread);
    let command = fs::read_to_string(root.join(format!("proc/{tracer}/comm")));
    let command = command.unwrap_or_default();
    (tracer, crate::target::printable(command.trim_end()))
}

/// `kernel.yama.ptrace_scope`; `None` on a kernel without Yama.
pub(super) fn yama_scope(root: &Path) -> Option<u32> {
    let scope = fs::read_to_string(root.join("proc/sys/kernel/yama/ptrace_scope"));
    scope.ok()?.trim().parse().ok()
}

fn judge(pid: Pid, facts: Facts) -> PermissionProblem {
    let other_user = facts.owner.is_some_and(|owner| owner != facts.own_uid);
    if facts.has_ptrace_capability {
        return match facts.yama_scope {
            scope @ 3.. => PermissionProblem::Yama { pid, scope },
            _ => PermissionProblem::Unknown { pid, root: true },
        };
    }
    let missing_capability = PermissionProblem::Container {
        pid,
        kubernetes: facts.kubernetes,
    };
    if facts.root {
        return missing_capability;
    }
    if other_user {
        let owner = facts.owner_name.unwrap_or_else(|| "another user".into());
        return PermissionProblem::OtherUser { pid, owner };
    }
    match facts.yama_scope {
        0 if facts.container => missing_capability,
        0 if facts.owner.is_some() => PermissionProblem::NotDumpable { pid },
        0 => PermissionProblem::Unknown { pid, root: false },
        scope => PermissionProblem::Yama { pid, scope },
    }
}

#[cfg(test)]
mod tests;
