//! Containers: whether we run in one, and whether a target has another root or PID namespace.

pub mod find;
pub mod fs_view;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::procfs::status::Status;
use super::{Pid, Tid};

/// The initial PID namespace (`PROC_PID_INIT_INO` in the kernel's include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether the system with its files under `root` seems to be a container's.
pub fn is_inside(root: &Path) -> bool {
    // Docker and Podman leave these marker files; for other runtimes the control groups of the
    // first process show it.
    root.join(".dockerenv").exists()
        || root.join("run/.containerenv").exists()
        || fs::read_to_string(root.join("proc/1/cgroup")).is_ok_and(|groups| {
            ["docker", "kubepods", "containerd", "libpod", "lxc"]
                .iter()
                .any(|runtime| groups.contains(runtime))
        })
        // Control groups may be hidden as well; the PID namespace is not.
        || fs::read_link(root.join("proc/self/ns/pid"))
            .is_ok_and(|namespace| namespace != Path::new(FIRST_PID_NAMESPACE))
}

/// Whether our PID namespace is the first one, which has all processes of the machine.
pub fn is_in_first_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace == Path::new(FIRST_PID_NAMESPACE))
}

/// Whether a process has our root directory, so that its paths are ours.
///
/// # Errors
/// When its root may not be read.
pub fn has_same_root(pid: Pid) -> io::Result<bool> {
    let own = fs::metadata("/proc/self/root")?;
    let target = fs::metadata(format!("/proc/{pid}/root"))?;
    let same_folder = (own.ino(), own.dev()) == (target.ino(), target.dev());
    Ok(same_folder && same_namespace(pid, "mnt")?)
}

/// # Errors
/// When its namespaces may not be read.
pub fn has_same_pid_namespace(pid: Pid) -> io::Result<bool> {
    same_namespace(pid, "pid")
}

/// The id of a thread in its own PID namespace, which is the id that the program itself sees; our
/// id for it when the kernel (before 4.1) does not report that.
///
/// # Errors
/// When the thread has ended.
pub fn inner_tid(pid: Pid, tid: Tid) -> io::Result<Tid> {
    let ids = Status::of_thread(pid, tid)?.namespace_ids;
    Ok(ids.last().copied().unwrap_or(tid))
}

/// Whether a process shares our namespace of a kind (`pid`, `mnt`, `user`, `net`, …).
///
/// # Errors
/// When its namespaces may not be read.
pub fn same_namespace(pid: Pid, kind: &str) -> io::Result<bool> {
    let own = fs::read_link(format!("/proc/self/ns/{kind}"))?;
    Ok(own == fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn containers_are_recognised_by_their_marks() {
        for (path, text, expected) in [
            ("none", "", false),
            (".dockerenv", "", true),
            ("run/.containerenv", "", true),
            ("proc/1/cgroup", "0::/kubepods/pod1/abc\n", true),
            ("proc/1/cgroup", "0::/init.scope\n", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
            assert_eq!(is_inside(root.path()), expected, "{path} {text}");
        }
        for (namespace, expected) in [(FIRST_PID_NAMESPACE, false), ("pid:[4026532201]", true)] {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("proc/self/ns");
            fs::create_dir_all(&folder).unwrap();
            std::os::unix::fs::symlink(namespace, folder.join("pid")).unwrap();
            assert_eq!(is_inside(root.path()), expected, "{namespace}");
        }
    }

    #[test]
    fn our_own_process_is_in_our_own_namespaces() {
        let own = std::process::id().cast_signed();
        assert!(has_same_root(own).unwrap());
        assert!(has_same_pid_namespace(own).unwrap());
        let tid = nix::unistd::gettid().as_raw();
        assert_eq!(inner_tid(own, tid).unwrap(), tid);
    }
}
