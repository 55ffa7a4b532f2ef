//! [`PermissionProblem`]: why the system denies access to a process, and what to do.

pub mod users;

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::ptrace;

use super::memory::live::LiveMemory;
use super::procfs::status::Status;
use super::{Pid, Tid, container};
use crate::text::sanitize::printable;
use users::user_name;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionProblem {
    /// The process belongs to another user and we are not root.
    OtherUser {
        pid: Pid,
        /// The owner, by name or number.
        owner: String,
        environment: Environment,
    },
    /// The Yama security module permits attaching to descendants only.
    Yama {
        pid: Pid,
        /// The value of `kernel.yama.ptrace_scope`: 1 descendants only, 2 root only, 3 no process.
        scope: u32,
    },
    /// We are root without `CAP_SYS_PTRACE`, as in a container without that capability.
    NoCapability { pid: Pid, environment: Environment },
    /// We are root of a user namespace that the process is not in, as in a rootless container.
    UserNamespace { pid: Pid },
    /// Its memory may be read, but its threads may not be paused.
    PauseForbidden {
        pid: Pid,
        /// The ptrace system call is forbidden for us, whatever the process.
        seccomp: bool,
    },
    /// Another process traces it already; a thread can have one tracer only.
    AlreadyTraced {
        pid: Pid,
        tracer: Pid,
        /// The tracer's command.
        command: String,
    },
    /// It has our own user, but has changed its privileges or is not dumpable.
    NotDumpable { pid: Pid },
    /// None of these: a security module, or another user namespace.
    Unknown {
        pid: Pid,
        /// We are root.
        root: bool,
    },
}

/// Where we run, which decides the advice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// On the host.
    #[default]
    Machine,
    Container,
    Pod,
}

/// The inputs of the diagnosis, separate from it so that it can be tested.
#[derive(Clone, Debug, Default)]
struct Facts {
    root: bool,
    own_uid: u32,
    has_ptrace_capability: bool,
    owner: Option<u32>,
    owner_name: Option<String>,
    tracer: Option<(Pid, String)>,
    yama_scope: u32,
    other_user_namespace: bool,
    environment: Environment,
}

/// `CAP_SYS_PTRACE` in the kernel's include/uapi/linux/capability.h.
pub const CAP_SYS_PTRACE: u32 = 19;

impl PermissionProblem {
    /// Finds out why a process may not be read. Call it only after the system has refused.
    pub fn diagnose(pid: Pid) -> PermissionProblem {
        classify(pid, gather(pid, Path::new("/")))
    }

    /// Finds out why a thread may not be paused although its memory was read: usually because it is
    /// traced already.
    pub fn diagnose_trace(pid: Pid, tid: Tid) -> PermissionProblem {
        let facts = gather(tid, Path::new("/"));
        if let Some((tracer, command)) = facts.tracer {
            return PermissionProblem::AlreadyTraced {
                pid,
                tracer,
                command,
            };
        }
        let seccomp = ptrace_is_forbidden();
        // Reading memory needs the same permission as tracing: if reading is still allowed, the
        // reason is another.
        if seccomp || LiveMemory::open(pid).is_ok() {
            return PermissionProblem::PauseForbidden { pid, seccomp };
        }
        classify(pid, facts)
    }

    /// One line that says what to do. `pyspy-rs …` stands for the command that was refused.
    pub fn hint(&self) -> String {
        const SUDO: &str = r#"sudo env "PATH=$PATH" pyspy-rs …"#;
        const LAUNCH: &str = "start the program with pyspy-rs: \
                              pyspy-rs record -o profile.svg -- python …";
        match self {
            PermissionProblem::OtherUser {
                environment: Environment::Machine,
                ..
            }
            | PermissionProblem::NotDumpable { .. } => format!("run it as root: {SUDO}"),
            // Root in a Docker container cannot access other users' processes without the
            // capability.
            PermissionProblem::OtherUser {
                environment: Environment::Container,
                owner,
                ..
            } => format!(
                "run it as that user: docker exec -u {} CONTAINER pyspy-rs …",
                owner.trim_start_matches("user ")
            ),
            PermissionProblem::OtherUser {
                environment: Environment::Pod,
                ..
            } => "run it as root, from a debug container: kubectl debug -it POD --image=IMAGE \
                  --target=CONTAINER --profile=general"
                .into(),
            PermissionProblem::Yama { scope: 3.., .. } => {
                "no process can be attached to until the machine is rebooted with another \
                 kernel.yama.ptrace_scope"
                    .into()
            }
            PermissionProblem::Yama { scope: 2, .. } => format!("run it as root: {SUDO}"),
            PermissionProblem::Yama { .. } => format!(
                "run it as root: {SUDO}, or allow it until the next boot: \
                 sudo sysctl kernel.yama.ptrace_scope=0, or {LAUNCH}"
            ),
            PermissionProblem::NoCapability {
                environment: Environment::Pod,
                ..
            } => r#"add to the container: securityContext: {capabilities: {add: ["SYS_PTRACE"]}}"#
                .into(),
            PermissionProblem::NoCapability {
                environment: Environment::Container,
                ..
            } => {
                "start the container with --cap-add SYS_PTRACE, or run pyspy-rs on the host".into()
            }
            PermissionProblem::NoCapability {
                environment: Environment::Machine,
                ..
            } => "give it the capability CAP_SYS_PTRACE; for a systemd service: \
                  CapabilityBoundingSet=CAP_SYS_PTRACE"
                .into(),
            PermissionProblem::UserNamespace { .. } => {
                "run it outside this container or user namespace, as root of the host".into()
            }
            PermissionProblem::PauseForbidden { seccomp: true, .. } => {
                "use --nonblocking, or start the container with --security-opt seccomp=unconfined"
                    .into()
            }
            PermissionProblem::PauseForbidden { .. } => {
                "use --nonblocking, or detach the debugger that traces it".into()
            }
            PermissionProblem::AlreadyTraced { tracer, .. } => format!(
                "detach the debugger or tracer (process {tracer}) first, or use --nonblocking"
            ),
            PermissionProblem::Unknown { root: false, .. } => format!("try as root: {SUDO}"),
            PermissionProblem::Unknown { .. } => {
                "check the kernel log (dmesg) for denials by a security module (AppArmor, SELinux)"
                    .into()
            }
        }
    }
}

impl std::fmt::Display for PermissionProblem {
    /// One line that says what is wrong.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PermissionProblem::OtherUser { pid, owner, .. } => {
                write!(f, "process {pid} belongs to {owner}, not to you")
            }
            PermissionProblem::Yama { pid, scope } => write!(
                f,
                "{} may attach to process {pid} (kernel.yama.ptrace_scope is {scope})",
                match scope {
                    1 => "only its parents",
                    2 => "only root",
                    _ => "no process",
                }
            ),
            PermissionProblem::NoCapability {
                pid,
                environment: Environment::Machine,
            } => write!(
                f,
                "attaching to process {pid} requires the capability CAP_SYS_PTRACE, which this root lacks"
            ),
            PermissionProblem::NoCapability { pid, .. } => write!(
                f,
                "attaching to process {pid} requires the SYS_PTRACE capability, which this container \
                 lacks"
            ),
            PermissionProblem::UserNamespace { pid } => write!(
                f,
                "process {pid} is in another user namespace, where root of this one has no privileges"
            ),
            PermissionProblem::PauseForbidden { pid, seccomp: true } => write!(
                f,
                "threads of process {pid} cannot be paused: a seccomp filter forbids ptrace here"
            ),
            PermissionProblem::PauseForbidden { pid, .. } => write!(
                f,
                "threads of process {pid} cannot be paused, only read: a debugger that we cannot see \
                 traces it, or a security module forbids it"
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
                "process {pid} has changed its user or privileges, so only root may attach to it"
            ),
            PermissionProblem::Unknown { pid, .. } => {
                write!(f, "the system denies access to process {pid}")
            }
        }
    }
}

/// Whether the system call itself is refused: there is no process 0, and where the call is allowed
/// the kernel reports that.
fn ptrace_is_forbidden() -> bool {
    let no_process = nix::unistd::Pid::from_raw(0);
    ptrace::seize(no_process, ptrace::Options::empty()) != Err(Errno::ESRCH)
}

/// The process that a tracing thread belongs to, and its command.
pub fn tracer(root: &Path, thread: Tid) -> (Pid, String) {
    let status = Status::read(&root.join(format!("proc/{thread}/status")));
    let process = status.ok().and_then(|status| status.process);
    let process = process.unwrap_or(thread);
    let command = fs::read_to_string(root.join(format!("proc/{process}/comm")));
    let command = command.unwrap_or_default();
    (process, printable(command.trim_end()).into_owned())
}

/// Collects the facts; `root` is where /proc and the container marks are read.
fn gather(pid: Pid, root: &Path) -> Facts {
    let own = Status::read(&root.join("proc/self/status")).unwrap_or_default();
    let target = Status::read(&root.join(format!("proc/{pid}/status"))).unwrap_or_default();
    let own_uid = own.effective_uid.unwrap_or(u32::MAX);
    let owner_name = target.real_uid.map(user_name);
    let tracer = target.tracer.map(|thread| tracer(root, thread));
    let yama_scope = yama_scope(root).unwrap_or(0);
    // The maps are readable without privileges and differ between user namespaces; the names of the
    // namespaces are readable with the right to trace only.
    let users = |process: &str| fs::read(root.join(format!("proc/{process}/uid_map"))).ok();
    let other_user_namespace = match (users("self"), users(&pid.to_string())) {
        (Some(ours), Some(its)) => ours != its,
        _ => false,
    };
    let environment = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Environment::Pod
    } else if container::is_inside(root) {
        Environment::Container
    } else {
        Environment::Machine
    };
    Facts {
        root: own_uid == 0,
        own_uid,
        has_ptrace_capability: own.effective_capabilities >> CAP_SYS_PTRACE & 1 == 1,
        owner: target.real_uid,
        owner_name,
        tracer,
        yama_scope,
        other_user_namespace,
        environment,
    }
}

/// `kernel.yama.ptrace_scope`; `None` on a kernel without Yama.
pub fn yama_scope(root: &Path) -> Option<u32> {
    let scope = fs::read_to_string(root.join("proc/sys/kernel/yama/ptrace_scope"));
    scope.ok()?.trim().parse().ok()
}

fn classify(pid: Pid, facts: Facts) -> PermissionProblem {
    let other_user = facts.owner.is_some_and(|owner| owner != facts.own_uid);
    if facts.has_ptrace_capability {
        return match facts.yama_scope {
            scope @ 3.. => PermissionProblem::Yama { pid, scope },
            _ if facts.other_user_namespace => PermissionProblem::UserNamespace { pid },
            _ => PermissionProblem::Unknown { pid, root: true },
        };
    }
    let environment = facts.environment;
    if facts.root {
        return match facts.yama_scope {
            scope @ 3.. => PermissionProblem::Yama { pid, scope },
            _ => PermissionProblem::NoCapability { pid, environment },
        };
    }
    if other_user {
        let owner = facts.owner_name.unwrap_or_else(|| "another user".into());
        return PermissionProblem::OtherUser {
            pid,
            owner,
            environment,
        };
    }
    match facts.yama_scope {
        0 if environment != Environment::Machine => {
            PermissionProblem::NoCapability { pid, environment }
        }
        0 if facts.owner.is_some() => PermissionProblem::NotDumpable { pid },
        0 => PermissionProblem::Unknown { pid, root: false },
        scope => PermissionProblem::Yama { pid, scope },
    }
}

#[cfg(test)]
mod tests;
