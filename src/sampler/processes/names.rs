//! [`ProcessDescription`]: how the processes are called that are looked at, and how they hang together.

use std::collections::{HashMap, HashSet};

use crate::os::Pid;
use crate::os::process::list::ProcessSummary;

/// How many processes are described before those are forgotten that have ended.
const MAX_DESCRIPTIONS: usize = 4096;
/// How many processes that are no Python are named between a Python process and its ancestor.
const MAX_BETWEEN: usize = 64;

/// What is known of a process that is looked at, or that stands between two which are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessDescription {
    /// Which process.
    pub pid: Pid,
    /// Its parent, where that is one of these too.
    pub parent: Option<Pid>,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// The processes that are looked at, some that were, and what stands between them.
#[derive(Debug, Default)]
pub(crate) struct ProcessNames(HashMap<Pid, ProcessDescription>);

impl ProcessNames {
    /// That of a process.
    pub fn get(&self, pid: Pid) -> Option<&ProcessDescription> {
        self.0.get(&pid)
    }

    /// Asks a process again how it is called: it runs another program than before.
    pub fn refresh(&mut self, pid: Pid) {
        if let Some(known) = self.0.get_mut(&pid)
            && let Some(process) = ProcessSummary::of(pid)
        {
            known.command = process.command_line.join(" ");
        }
    }

    /// Adds one. `observed` are the processes that are looked at: what is neither one of these nor an
    /// ancestor may be forgotten.
    pub fn add(&mut self, new: ProcessDescription, observed: impl Iterator<Item = Pid>) {
        if self.0.len() >= MAX_DESCRIPTIONS {
            self.forget_ended(observed);
        }
        self.0.insert(new.pid, new);
    }

    /// Forgets processes that have ended, unless they are ancestors of others. A program may start
    /// children without end.
    fn forget_ended(&mut self, observed: impl Iterator<Item = Pid>) {
        let mut needed = HashSet::new();
        for pid in observed {
            let mut next = Some(pid);
            while let Some(pid) = next.filter(|pid| needed.insert(*pid)) {
                next = self.0.get(&pid).and_then(|known| known.parent);
            }
        }
        self.0.retain(|pid, _| needed.contains(pid));
    }

    /// Names what is no Python between a new child's parent and those that are known, such as a shell.
    pub fn add_ancestors(&mut self, parent: Pid) {
        let mut between = Vec::new();
        let mut pid = parent;
        while !self.0.contains_key(&pid) {
            let Some(process) = ProcessSummary::of(pid) else {
                return;
            };
            if between.len() == MAX_BETWEEN {
                return;
            }
            between.push(ProcessDescription {
                pid,
                parent: Some(process.parent),
                command: process.command_line.join(" "),
            });
            pid = process.parent;
        }
        self.0
            .extend(between.into_iter().map(|process| (process.pid, process)));
    }
}
