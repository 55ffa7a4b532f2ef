//! [`PermissionProblem`]: why the system does not let us look into a process, and what to do.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::ptrace;

use super::memory::live::LiveMemory;
use super::procfs::status::Status;
use super::{Pid, Tid, container};

/// What stands between us and a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionProblem {
    /// The process belongs to somebody else and we aren't root.
    OtherUser {
        /// The process.
        pid: Pid,
        /// Its owner, by name or number.
        owner: String,
        /// Where we are.
        place: Environment,
    },
    /// The Yama security module lets a process look into its descendants only.
    Yama {
        /// The process.
        pid: Pid,
        /// The value of `kernel.yama.ptrace_scope`: 1 only descendants, 2 only root, 3 nobody.
        scope: u32,
    },
    /// We are root without `CAP_SYS_PTRACE`, as in a container that hasn't been given it.
    NoCapability {
        /// The process.
        pid: Pid,
        /// Where we are.
        place: Environment,
    },
    /// We are root in a user namespace that the process isn't in, as in a container without root rights.
    UserNamespace {
        /// The process.
        pid: Pid,
    },
    /// Its memory may be read, but its threads may not be paused.
    PauseForbidden {
        /// The process.
        pid: Pid,
        /// Whether no process at all can be traced from here: the system call is forbidden.
        seccomp: bool,
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

/// Where we run, which decides on how to get a right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// On the machine itself.
    #[default]
    Machine,
    /// In a container.
    Container,
    /// In a container of a Kubernetes pod.
    Pod,
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
    other_user_namespace: bool,
    place: Environment,
}

/// `CAP_SYS_PTRACE` in the kernel's include/uapi/linux/capability.h.
pub(crate) const CAP_SYS_PTRACE: u32 = 19;

impl PermissionProblem {
    /// Finds out why a process may not be read. Ask only after the system has refused.
    pub fn diagnose(pid: Pid) -> PermissionProblem {
        judge(pid, gather(pid, Path::new("/")))
    }

    /// Finds out why one of its threads may not be paused although its memory was read: mostly because it
    /// is traced already.
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
        // The kernel asks for the same right before it lets memory be read: if it still does, the reason is
        // another one.
        if seccomp || LiveMemory::open(pid).is_ok() {
            return PermissionProblem::PauseForbidden { pid, seccomp };
        }
        judge(pid, facts)
    }

    /// One line that says what to do about it. `pyspy-rs …` stands for the command that was refused.
    pub fn hint(&self) -> String {
        const SUDO: &str = r#"sudo env "PATH=$PATH" pyspy-rs …"#;
        const LAUNCH: &str = "start the program with pyspy-rs: \
                              pyspy-rs record -o profile.svg -- python …";
        match self {
            PermissionProblem::OtherUser {
                place: Environment::Machine,
                ..
            }
            | PermissionProblem::NotDumpable { .. } => format!("run it as root: {SUDO}"),
            // Docker's root has no power over other users' processes without the capability.
            PermissionProblem::OtherUser {
                place: Environment::Container,
                owner,
                ..
            } => format!(
                "run it as that user: docker exec -u {} CONTAINER pyspy-rs …",
                owner.trim_start_matches("user ")
            ),
            PermissionProblem::OtherUser {
                place: Environment::Pod, ..
            } => "run it as root, from a debug container: kubectl debug -it POD --image=IMAGE \
                  --target=CONTAINER --profile=general"
                .into(),
            PermissionProblem::Yama { scope: 3.., .. } => {
                "no process may be attached to until the machine starts with another \
                 kernel.yama.ptrace_scope"
                    .into()
            }
            PermissionProblem::Yama { scope: 2, .. } => format!("run it as root: {SUDO}"),
            PermissionProblem::Yama { .. } => format!(
                "run it as root: {SUDO}, or allow it until the next start: \
                 sudo sysctl kernel.yama.ptrace_scope=0, or {LAUNCH}"
            ),
            PermissionProblem::NoCapability {
                place: Environment::Pod, ..
            } => r#"add to the container: securityContext: {capabilities: {add: ["SYS_PTRACE"]}}"#
                .into(),
            PermissionProblem::NoCapability {
                place: Environment::Container,
                ..
            } => "start the container with --cap-add SYS_PTRACE, or run pyspy-rs outside of it".into(),
            PermissionProblem::NoCapability {
                place: Environment::Machine,
                ..
            } => "leave CAP_SYS_PTRACE to whatever starts it; for a service of systemd: \
                  CapabilityBoundingSet=CAP_SYS_PTRACE"
                .into(),
            PermissionProblem::UserNamespace { .. } => {
                "run it outside of this container or user namespace, as root of the machine".into()
            }
            PermissionProblem::PauseForbidden { seccomp: true, .. } => {
                "use --nonblocking, or start the container with --security-opt seccomp=unconfined"
                    .into()
            }
            PermissionProblem::PauseForbidden { .. } => {
                "use --nonblocking, or end the debugger that traces it".into()
            }
            PermissionProblem::AlreadyTraced { tracer, .. } => format!(
                "end the debugger or tracer (process {tracer}) first, or use --nonblocking"
            ),
            PermissionProblem::Unknown { root: false, .. } => format!("try it as root: {SUDO}"),
            PermissionProblem::Unknown { .. } => {
                "look for denials by a security module (AppArmor, SELinux) in the kernel's log: dmesg"
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
                "the system lets nobody but {} look into process {pid} \
                 (kernel.yama.ptrace_scope is {scope})",
                match scope {
                    1 => "its parents",
                    2 => "root",
                    _ => "the kernel",
                }
            ),
            PermissionProblem::NoCapability {
                pid,
                place: Environment::Machine,
            } => write!(
                f,
                "looking into process {pid} needs the capability CAP_SYS_PTRACE, which this root lacks"
            ),
            PermissionProblem::NoCapability { pid, .. } => write!(
                f,
                "looking into process {pid} needs the SYS_PTRACE capability, which this container \
                 lacks"
            ),
            PermissionProblem::UserNamespace { pid } => write!(
                f,
                "process {pid} is in another user namespace, where the root of this one has no rights"
            ),
            PermissionProblem::PauseForbidden { pid, seccomp: true } => write!(
                f,
                "threads of process {pid} cannot be paused: a seccomp filter forbids ptrace here"
            ),
            PermissionProblem::PauseForbidden { pid, .. } => write!(
                f,
                "threads of process {pid} cannot be paused, only read: a debugger outside of our sight \
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
                "process {pid} has changed its user or rights, so it may not be looked into"
            ),
            PermissionProblem::Unknown { pid, .. } => {
                write!(f, "the system does not let us look into process {pid}")
            }
        }
    }
}

/// Whether the system call is refused whatever it is asked for: there is no process 0, and where the call
/// is allowed the kernel says so.
fn ptrace_is_forbidden() -> bool {
    let nobody = nix::unistd::Pid::from_raw(0);
    ptrace::seize(nobody, ptrace::Options::empty()) != Err(Errno::ESRCH)
}

/// The process that a tracing thread belongs to, and its command.
pub(crate) fn tracer(root: &Path, thread: Tid) -> (Pid, String) {
    let status = Status::read(&root.join(format!("proc/{thread}/status")));
    let process = status.ok().and_then(|status| status.process);
    let process = process.unwrap_or(thread);
    let command = fs::read_to_string(root.join(format!("proc/{process}/comm")));
    let command = command.unwrap_or_default();
    (process, super::printable(command.trim_end()))
}

/// Collects the facts; `root` is where /proc and the container's marks are looked for.
fn gather(pid: Pid, root: &Path) -> Facts {
    let own = Status::read(&root.join("proc/self/status")).unwrap_or_default();
    let target = Status::read(&root.join(format!("proc/{pid}/status"))).unwrap_or_default();
    let own_uid = own.effective_uid.unwrap_or(u32::MAX);
    let owner_name = target.real_uid.map(user_name);
    let tracer = target.tracer.map(|thread| tracer(root, thread));
    let yama_scope = yama_scope(root).unwrap_or(0);
    // These tell the user namespaces apart to everybody, where the names of those are for tracers only.
    let users = |process: &str| fs::read(root.join(format!("proc/{process}/uid_map"))).ok();
    let other_user_namespace = match (users("self"), users(&pid.to_string())) {
        (Some(ours), Some(its)) => ours != its,
        _ => false,
    };
    let place = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
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
        place,
    }
}

/// A user's name, or `user 1000` for one without.
pub(crate) fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

/// `kernel.yama.ptrace_scope`; `None` on a kernel without Yama.
pub(crate) fn yama_scope(root: &Path) -> Option<u32> {
    let scope = fs::read_to_string(root.join("proc/sys/kernel/yama/ptrace_scope"));
    scope.ok()?.trim().parse().ok()
}

fn judge(pid: Pid, facts: Facts) -> PermissionProblem {
    let other_user = facts.owner.is_some_and(|owner| owner != facts.own_uid);
    if facts.has_ptrace_capability {
        return match facts.yama_scope {
            scope @ 3.. => PermissionProblem::Yama { pid, scope },
            _ if facts.other_user_namespace => PermissionProblem::UserNamespace { pid },
            _ => PermissionProblem::Unknown { pid, root: true },
        };
    }
    let place = facts.place;
    if facts.root {
        return match facts.yama_scope {
            scope @ 3.. => PermissionProblem::Yama { pid, scope },
            _ => PermissionProblem::NoCapability { pid, place },
        };
    }
    if other_user {
        let owner = facts.owner_name.unwrap_or_else(|| "another user".into());
        return PermissionProblem::OtherUser { pid, owner, place };
    }
    match facts.yama_scope {
        0 if place != Environment::Machine => PermissionProblem::NoCapability { pid, place },
        0 if facts.owner.is_some() => PermissionProblem::NotDumpable { pid },
        0 => PermissionProblem::Unknown { pid, root: false },
        scope => PermissionProblem::Yama { pid, scope },
    }
}

#[cfg(test)]
mod tests;
