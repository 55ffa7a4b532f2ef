//! [`ProcessNames`]: the command lines and parents of the sampled processes.

use std::collections::{HashMap, HashSet};

use crate::os::Pid;
use crate::os::process::list::ProcessSummary;
use crate::text::secrets::Secrets;

/// Number of names from which on those of ended processes are dropped.
const MAX_NAMES: usize = 4096;
/// Maximum number of other processes that are named between a Python process and its ancestor.
const MAX_BETWEEN: usize = 64;

/// The name and parent of a sampled process, or of one between two sampled processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessDescription {
    /// The process ID.
    pub pid: Pid,
    /// Its parent, if that has a description too.
    pub parent: Option<Pid>,
    /// Its arguments, joined by spaces, as [`SamplerOptions::secrets`](crate::SamplerOptions::secrets)
    /// says.
    pub command: String,
}

/// Descriptions of the sampled processes, of some that have ended, and of those between them.
#[derive(Debug, Default)]
pub(crate) struct ProcessNames {
    names: HashMap<Pid, ProcessDescription>,
    secrets: Secrets,
}

impl ProcessNames {
    pub fn new(secrets: Secrets) -> ProcessNames {
        ProcessNames {
            names: HashMap::new(),
            secrets,
        }
    }

    pub fn get(&self, pid: Pid) -> Option<&ProcessDescription> {
        self.names.get(&pid)
    }

    /// Reads the command line of a process again, after an `exec`.
    pub fn refresh(&mut self, pid: Pid) {
        if let Some(known) = self.names.get_mut(&pid)
            && let Some(process) = ProcessSummary::of(pid)
        {
            known.command = process.command_line.words(self.secrets).join(" ");
        }
    }

    /// Adds a description. Those of processes that are neither in `sampled` nor ancestors of these may
    /// be dropped.
    pub fn add(&mut self, new: ProcessDescription, sampled: impl Iterator<Item = Pid>) {
        if self.names.len() >= MAX_NAMES {
            self.drop_ended(sampled);
        }
        self.names.insert(new.pid, new);
    }

    /// Drops processes that have ended, unless they are ancestors of sampled ones. The number of
    /// children that a program starts has no limit.
    fn drop_ended(&mut self, sampled: impl Iterator<Item = Pid>) {
        let mut needed = HashSet::new();
        for pid in sampled {
            let mut next = Some(pid);
            while let Some(pid) = next.filter(|pid| needed.insert(*pid)) {
                next = self.names.get(&pid).and_then(|known| known.parent);
            }
        }
        self.names.retain(|pid, _| needed.contains(pid));
    }

    /// Adds the processes between a new child's parent and the known ones, such as a shell.
    pub fn add_ancestors(&mut self, parent: Pid) {
        let mut between = Vec::new();
        let mut pid = parent;
        while !self.names.contains_key(&pid) {
            let Some(process) = ProcessSummary::of(pid) else {
                return;
            };
            if between.len() == MAX_BETWEEN {
                return;
            }
            between.push(ProcessDescription {
                pid,
                parent: Some(process.parent),
                command: process.command_line.words(self.secrets).join(" "),
            });
            pid = process.parent;
        }
        self.names
            .extend(between.into_iter().map(|process| (process.pid, process)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_processes_are_dropped_but_not_the_ancestors_of_sampled_ones() {
        let description = |pid, parent| ProcessDescription {
            pid,
            parent,
            command: String::new(),
        };
        let mut names = ProcessNames::default();
        let sampled = || [3].into_iter();
        // 3 is sampled and below 1; 2, between them, has ended.
        names.add(description(1, None), sampled());
        names.add(description(2, Some(1)), sampled());
        names.add(description(3, Some(2)), sampled());
        for pid in 10..20_000 {
            names.add(description(pid, Some(1)), sampled());
        }
        assert!(names.names.len() <= MAX_NAMES);
        assert!(
            [1, 2, 3, 19_999]
                .iter()
                .all(|pid| names.get(*pid).is_some())
        );
        assert!(names.get(10).is_none());
    }
}
