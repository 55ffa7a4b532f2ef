//! [`Containers`]: which containers run here, and which process has a number inside one of them.
//!
//! The kernel knows no containers. It knows that a process has other numbers (PID namespace), another host
//! name (UTS namespace) and a control group, whose path the runtimes name after the container:
//! `/system.slice/docker-ID.scope`, `/kubepods/burstable/podUID/ID`, `/lxc.payload.NAME`. Processes that
//! share number space and container id are one container here.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::status::Status;
use crate::os::{Pid, printable};

/// The most processes that are looked at: Linux has no more at once (`PID_MAX_LIMIT`).
const MAX_PROCESSES: usize = 1 << 22;
/// Of a list of control groups, in bytes.
const MAX_GROUPS: u64 = 1 << 16;
/// Of a host name, in bytes. The kernel's have 64 at most (`__NEW_UTS_LEN`).
const MAX_NAME: u64 = 256;
/// A container's id, as runc, containerd and Docker make them: 256 bits in hexadecimal digits.
const ID_DIGITS: usize = 64;
/// How many digits of an id are shown, and tell it from others in practice. Docker shows as many.
const SHORT_ID: usize = 12;
/// The fewest digits of an id that name a container.
const FEWEST_DIGITS: usize = 3;
/// How far up ancestors are looked for.
const MAX_ANCESTORS: usize = 64;

/// What a process is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Home {
    /// How the kernel calls its PID namespace.
    numbers: String,
    /// The container's id or name by its control group.
    id: Option<String>,
}

/// A process that we can see.
#[derive(Clone, Debug)]
struct Seen {
    pid: Pid,
    parent: Pid,
    /// Its number in each PID namespace that it is in, ours first.
    numbers: Vec<Pid>,
    home: Home,
    /// The paths of its control groups.
    groups: Vec<String>,
    /// Of its UTS namespace; `None` for the one that we are in.
    host_name: Option<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id, or the name by which its runtime calls its control group: text from outside.
    pub id: Option<String>,
    /// The host name that its processes see, if it is another than ours: text from outside.
    pub host_name: Option<String>,
    /// How many processes it has.
    pub processes: usize,
    /// The oldest of them by its number inside, which mostly started the others; as we see it.
    pub first: Pid,
}

/// A process with its number inside of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerProcess {
    /// Its number as we see it.
    pub pid: Pid,
    /// Its number as the container sees it.
    pub inside: Pid,
}

/// The processes that we can see, by the containers they are in.
#[derive(Clone, Debug)]
pub struct Containers {
    /// What we are in.
    own: Home,
    processes: BTreeMap<Pid, Seen>,
    /// Processes whose namespaces we may not see.
    pub hidden: usize,
}

impl Containers {
    /// Looks at all processes.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn read() -> io::Result<Containers> {
        Containers::read_from(Path::new("/proc"), host_name)
    }

    /// The same of another /proc; `host_name` tells the host name that a process sees.
    pub(crate) fn read_from(
        proc_root: &Path,
        mut host_name: impl FnMut(Pid) -> Option<String>,
    ) -> io::Result<Containers> {
        let link = |entry: &Path, name: &str| {
            let link = fs::read_link(entry.join("ns").join(name))?;
            io::Result::Ok(link.to_string_lossy().into_owned())
        };
        let own = proc_root.join("self");
        let own_uts = link(&own, "uts")?;
        let own = Home {
            numbers: link(&own, "pid")?,
            id: groups(&own).iter().find_map(|group| container_name(group)),
        };
        let mut names: HashMap<String, Option<String>> = HashMap::new();
        let mut processes = BTreeMap::new();
        let mut hidden = 0;
        let entries = fs::read_dir(proc_root)?.take(MAX_PROCESSES).flatten();
        for entry in entries {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<Pid>().ok()) else {
                continue;
            };
            let path = entry.path();
            // One that has ended since.
            let Ok(status) = Status::read(&path.join("status")) else {
                continue;
            };
            let (numbers, uts) = match (link(&path, "pid"), link(&path, "uts")) {
                (Ok(numbers), Ok(uts)) => (numbers, uts),
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
            let seen = Seen {
                pid,
                parent: parent.unwrap_or(0),
                numbers: match status.namespace_ids.is_empty() {
                    // Before Linux 4.1.
                    true => vec![pid],
                    false => status.namespace_ids,
                },
                home: Home { numbers, id },
                groups,
                host_name,
            };
            processes.insert(pid, seen);
        }
        Ok(Containers {
            own,
            processes,
            hidden,
        })
    }

    /// All containers but the one that we are in, by their first processes.
    pub fn list(&self) -> Vec<Container> {
        let mut homes: BTreeMap<&Home, Vec<&Seen>> = BTreeMap::new();
        for seen in self
            .processes
            .values()
            .filter(|seen| self.in_other_container(seen))
        {
            homes.entry(&seen.home).or_default().push(seen);
        }
        let mut list: Vec<Container> = homes.into_iter().filter_map(container).collect();
        list.sort_by_key(|container| container.first);
        list
    }

    /// The processes of the containers that `name` means, by pid: of that id, or whose id starts so; of
    /// that host name; of that control group; or which the process with that number (as we see it) is in.
    /// Empty when there is none.
    pub fn processes_in(&self, name: &str) -> Vec<ContainerProcess> {
        let member = name.parse().ok().and_then(|pid| self.processes.get(&pid));
        let (found, level) = match member {
            Some(member) => {
                let of = self.processes.values();
                let found: Vec<&Seen> = of
                    .filter(|seen| self.same_container(seen, member))
                    .collect();
                (found, member.numbers.len())
            }
            None => {
                let of = self
                    .processes
                    .values()
                    .filter(|seen| self.in_other_container(seen));
                let found: Vec<&Seen> = of.filter(|seen| seen.is_called(name)).collect();
                // A process in there may have made namespaces of its own.
                let level = found.iter().map(|seen| seen.numbers.len()).min();
                (found, level.unwrap_or(0))
            }
        };
        let inhabitant = |seen: &&Seen| {
            Some(ContainerProcess {
                pid: seen.pid,
                inside: *seen.numbers.get(level.checked_sub(1)?)?,
            })
        };
        found.iter().filter_map(inhabitant).collect()
    }

    /// The container that a process is in; `None` when it is in none, or in ours.
    pub fn container_of(&self, pid: Pid) -> Option<Container> {
        let of = self.processes.get(&pid)?;
        let processes = self.processes.values();
        let processes =
            processes.filter(|seen| self.in_other_container(seen) && seen.home == of.home);
        container((&of.home, processes.collect()))
    }

    /// Whether a process is in a container that we are not in.
    fn in_other_container(&self, seen: &Seen) -> bool {
        seen.home != self.own && (seen.home.numbers != self.own.numbers || seen.home.id.is_some())
    }

    /// Whether a process is in the container that another one is in, or in one within it.
    fn same_container(&self, seen: &Seen, member: &Seen) -> bool {
        if seen.home == member.home {
            return true;
        }
        // Where it shares our numbers, only its control group tells a container from all the rest.
        if member.home.numbers == self.own.numbers {
            return member.home.id.is_none() && seen.home.numbers == self.own.numbers;
        }
        let mut seen = seen;
        for _ in 0..MAX_ANCESTORS {
            if seen.home.numbers == member.home.numbers {
                return true;
            }
            match self.processes.get(&seen.parent) {
                Some(parent) if seen.numbers.len() > member.numbers.len() => seen = parent,
                _ => return false,
            }
        }
        false
    }
}

impl Seen {
    fn is_called(&self, name: &str) -> bool {
        // As Kubernetes writes them: containerd://0123…
        let name = name.rsplit_once("://").map_or(name, |(_, id)| id);
        if name.is_empty() {
            return false;
        }
        let by_id = self.home.id.as_deref().is_some_and(|id| {
            id == name
                || (id.len() == ID_DIGITS
                    && name.len() >= FEWEST_DIGITS
                    && id.starts_with(&name.to_ascii_lowercase()))
        });
        let by_host_name = self.host_name.as_deref();
        let by_host_name = by_host_name.is_some_and(|host| host.eq_ignore_ascii_case(name));
        by_id || by_host_name || self.groups.iter().any(|group| is_in_group(group, name))
    }
}

impl Container {
    /// What to call it: the beginning of its id, its host name. Text that a terminal may be given.
    pub fn label(&self) -> String {
        let id = self.id.as_deref().map(short);
        let label = match (id, &self.host_name) {
            (Some(id), Some(host)) => format!("{id} ({host})"),
            (Some(id), None) => id.to_owned(),
            (None, Some(host)) => host.clone(),
            // By which it can be named, too.
            (None, None) => self.first.to_string(),
        };
        printable(&label)
    }
}

/// The first digits of an id; all of a name.
fn short(id: &str) -> &str {
    match id.len() {
        ID_DIGITS => id.get(..SHORT_ID).unwrap_or(id),
        _ => id,
    }
}

fn container((home, processes): (&Home, Vec<&Seen>)) -> Option<Container> {
    let number = |seen: &&&Seen| seen.numbers.last().copied();
    let first = processes.iter().min_by_key(number)?;
    Some(Container {
        id: home.id.clone(),
        host_name: first.host_name.clone(),
        processes: processes.len(),
        first: first.pid,
    })
}

/// The paths of a process's control groups, in all hierarchies.
fn groups(entry: &Path) -> Vec<String> {
    let mut text = Vec::new();
    let read =
        File::open(entry.join("cgroup")).and_then(|f| f.take(MAX_GROUPS).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    // hierarchy-ID:controller-list:cgroup-path, cgroups(7). A path can have colons.
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    text.lines().filter_map(path).collect()
}

/// A component of a control group's path without what systemd appends to it.
fn unit_name(component: &str) -> &str {
    let suffixes = [".scope", ".slice", ".service"];
    let mut stripped = suffixes
        .iter()
        .filter_map(|suffix| component.strip_suffix(suffix));
    stripped.next().unwrap_or(component)
}

/// The container that a control group is of, by its path: the innermost, if it is nested.
fn container_name(group: &str) -> Option<String> {
    let mut components = group.split('/').rev();
    components.find_map(|component| {
        let unit = unit_name(component);
        // docker-ID, cri-containerd-ID, crio-ID, libpod-ID, or the id alone.
        let (prefix, last) = unit.rsplit_once('-').unwrap_or(("", unit));
        // The monitor of a container runs outside of it.
        let is_id = last.len() == ID_DIGITS && last.bytes().all(|c| c.is_ascii_hexdigit());
        if is_id && !prefix.ends_with("conmon") {
            return Some(last.to_ascii_lowercase());
        }
        let name = unit
            .strip_prefix("lxc.payload.")
            .or_else(|| unit.strip_prefix("machine-").filter(|_| unit != component))?;
        Some(name.to_owned())
    })
}

/// Whether a control group is one of that name or below it, such as that of a pod by its UID.
fn is_in_group(group: &str, name: &str) -> bool {
    group.split('/').any(|component| {
        // kubepods-burstable-pod0a1b_….slice is the pod 0a1b-…: systemd's names keep dashes for levels.
        let pod = || unit_name(component).rsplit_once("pod").map(|(_, uid)| uid);
        component == name
            || unit_name(component) == name
            || (name.len() >= SHORT_ID && pod().is_some_and(|uid| uid.replace('_', "-") == name))
    })
}

/// The host name that a process sees. Only who may enter its UTS namespace learns it.
fn host_name(pid: Pid) -> Option<String> {
    let namespace = File::open(format!("/proc/{pid}/ns/uts")).ok()?;
    // A namespace is entered by one OS thread, which is not used for anything else.
    let asking = std::thread::Builder::new().spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWUTS).ok()?;
        let mut name = Vec::new();
        let file = File::open("/proc/sys/kernel/hostname").ok()?;
        file.take(MAX_NAME).read_to_end(&mut name).ok()?;
        Some(String::from_utf8_lossy(&name).trim_end().to_owned())
    });
    asking.ok()?.join().ok()?.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
