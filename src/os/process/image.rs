//! [`ProcessImage`]: the view of a process needed to find an interpreter, live or from a core file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::TargetProcess;
use crate::os::deadline::Deadline;
use crate::os::memory::RemoteMemory;
use crate::os::procfs::maps::Mapping;
use crate::os::thread::state::RunState;
use crate::os::{Pid, Tid};

/// Memory, and the files mapped into it.
pub trait ProcessImage {
    type Memory: RemoteMemory;

    /// The process id; of a core file, the one that the process had.
    fn pid(&self) -> Pid;

    fn memory(&self) -> &Self::Memory;

    /// The program that it executes, as a path in its own root; empty when unknown.
    fn exe_path(&self) -> PathBuf;

    /// Its mappings, in order of address; the error is `TimedOut` when the deadline is over.
    fn maps(&self, deadline: Deadline) -> io::Result<Vec<Mapping>>;

    /// A path in the process's own root, as a path in ours.
    fn root_path(&self, path: &Path) -> PathBuf;

    /// Whether there is a regular file at a path in its root; `None` when the file system does not answer by
    /// the deadline, which is waited for only where a live process decides what that file system is.
    fn is_file(&self, path: &Path, _deadline: Deadline) -> Option<bool> {
        Some(self.root_path(path).is_file())
    }

    /// Its tasks that have not ended, oldest first, as pairs of the id in its own PID namespace and the id in
    /// ours.
    fn tasks(&self) -> Vec<(Tid, Tid)>;

    /// Opens the file of a mapping: that very file, or none.
    fn open_mapped(&self, mapping: &Mapping) -> io::Result<File>;
}

impl ProcessImage for TargetProcess {
    type Memory = crate::os::memory::live::LiveMemory;

    fn pid(&self) -> Pid {
        self.pid()
    }

    fn memory(&self) -> &Self::Memory {
        self.memory()
    }

    fn exe_path(&self) -> PathBuf {
        self.exe_path()
    }

    fn maps(&self, deadline: Deadline) -> io::Result<Vec<Mapping>> {
        self.maps(deadline)
    }

    fn root_path(&self, path: &Path) -> PathBuf {
        self.root_path(path)
    }

    fn is_file(&self, path: &Path, deadline: Deadline) -> Option<bool> {
        self.is_file(path, deadline)
    }

    fn tasks(&self) -> Vec<(Tid, Tid)> {
        // A process that ends right now has no tasks; the next read reports that.
        let tids = self.thread_ids().unwrap_or_default();
        let pid = self.pid();
        // Of all tasks only the first one stays in the list when it has ended before the others.
        let has_ended = |tid| matches!(RunState::of_thread(pid, tid), Ok(RunState::Zombie));
        tids.into_iter()
            .filter(|tid| *tid != pid || !has_ended(*tid))
            .filter_map(|tid| Some((self.namespace_tid(tid).ok()?, tid)))
            .collect()
    }

    fn open_mapped(&self, mapping: &Mapping) -> io::Result<File> {
        self.open_mapped(mapping)
    }
}
