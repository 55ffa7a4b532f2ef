//! Which processes see which files: two containers can have different ones at one path.

use std::collections::HashMap;

use super::Profile;
use super::tables::labels::LabelId;
use crate::os::Pid;

/// Most processes whose root is remembered until their frame is made.
const MAX_PROCESSES: usize = 4_096;

/// The root directories that processes have, by number. Of the first process's nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct FsRoots {
    by_pid: HashMap<Pid, u32>,
    /// By the label of a process's frame.
    by_label: HashMap<LabelId, u32>,
}

impl Profile {
    /// Says which of the file systems that processes see this one does: the same number for all that see
    /// the same, 0 for the first one's. To be said before its first sample. It counts only for processes
    /// that have [frames of their own](super::options::ProfileOptions::subprocesses).
    pub fn set_fs_root(&mut self, pid: Pid, root: u32) {
        let by_pid = &mut self.roots.by_pid;
        if by_pid.len() >= MAX_PROCESSES {
            by_pid.clear();
        }
        by_pid.insert(pid, root);
    }

    /// Makes a process's frame stand for what it sees.
    pub(crate) fn bind_frame(&mut self, pid: Pid, label: LabelId) {
        if let Some(root) = self.roots.by_pid.get(&pid) {
            self.roots.by_label.insert(label, *root);
        }
    }

    /// What a process sees whose frame this is; `None` for other frames, or if it was never said.
    pub(crate) fn root_of(&self, label: LabelId) -> Option<u32> {
        self.roots.by_label.get(&label).copied()
    }

    /// The frame of a process that sees this root, as it is shown: the first one's.
    pub fn root_name(&self, root: u32) -> Option<String> {
        let those = self.roots.by_label.iter();
        let those = those.filter(|(_, of_it)| **of_it == root);
        let first = those.map(|(label, _)| *label).min()?;
        Some(self.name(first).into_owned())
    }
}
