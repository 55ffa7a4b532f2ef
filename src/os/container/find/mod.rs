//! [`Containers`]: the containers on this machine, and the ids of processes inside them.
//!
//! The kernel has no notion of a container. It knows that a process has another PID namespace,
//! another UTS namespace (host name) and a control group, which the runtimes name after the
//! container: `/system.slice/docker-ID.scope`, `/kubepods/burstable/podUID/ID`,
//! `/lxc.payload.NAME`. Here a container is the set of processes that share PID namespace and
//! container id.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use crate::os::Pid;
use crate::os::procfs::cgroup::hierarchy::memberships;
use crate::os::procfs::read::{host_name as own_host_name, read_capped};
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::status::Status;
use crate::os::procfs::tasks::process_ids;
use crate::text::sanitize::printable;

/// Cap on the processes read: Linux has no more at once (`PID_MAX_LIMIT`).
const MAX_PROCESSES: usize = 1 << 22;
/// Cap on a list of control groups, in bytes.
const MAX_GROUPS: u64 = 1 << 16;
/// Length of a container id as runc, containerd and Docker make them: 256 bits in hexadecimal.
const ID_LEN: usize = 64;
/// Digits of an id that are shown, as many as Docker shows.
const SHORT_ID_LEN: usize = 12;
/// The minimum length of an id prefix that selects a container.
const MIN_PREFIX: usize = 3;
/// Cap on the ancestors followed.
const MAX_ANCESTORS: usize = 64;

/// Identifies a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ContainerKey {
    /// The kernel's name for the PID namespace.
    pid_namespace: String,
    /// The container's id or name, taken from its control group.
    id: Option<String>,
}

#[derive(Clone, Debug)]
struct Process {
    pid: Pid,
    parent: Pid,
    /// Its pid in each PID namespace that it is in, ours first.
    pids: Vec<Pid>,
    key: ContainerKey,
    /// The paths of its control groups.
    groups: Vec<String>,
    /// The host name of its UTS namespace; `None` if that is ours.
    host_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id, or the name that its runtime gave to the control group. Foreign text.
    pub id: Option<String>,
    /// The host name inside, if it differs from ours. Foreign text.
    pub host_name: Option<String>,
    /// The number of processes.
    pub processes: usize,
    /// Our pid of the process with the lowest pid inside, which usually started the others.
    pub first: Pid,
}

/// A process in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerProcess {
    /// The pid as we see it.
    pub pid: Pid,
    /// The pid as the container sees it.
    pub inside: Pid,
}

/// All processes that we can see, by container.
#[derive(Clone, Debug)]
pub struct Containers {
    /// The container that we are in.
    own: ContainerKey,
    processes: BTreeMap<Pid, Process>,
    /// The number of processes with namespaces that we may not read.
    pub hidden: usize,
}

impl Containers {
    /// Reads all processes.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn read() -> io::Result<Containers> {
        Containers::read_from(Path::new("/proc"), host_name)
    }

    /// Reads another /proc; `host_name` returns the host name that a process sees.
    pub fn read_from(
        proc_root: &Path,
        mut host_name: impl FnMut(Pid) -> Option<String>,
    ) -> io::Result<Containers> {
        let link = |entry: &Path, name: &str| {
            let link = fs::read_link(entry.join("ns").join(name))?;
            io::Result::Ok(link.to_string_lossy().into_owned())
        };
        let own = proc_root.join("self");
        let own_uts = link(&own, "uts")?;
        let own = ContainerKey {
            pid_namespace: link(&own, "pid")?,
            id: groups(&own).iter().find_map(|group| container_name(group)),
        };
        let mut names: HashMap<String, Option<String>> = HashMap::new();
        let mut processes = BTreeMap::new();
        let mut hidden = 0;
        for pid in process_ids(proc_root)?.take(MAX_PROCESSES) {
            let path = proc_root.join(pid.to_string());
            // It may have ended.
            let Ok(status) = Status::read(&path.join("status")) else {
                continue;
            };
            let (pid_namespace, uts) = match (link(&path, "pid"), link(&path, "uts")) {
                (Ok(pid_namespace), Ok(uts)) => (pid_namespace, uts),
                (Err(error), _) | (_, Err(error)) => {
                    hidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                    continue;
                }
            };
            let groups = groups(&path);
            let id = groups.iter().find_map(|group| container_name(group));
            let host_name = match uts == own_uts {
                true => None,
                false => names.entry(uts).or_insert_with(|| host_name(pid)).clone(),
            };
            let parent = fs::read(path.join("stat")).ok();
            let parent = parent.and_then(|line| Some(ProcStat::parse(&line)?.parent));
            let process = Process {
                pid,
                parent: parent.unwrap_or(0),
                pids: match status.namespace_ids.is_empty() {
                    // Before Linux 4.1.
                    true => vec![pid],
                    false => status.namespace_ids,
                },
                key: ContainerKey { pid_namespace, id },
                groups,
                host_name,
            };
            processes.insert(pid, process);
        }
        Ok(Containers {
            own,
            processes,
            hidden,
        })
    }

    /// All containers except our own, ordered by their first processes.
    pub fn list(&self) -> Vec<Container> {
        let mut by_key: BTreeMap<&ContainerKey, Vec<&Process>> = BTreeMap::new();
        for process in self
            .processes
            .values()
            .filter(|process| self.in_other_container(process))
        {
            by_key.entry(&process.key).or_default().push(process);
        }
        let mut list: Vec<Container> = by_key.into_iter().filter_map(container).collect();
        list.sort_by_key(|container| container.first);
        list
    }

    /// The processes, by pid, of the containers matched by `name`: an id or the prefix of one; a
    /// host name; a control group; or our pid of a process in the container. Empty when there is no
    /// match.
    pub fn processes_in(&self, name: &str) -> Vec<ContainerProcess> {
        let member = name.parse().ok().and_then(|pid| self.processes.get(&pid));
        let (found, level) = match member {
            Some(member) => {
                let of = self.processes.values();
                let found: Vec<&Process> = of
                    .filter(|process| self.same_container(process, member))
                    .collect();
                (found, member.pids.len())
            }
            None => {
                let of = self
                    .processes
                    .values()
                    .filter(|process| self.in_other_container(process));
                let found: Vec<&Process> = of.filter(|process| process.is_called(name)).collect();
                // A process inside may have made namespaces of its own.
                let level = found.iter().map(|process| process.pids.len()).min();
                (found, level.unwrap_or(0))
            }
        };
        let numbered = |process: &&Process| {
            Some(ContainerProcess {
                pid: process.pid,
                inside: *process.pids.get(level.checked_sub(1)?)?,
            })
        };
        found.iter().filter_map(numbered).collect()
    }

    /// The container of a process; `None` when it is in none, or in ours.
    pub fn container_of(&self, pid: Pid) -> Option<Container> {
        let of = self.processes.get(&pid)?;
        let processes = self.processes.values();
        let processes =
            processes.filter(|process| self.in_other_container(process) && process.key == of.key);
        container((&of.key, processes.collect()))
    }

    /// Whether a process is in a container other than ours.
    fn in_other_container(&self, process: &Process) -> bool {
        process.key != self.own
            && (process.key.pid_namespace != self.own.pid_namespace || process.key.id.is_some())
    }

    /// Whether a process is in the container of `member`, or in one nested in it.
    fn same_container(&self, process: &Process, member: &Process) -> bool {
        if process.key == member.key {
            return true;
        }
        // If the container shares our PID namespace, only its control group distinguishes it.
        if member.key.pid_namespace == self.own.pid_namespace {
            return member.key.id.is_none() && process.key.pid_namespace == self.own.pid_namespace;
        }
        let mut process = process;
        for _ in 0..MAX_ANCESTORS {
            if process.key.pid_namespace == member.key.pid_namespace {
                return true;
            }
            match self.processes.get(&process.parent) {
                Some(parent) if process.pids.len() > member.pids.len() => process = parent,
                _ => return false,
            }
        }
        false
    }
}

impl Process {
    fn is_called(&self, name: &str) -> bool {
        // Kubernetes writes ids as containerd://0123…
        let name = name.rsplit_once("://").map_or(name, |(_, id)| id);
        if name.is_empty() {
            return false;
        }
        let by_id = self.key.id.as_deref().is_some_and(|id| {
            id == name
                || (id.len() == ID_LEN
                    && name.len() >= MIN_PREFIX
                    && id.starts_with(&name.to_ascii_lowercase()))
        });
        let by_host_name = self.host_name.as_deref();
        let by_host_name = by_host_name.is_some_and(|host| host.eq_ignore_ascii_case(name));
        by_id || by_host_name || self.groups.iter().any(|group| is_in_group(group, name))
    }
}

impl Container {
    /// A short name for display: prefix of the id, and host name. Contains no control characters.
    pub fn label(&self) -> String {
        let id = self.id.as_deref().map(short);
        let label = match (id, &self.host_name) {
            (Some(id), Some(host)) => format!("{id} ({host})"),
            (Some(id), None) => id.to_owned(),
            (None, Some(host)) => host.clone(),
            // A pid also selects a container.
            (None, None) => self.first.to_string(),
        };
        printable(&label).into_owned()
    }
}

/// The first digits of an id; a name in full.
fn short(id: &str) -> &str {
    match id.len() {
        ID_LEN => id.get(..SHORT_ID_LEN).unwrap_or(id),
        _ => id,
    }
}

fn container((key, processes): (&ContainerKey, Vec<&Process>)) -> Option<Container> {
    let inner_pid = |process: &&&Process| process.pids.last().copied();
    let first = processes.iter().min_by_key(inner_pid)?;
    Some(Container {
        id: key.id.clone(),
        host_name: first.host_name.clone(),
        processes: processes.len(),
        first: first.pid,
    })
}

/// The paths of a process's control groups, in all hierarchies.
fn groups(entry: &Path) -> Vec<String> {
    let text = read_capped(entry.join("cgroup"), MAX_GROUPS).unwrap_or_default();
    memberships(&text).map(|group| group.name()).collect()
}

/// A component of a control group's path without the suffix added by systemd.
fn unit_name(component: &str) -> &str {
    let suffixes = [".scope", ".slice", ".service"];
    let mut stripped = suffixes
        .iter()
        .filter_map(|suffix| component.strip_suffix(suffix));
    stripped.next().unwrap_or(component)
}

/// The container of a control group, by its path: the inner one if nested.
fn container_name(group: &str) -> Option<String> {
    let mut components = group.split('/').rev();
    components.find_map(|component| {
        let unit = unit_name(component);
        // docker-ID, cri-containerd-ID, crio-ID, libpod-ID, or the id alone.
        let (prefix, last) = unit.rsplit_once('-').unwrap_or(("", unit));
        // The monitor of a container runs outside of it.
        let is_id = last.len() == ID_LEN && last.bytes().all(|c| c.is_ascii_hexdigit());
        if is_id && !prefix.ends_with("conmon") {
            return Some(last.to_ascii_lowercase());
        }
        let name = unit
            .strip_prefix("lxc.payload.")
            .or_else(|| unit.strip_prefix("machine-").filter(|_| unit != component))?;
        Some(name.to_owned())
    })
}

/// Whether a control group has this name or is below one that has it, such as a pod's UID.
fn is_in_group(group: &str, name: &str) -> bool {
    group.split('/').any(|component| {
        // kubepods-burstable-pod0a1b_….slice is the pod 0a1b-…: systemd reserves dashes for levels.
        let pod = || unit_name(component).rsplit_once("pod").map(|(_, uid)| uid);
        component == name
            || unit_name(component) == name
            || (name.len() >= SHORT_ID_LEN
                && pod().is_some_and(|uid| uid.replace('_', "-") == name))
    })
}

/// The host name that a process sees. `None` without permission to enter its UTS namespace.
fn host_name(pid: Pid) -> Option<String> {
    let namespace = File::open(format!("/proc/{pid}/ns/uts")).ok()?;
    // Entering a namespace affects an OS thread for good, so a thread is started for it.
    let thread = std::thread::Builder::new().spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWUTS).ok()?;
        own_host_name()
    });
    thread.ok()?.join().ok()?
}

#[cfg(test)]
mod tests;
