//! [`Children`]: the Python processes below the one that is looked at, as they come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::{debug, info};

use crate::cpython::PythonProcess;
use crate::target::{Child, Pid, TargetProcess};

/// How often the process tree is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a child that is no Python (yet) is tried again: a shell may become one by `exec`.
const PATIENCE: Duration = Duration::from_secs(10);

/// Finds new children of a process.
#[derive(Default)]
pub struct Children {
    last_look: Option<Instant>,
    /// Children that were seen: when first, and whether they are settled (attached to or given up).
    known: HashMap<Pid, (Instant, bool)>,
}

impl Children {
    /// Attaches to Python processes below the `observed` ones that are not among them yet; pairs of
    /// process and parent's pid. A child that is not Python, or may not be read, is skipped.
    pub fn find_new<'p>(
        &mut self,
        observed: impl Iterator<Item = &'p TargetProcess>,
        now: Instant,
    ) -> Vec<(PythonProcess, Pid)> {
        if self
            .last_look
            .is_some_and(|last| now.saturating_duration_since(last) < INTERVAL)
        {
            return Vec::new();
        }
        self.last_look = Some(now);
        let tree = descendants(observed);
        // A pid that is gone may come back as another process.
        self.known
            .retain(|pid, _| tree.iter().any(|child| child.pid == *pid));
        let mut found = Vec::new();
        for child in tree {
            let (first_seen, settled) = self.known.entry(child.pid).or_insert((now, false));
            if *settled {
                continue;
            }
            let in_time = now.saturating_duration_since(*first_seen) <= PATIENCE;
            match PythonProcess::attach(child.pid) {
                Ok(mut process) => {
                    // After a vfork it still has its parent's memory, which is no stack of its own.
                    if in_time && !owns_a_thread(&mut process) {
                        continue;
                    }
                    info!("child {} is CPython {}", child.pid, process.version());
                    *settled = true;
                    found.push((process, child.parent));
                }
                Err(error) => {
                    debug!("child {}: {error}", child.pid);
                    *settled = error.is_final() || !in_time;
                }
            }
        }
        found
    }
}

/// Whether one of the interpreter's threads is one of the process's own tasks.
fn owns_a_thread(process: &mut PythonProcess) -> bool {
    let list = process.threads();
    list.is_ok_and(|list| {
        list.threads
            .iter()
            .any(|thread| thread.os_thread_id.is_some())
    })
}

/// The processes below the observed ones, without those themselves, each once. Each observed process
/// is asked unless it was met below an earlier one: when a parent ends, its children stay observed
/// though nothing links them any more.
fn descendants<'p>(observed: impl Iterator<Item = &'p TargetProcess>) -> Vec<Child> {
    let mut tree: Vec<Child> = Vec::new();
    let mut own = Vec::new();
    for process in observed {
        if !tree.iter().any(|child| child.pid == process.pid()) {
            tree.extend(process.children());
        }
        own.push(process.pid());
    }
    tree.retain(|child| !own.contains(&child.pid));
    tree
}
