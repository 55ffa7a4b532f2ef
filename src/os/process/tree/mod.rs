//! [`descendants`]: the processes below others.

pub mod orphans;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use crate::os::Pid;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::tasks;

/// Cap on the number of descendants.
const MAX_CHILDREN: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child {
    pub pid: Pid,
    /// The target, or one of its descendants.
    pub parent: Pid,
}

/// The descendants of these processes, each once and after its parent.
pub fn descendants(of: &[Pid]) -> Vec<Child> {
    // Without lists of children (CONFIG_PROC_CHILDREN), the parent of every process is read.
    let own = std::process::id().cast_signed();
    if direct_children(own).is_ok() {
        tree(of, |pid| direct_children(pid).unwrap_or_default())
    } else {
        let mut children = all_children();
        tree(of, |pid| children.remove(&pid).unwrap_or_default())
    }
}

/// The children of one process.
pub fn children(of: Pid) -> Vec<Pid> {
    direct_children(of).unwrap_or_else(|_| all_children().remove(&of).unwrap_or_default())
}

fn tree(of: &[Pid], mut children: impl FnMut(Pid) -> Vec<Pid>) -> Vec<Child> {
    let mut found: Vec<Child> = Vec::new();
    let mut seen: HashSet<Pid> = of.iter().copied().collect();
    let mut parents: Vec<Pid> = of.to_vec();
    while let Some(parent) = parents.pop() {
        for pid in children(parent) {
            if found.len() < MAX_CHILDREN && seen.insert(pid) {
                found.push(Child { pid, parent });
                parents.push(pid);
            }
        }
    }
    found
}

/// The children of a process, which the kernel lists by the thread that forked them.
fn direct_children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    let mut lists = 0;
    for tid in tasks::thread_ids(pid)? {
        // A thread that has ended has passed its children on to another one.
        let Ok(list) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")) else {
            continue;
        };
        lists += 1;
        let pids = list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse::<Pid>().ok());
        children.extend(pids.take(MAX_CHILDREN));
    }
    if lists == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(children)
}

/// The children of all processes.
fn all_children() -> HashMap<Pid, Vec<Pid>> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let Ok(pids) = tasks::process_ids(Path::new("/proc")) else {
        return children;
    };
    for pid in pids {
        if let Ok(stat) = ProcStat::of_process(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    children
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn parents_come_before_their_children() {
        let children = |pid| match pid {
            1 => vec![2, 7],
            2 => vec![3, 4],
            // A pid reused during the reads must not cause a loop.
            4 => vec![1, 2, 5],
            _ => Vec::new(),
        };
        let found = tree(&[2, 1], children);
        let mut pids: Vec<_> = found
            .iter()
            .map(|child| (child.pid, child.parent))
            .collect();
        for child in &found {
            let place = |pid| found.iter().position(|other| other.pid == pid);
            assert!(place(child.parent) < place(child.pid), "{found:?}");
        }
        pids.sort_unstable();
        assert_eq!(pids, [(3, 2), (4, 2), (5, 4), (7, 1)]);
    }

    #[test]
    fn both_ways_find_a_child() {
        let cat = crate::os::test_support::Cat::start(&mut std::process::Command::new("cat"));
        let own = std::process::id().cast_signed();
        assert!(all_children().get(&own).unwrap().contains(&cat.pid()));
        let expected = Child {
            pid: cat.pid(),
            parent: own,
        };
        assert!(descendants(&[own]).contains(&expected));
    }
}
