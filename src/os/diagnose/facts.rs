//! [`ProcessFacts`] and [`OwnFacts`]: what the system shows about a process and about us, with or
//! without the permission to attach. For explaining errors.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::os::permission::users::user_name;
use crate::os::permission::{CAP_SYS_PTRACE, tracer, yama_scope};
use crate::os::process::{command_line, exe_path};
use crate::os::procfs::cgroup::freezer::{Frozen, freezes_without};
use crate::os::procfs::cgroup::hierarchy::memberships;
use crate::os::procfs::cgroup::memory::MemoryLimit;
use crate::os::procfs::paths::root_path;
use crate::os::procfs::stat::{ProcStat, age_of};
use crate::os::procfs::statm::RssReader;
use crate::os::procfs::status::Status;
use crate::os::thread::activity::ActivityReader;
use crate::os::thread::state::RunState;
use crate::os::{Pid, Tid, container};
use crate::text::secrets::command::CommandLine;

/// `CAP_SYS_ADMIN`, which permits opening the links of `/proc/PID/map_files`, and `CAP_SYS_NICE`,
/// which permits real-time priority for the sampler (include/uapi/linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_NICE: u32 = 23;
/// Cap on a thread's name, in characters: the kernel's have 15, and 63 for a work queue's.
const MAX_NAME: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFacts {
    /// The release, as in `uname -r`.
    pub kernel: Option<String>,
    pub uid: Option<u32>,
    /// Effective capabilities, bit N for capability N.
    pub capabilities: u64,
    /// Our seccomp mode: 0 for none, 2 for a filter that may forbid system calls.
    pub seccomp: Option<u8>,
    /// `kernel.yama.ptrace_scope`; `None` without Yama.
    pub yama_scope: Option<u32>,
    /// Whether we seem to be in a container.
    pub container: bool,
}

impl OwnFacts {
    /// Reads them from the system with its files under `root`.
    pub fn gather(root: &Path) -> OwnFacts {
        let status = Status::read(&root.join("proc/self/status")).unwrap_or_default();
        // Linux version 6.1.0-18-amd64 (…) …
        let version = fs::read_to_string(root.join("proc/version")).unwrap_or_default();
        OwnFacts {
            kernel: version.split_ascii_whitespace().nth(2).map(str::to_owned),
            uid: status.effective_uid,
            capabilities: status.effective_capabilities,
            seccomp: status.seccomp,
            yama_scope: yama_scope(root),
            container: container::is_inside(root),
        }
    }

    /// The names of our capabilities that matter here.
    pub fn capability_names(&self) -> Vec<&'static str> {
        [
            (CAP_SYS_PTRACE, "SYS_PTRACE"),
            (CAP_SYS_ADMIN, "SYS_ADMIN"),
            (CAP_SYS_NICE, "SYS_NICE"),
        ]
        .into_iter()
        .filter(|(bit, _)| self.capabilities >> bit & 1 == 1)
        .map(|(_, name)| name)
        .collect()
    }
}

/// The state of the file that a process executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Not permitted, or there is none.
    Unknown,
    Present(PathBuf),
    /// There is no file at its path any more.
    Deleted(PathBuf),
    /// Another file is at its path, as after an upgrade.
    Replaced(PathBuf),
}

impl Program {
    /// The program of a process, as a path in its own root.
    pub fn of_process(pid: Pid) -> Program {
        let path = exe_path(pid);
        if path.as_os_str().is_empty() {
            return Program::Unknown;
        }
        let identity = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino()))
        };
        let Some(running) = identity(Path::new(&format!("/proc/{pid}/exe"))) else {
            return Program::Present(path);
        };
        let inside = identity(&root_path(pid, &path));
        // For a process in a chroot the kernel gives the path from our root.
        let same_mounts = container::same_namespace(pid, "mnt").unwrap_or(false);
        let ours = same_mounts.then(|| identity(&path)).flatten();
        if [inside, ours].contains(&Some(running)) {
            Program::Present(path)
        } else if inside.or(ours).is_some() {
            Program::Replaced(path)
        } else {
            Program::Deleted(path)
        }
    }
}

/// Facts readable without permission to attach. Hidden ones are `None`.
#[derive(Clone, Debug)]
pub struct ProcessFacts {
    /// The state of its main thread.
    pub state: RunState,
    pub kernel_thread: bool,
    pub parent: Pid,
    /// Time since its start.
    pub age: Option<Duration>,
    /// The name of its main thread: foreign text, 64 characters at most.
    pub name: String,
    /// Its arguments: foreign text.
    pub command: CommandLine,
    pub program: Program,
    /// Real and effective user.
    pub uids: Option<(u32, u32)>,
    /// The name of its real user.
    pub user: Option<String>,
    /// The tracer of its main thread: process and command, printable.
    pub tracer: Option<(Pid, String)>,
    /// Its seccomp mode: 0 for none, 1 for strict, 2 for a filter.
    pub seccomp: Option<u8>,
    /// Executing a program cannot raise its privileges.
    pub no_new_privileges: bool,
    /// For each kind of namespace whether it is ours.
    pub namespaces: Vec<(&'static str, Option<bool>)>,
    /// Its id in its own PID namespace.
    pub inner_pid: Option<Pid>,
    /// Whether its root directory is ours.
    pub same_root: Option<bool>,
    /// The control group (v2, else that of memory in v1): foreign text.
    pub cgroup: Option<String>,
    /// Its tightest memory limit.
    pub limit: Option<MemoryLimit>,
    /// The group that it is frozen by.
    pub frozen: Option<Frozen>,
    /// The group of ours that can be frozen without it: foreign text.
    pub frozen_without: Option<String>,
}

impl ProcessFacts {
    /// `None` when there is no such process that we can see.
    pub fn gather(pid: Pid) -> Option<ProcessFacts> {
        let stat = ProcStat::of_process(pid).ok()?;
        let status = Status::of_process(pid).unwrap_or_default();
        let kinds = ["pid", "mnt", "user", "net"];
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(ProcessFacts {
            state: RunState::of_thread(pid, pid).unwrap_or(RunState::Other),
            kernel_thread: stat.is_kernel_thread(),
            parent: stat.parent,
            age: age_of(stat.start_ticks).ok(),
            name: short_name(&name),
            command: command_line(pid),
            program: Program::of_process(pid),
            uids: status.real_uid.zip(status.effective_uid),
            user: status.real_uid.map(user_name),
            tracer: status.tracer.map(|thread| tracer(Path::new("/"), thread)),
            seccomp: status.seccomp,
            no_new_privileges: status.no_new_privileges,
            namespaces: kinds
                .map(|kind| (kind, container::same_namespace(pid, kind).ok()))
                .to_vec(),
            inner_pid: status.namespace_ids.last().copied(),
            same_root: container::has_same_root(pid).ok(),
            cgroup: cgroup(&fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default()),
            limit: MemoryLimit::of_process(pid),
            frozen: Frozen::process(pid),
            frozen_without: freezes_without(pid).map(|one| one.to_string_lossy().into_owned()),
        })
    }
}

/// A name as read from `comm`, lossy and cut.
fn short_name(bytes: &[u8]) -> String {
    let name = String::from_utf8_lossy(bytes.trim_ascii_end());
    name.chars().take(MAX_NAME).collect()
}

/// The most informative group: that of the v2 hierarchy, unless it is the root; else the longest of
/// v1's.
fn cgroup(text: &[u8]) -> Option<String> {
    memberships(text)
        .map(|group| (group.name(), group.is_v2()))
        .max_by_key(|(name, is_v2)| (name.len() > 1, *is_v2, name.len()))
        .map(|(name, _)| name)
}

/// Which of the kernel's counters can be read for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// `schedstat`: the CPU time of each thread.
    pub schedstat: bool,
    /// `statm`: resident memory.
    pub statm: bool,
    /// `smaps_rollup`: PSS and USS. It is opened but not read, which would be slow.
    pub smaps_rollup: bool,
}

impl Counters {
    pub fn of_process(pid: Pid) -> Counters {
        let count = |tid: Tid| ActivityReader::open(pid, tid)?.count();
        Counters {
            schedstat: matches!(count(pid), Ok(Some(_))),
            statm: RssReader::open(pid).is_ok_and(|rss| rss.rss_bytes().is_ok()),
            smaps_rollup: fs::File::open(format!("/proc/{pid}/smaps_rollup")).is_ok(),
        }
    }
}

/// The kernel's name of a thread; `None` when it has ended.
pub fn thread_name(pid: Pid, tid: Tid) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(short_name(&name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;
    use crate::text::secrets::Secrets;
    use std::process::Command;

    #[test]
    fn own_facts_are_read_from_proc() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(OwnFacts::gather(folder.path()), OwnFacts::default());
        write(
            "proc/version",
            "Linux version 6.1.0-18-amd64 (x@y) #1 SMP\n",
        );
        write(
            "proc/self/status",
            "Uid:\t5\t1000\t5\t5\nCapEff:\t0000000000280000\nSeccomp:\t2\n",
        );
        write("proc/sys/kernel/yama/ptrace_scope", "1\n");
        write(".dockerenv", "");
        let own = OwnFacts::gather(folder.path());
        assert_eq!(own.kernel.as_deref(), Some("6.1.0-18-amd64"));
        assert_eq!((own.uid, own.seccomp), (Some(1000), Some(2)));
        assert_eq!(own.yama_scope, Some(1));
        assert!(own.container);
        assert_eq!(own.capability_names(), ["SYS_PTRACE", "SYS_ADMIN"]);
    }

    #[test]
    fn a_program_is_present_then_replaced_then_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat");
        fs::copy("/bin/cat", &path).unwrap();
        let cat = Cat::start(&mut Command::new(&path));
        let program = || Program::of_process(cat.pid());
        assert_eq!(program(), Program::Present(path.clone()));
        let newer = folder.path().join("newer");
        fs::copy("/bin/cat", &newer).unwrap();
        fs::rename(&newer, &path).unwrap();
        assert_eq!(program(), Program::Replaced(path.clone()));
        fs::remove_file(&path).unwrap();
        assert_eq!(program(), Program::Deleted(path));
        assert_eq!(Program::of_process(Pid::MAX), Program::Unknown);
    }

    #[test]
    fn facts_about_a_child() {
        let cat = Cat::start(Command::new("cat").arg("-"));
        let facts = ProcessFacts::gather(cat.pid()).unwrap();
        assert_eq!(facts.parent, std::process::id().cast_signed());
        assert_eq!(
            (&*facts.name, &*facts.command.words(Secrets::Shown)),
            ("cat", &["cat".to_owned(), "-".to_owned()][..])
        );
        assert!(facts.namespaces.iter().all(|(_, same)| *same == Some(true)));
        assert_eq!((facts.tracer, facts.same_root), (None, Some(true)));
        let counters = Counters::of_process(cat.pid());
        assert!(counters.statm && counters.smaps_rollup);
        drop(cat);
        assert!(ProcessFacts::gather(Pid::MAX).is_none());
    }

    #[test]
    fn the_most_informative_group() {
        let group = |text: &str| cgroup(text.as_bytes());
        assert_eq!(group(""), None);
        assert_eq!(group("0::/\n"), Some("/".into()));
        assert_eq!(
            group("0::/system.slice/a.service\n"),
            Some("/system.slice/a.service".into())
        );
        assert_eq!(
            group("4:cpu:/\n2:memory:/docker/x:y\n0::/\n"),
            Some("/docker/x:y".into())
        );
    }
}
