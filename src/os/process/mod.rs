//! [`TargetProcess`]: an opened process, and what can be read about it.

pub mod captured;
pub mod exec_rights;
pub mod files;
pub mod image;
pub mod job_control;
pub mod launch;
pub mod list;
pub mod mapped_files;
pub mod new_pids;
pub mod streams;
pub mod sudo;
pub mod tree;
pub mod usage;
mod vfork;

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;

use super::deadline::Deadline;
use super::memory::live::LiveMemory;
use super::permission::PermissionProblem;
use super::procfs::maps::{self, Mapping};
use super::procfs::pagemap::PageMap;
use super::procfs::paths::root_path;
use super::procfs::stat::{ProcStat, age_of};
use super::procfs::statm::{Resident, RssReader};
use super::procfs::status::Status;
use super::procfs::suspicion::read_answering;
use super::procfs::tasks;
use super::thread::state::RunState;
use super::{Pid, Tid, container};
use crate::text::secrets::command::CommandLine;
use tree::{Child, descendants};

/// Cap on a command line, in bytes.
const MAX_COMMAND_LINE: u64 = 64 << 10;
/// The time for reading it.
const COMMAND_LINE_LIMIT: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no process with that id.
    #[error("there is no process {0}")]
    NoSuchProcess(Pid),
    /// It is a zombie.
    #[error("process {pid} has ended")]
    Ended {
        pid: Pid,
        /// The process that has to reap it.
        parent: Pid,
    },
    /// The id is that of another thread of a process.
    #[error("{tid} is a thread of process {process}")]
    IsThread { tid: Tid, process: Pid },
    /// It is a kernel thread, which has no memory of its own.
    #[error("process {0} is a kernel thread")]
    KernelThread(Pid),
    #[error("{0}")]
    PermissionDenied(PermissionProblem),
    #[error("cannot open process {pid}: {cause}")]
    Io { pid: Pid, cause: io::Error },
}

#[derive(Debug)]
pub struct TargetProcess {
    pid: Pid,
    /// The thread through whose /proc entry the process is read: usually the main thread.
    view: Tid,
    memory: LiveMemory,
    rss: RssReader,
    start_ticks: u64,
    other_pid_namespace: bool,
    paths: files::Paths,
}

impl TargetProcess {
    pub fn open(pid: Pid) -> Result<TargetProcess, OpenError> {
        let stat = match ProcStat::of_process(pid) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // With the mount option hidepid, /proc hides the processes of other users.
                let hidden = kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::EPERM);
                return Err(if pid > 0 && hidden {
                    OpenError::PermissionDenied(PermissionProblem::diagnose(pid))
                } else {
                    OpenError::NoSuchProcess(pid)
                });
            }
            Err(cause) => return Err(OpenError::Io { pid, cause }),
        };
        if stat.is_kernel_thread() {
            return Err(OpenError::KernelThread(pid));
        }
        let process = Status::of_thread(pid, pid)
            .ok()
            .and_then(|status| status.process);
        if let Some(process) = process.filter(|process| *process != pid) {
            return Err(OpenError::IsThread { tid: pid, process });
        }
        let parent = stat.parent;
        let ended = OpenError::Ended { pid, parent };
        // The main thread may have ended before the others, which go on as the process. Its own
        // /proc entry is empty then; that of another thread shows the same memory.
        let view = match stat.has_ended() {
            true => living_thread(pid).ok_or(ended)?,
            false => pid,
        };
        let open_error = |cause: io::Error| match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                OpenError::PermissionDenied(PermissionProblem::diagnose(pid))
            }
            io::ErrorKind::NotFound => OpenError::NoSuchProcess(pid),
            _ => OpenError::Io { pid, cause },
        };
        Ok(TargetProcess {
            pid,
            view,
            memory: LiveMemory::open(view).map_err(open_error)?,
            rss: RssReader::open(view).map_err(open_error)?,
            start_ticks: stat.start_ticks,
            other_pid_namespace: !container::has_same_pid_namespace(pid).unwrap_or(true),
            paths: files::Paths::default(),
        })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn memory(&self) -> &LiveMemory {
        &self.memory
    }

    /// Its arguments, which it may have changed. Empty when it has none or has ended.
    pub fn command_line(&self) -> CommandLine {
        command_line(self.view)
    }

    /// The program that it executes, as a path in its own root; empty when unknown.
    pub fn exe_path(&self) -> PathBuf {
        exe_path(self.view)
    }

    /// Its current mappings, in order of address. A process that is just starting or in exec can
    /// have none.
    ///
    /// # Errors
    /// When it has ended or may not be read; `TimedOut` when the deadline is over.
    pub fn maps(&self, deadline: Deadline) -> io::Result<Vec<Mapping>> {
        let mappings = maps::read_mappings(self.view, deadline)?;
        self.memory.suspects().find(self.view, &mappings);
        Ok(mappings)
    }

    /// Searches again for memory that may block whoever reads it, if there is a reason and the last time is long
    /// ago. Not to be called while threads are paused.
    pub fn search_suspects(&self, now: Instant) {
        self.memory.suspects().search_if_due(self.view, now);
    }

    /// Opens the file of a mapping, even if it was deleted or is under another root.
    ///
    /// # Errors
    /// When no path leads to that very file.
    pub fn open_mapped(&self, mapping: &Mapping) -> io::Result<File> {
        mapped_files::open_mapped(self.view, mapping, &self.memory)
    }

    /// Opens the program that it executes, even if it was deleted.
    pub fn open_exe(&self) -> io::Result<File> {
        let path = PathBuf::from(format!("/proc/{}/exe", self.view));
        files::open_answering(self.view, &path)
    }

    /// Whether there is a regular file at a path in its root; `None` when the file system does not answer by
    /// the deadline.
    pub fn is_file(&self, path: &Path, deadline: Deadline) -> Option<bool> {
        self.paths.is_file(self.view, path, deadline)
    }

    /// Translates a path in its root to a path for us.
    pub fn root_path(&self, path: &Path) -> PathBuf {
        root_path(self.view, path)
    }

    /// Its threads, in the kernel's order: oldest first.
    pub fn thread_ids(&self) -> io::Result<Vec<Tid>> {
        tasks::thread_ids(self.pid)
    }

    pub fn run_state(&self, tid: Tid) -> io::Result<RunState> {
        RunState::of_thread(self.pid, tid)
    }

    /// The id of a thread in the PID namespace of the process, which is the id that the program
    /// itself uses. Free of cost when that namespace is ours.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn namespace_tid(&self, tid: Tid) -> io::Result<Tid> {
        if self.other_pid_namespace {
            container::inner_tid(self.pid, tid)
        } else {
            Ok(tid)
        }
    }

    pub fn is_in_other_pid_namespace(&self) -> bool {
        self.other_pid_namespace
    }

    /// Its descendants, each after its parent. Empty when it has ended.
    pub fn children(&self) -> Vec<Child> {
        if self.is_same_process() {
            descendants(&[self.pid])
        } else {
            Vec::new()
        }
    }

    /// Resident memory in bytes: one system call.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn rss(&self) -> io::Result<u64> {
        self.rss.rss_bytes()
    }

    /// Resident memory with its parts, by the same system call.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn resident(&self) -> io::Result<Resident> {
        self.rss.resident()
    }

    /// What its pages are.
    ///
    /// # Errors
    /// When the kernel does not tell: it has ended, or the file is missing or not permitted.
    pub fn page_map(&self) -> io::Result<PageMap> {
        PageMap::open(self.view)
    }

    /// The start time, in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.start_ticks
    }

    /// Whether its pid has not been reused. It may be a zombie, or have executed another program.
    pub fn is_same_process(&self) -> bool {
        ProcStat::of_process(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks)
    }

    /// Whether it has ended with all its threads, reaped or not.
    pub fn has_ended(&self) -> bool {
        ProcStat::of_process(self.pid).map_or(true, |stat| {
            stat.start_ticks != self.start_ticks
                || stat.has_ended() && living_thread(self.pid).is_none()
        })
    }

    pub fn age(&self) -> io::Result<Duration> {
        age_of(self.start_ticks)
    }

    /// See [`ProcStat::was_forked`].
    pub fn was_forked(&self) -> bool {
        ProcStat::of_process(self.pid).is_ok_and(|stat| stat.was_forked())
    }
}

/// A thread of the process that has not ended.
fn living_thread(pid: Pid) -> Option<Tid> {
    let mut tids = tasks::thread_ids(pid).ok()?.into_iter();
    tids.find(|tid| ProcStat::of_thread(pid, *tid).is_ok_and(|stat| !stat.has_ended()))
}

/// The arguments of a process, lossy, cut after 64 KiB. Empty when the kernel does not answer: it reads them in
/// the memory of the process, under the lock of its memory map.
pub fn command_line(pid: Pid) -> CommandLine {
    let bytes = read_answering(pid, "cmdline", MAX_COMMAND_LINE, COMMAND_LINE_LIMIT);
    let bytes = bytes.unwrap_or_default();
    let trimmed = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if trimmed.is_empty() {
        return CommandLine::default();
    }
    let words = trimmed
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned());
    CommandLine::new(words.collect())
}

/// The program of a process without the kernel's "(deleted)"; empty when unknown.
pub fn exe_path(pid: Pid) -> PathBuf {
    let Ok(path) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return PathBuf::new();
    };
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        // A program may really have such a name.
        Some(bytes) if !files::exists(pid, &root_path(pid, &path)) => {
            PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
        }
        _ => path,
    }
}

#[cfg(test)]
mod tests;
