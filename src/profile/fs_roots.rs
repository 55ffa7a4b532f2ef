//! [`FsRoots`]: which processes see which files. Two containers can have different files at one path.

use std::collections::HashMap;

use super::tables::ids::LabelId;
use crate::os::Pid;

/// Most processes whose root directory is stored before their frame exists.
const MAX_PROCESSES: usize = 4_096;

/// The root directories of the processes, by number. Processes that were never set have none.
#[derive(Debug, Default)]
pub struct FsRoots {
    by_pid: HashMap<Pid, u32>,
    /// By the label of a process's frame.
    by_label: HashMap<LabelId, u32>,
}

impl FsRoots {
    /// Sets the root directory of a process.
    pub fn set(&mut self, pid: Pid, root: u32) {
        if self.by_pid.len() >= MAX_PROCESSES {
            self.by_pid.clear();
        }
        self.by_pid.insert(pid, root);
    }

    /// Binds the frame of a process to its root directory.
    pub fn bind_frame(&mut self, pid: Pid, frame: LabelId) {
        if let Some(root) = self.by_pid.get(&pid) {
            self.by_label.insert(frame, *root);
        }
    }

    /// The root directory of the process with this frame; `None` for other frames.
    pub fn of(&self, frame: LabelId) -> Option<u32> {
        self.by_label.get(&frame).copied()
    }

    /// The first frame of a process with this root directory.
    pub fn first_frame(&self, root: u32) -> Option<LabelId> {
        let frames = self.by_label.iter().filter(|(_, of)| **of == root);
        frames.map(|(frame, _)| *frame).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_root_of_their_process() {
        let mut roots = FsRoots::default();
        let frames: Vec<LabelId> = (0..4).map(LabelId::from_index).collect();
        for (pid, root) in [(7, 1), (8, 1), (9, 0)] {
            roots.set(pid, root);
        }
        for (pid, frame) in [9, 8, 7, 6].into_iter().zip(&frames) {
            roots.bind_frame(pid, *frame);
        }
        let found: Vec<Option<u32>> = frames.iter().map(|frame| roots.of(*frame)).collect();
        assert_eq!(found, [Some(0), Some(1), Some(1), None]);
        assert_eq!(roots.first_frame(1).as_ref(), frames.get(1));
        assert_eq!(roots.first_frame(5), None);
    }

    #[test]
    fn processes_without_end_take_bounded_space() {
        let mut roots = FsRoots::default();
        for pid in 0..100_000 {
            roots.set(pid, 1);
        }
        assert!(roots.by_pid.len() <= MAX_PROCESSES);
    }
}
