//! [`TargetProcess`]: a process that we have opened, and what can be asked of it.

pub mod image;
pub mod launch;
pub mod list;
pub mod mapped_files;
pub mod new_pids;
pub mod tree;
pub mod usage;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;

use super::memory::live::LiveMemory;
use super::permission::PermissionProblem;
use super::procfs::maps::{self, Mapping};
use super::procfs::stat::ProcStat;
use super::procfs::statm::RssReader;
use super::procfs::status::Status;
use super::thread::state::RunState;
use super::{Pid, Tid, container, ticks_per_second};
use tree::{Child, descendants};

/// The longest command line that is read, in bytes.
const MAX_COMMAND_LINE: u64 = 64 << 10;

/// Why a process could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none with that id.
    #[error("there is no process {0}")]
    NoSuchProcess(Pid),
    /// It has ended and only waits to be collected.
    #[error("process {pid} has ended")]
    Ended {
        /// The process.
        pid: Pid,
        /// Who has to collect it.
        parent: Pid,
    },
    /// The id is that of one of a process's other threads.
    #[error("{tid} is a thread of process {process}")]
    IsThread {
        /// The thread.
        tid: Tid,
        /// Its process.
        process: Pid,
    },
    /// It is a thread of the kernel, which has no memory of its own.
    #[error("process {0} is a thread of the kernel")]
    KernelThread(Pid),
    /// The system doesn't let us look into it.
    #[error("{0}")]
    PermissionDenied(PermissionProblem),
    /// Something else went wrong.
    #[error("cannot open process {pid}: {cause}")]
    Io {
        /// The process.
        pid: Pid,
        /// What the system said.
        cause: io::Error,
    },
}

/// A running process whose memory we may read.
#[derive(Debug)]
pub struct TargetProcess {
    pid: Pid,
    /// The thread in whose entry of /proc the process is seen: mostly the first.
    view: Tid,
    memory: LiveMemory,
    rss: RssReader,
    start_ticks: u64,
    /// Whether it counts its threads otherwise than we do.
    other_pid_namespace: bool,
}

impl TargetProcess {
    /// Opens a process.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(pid: Pid) -> Result<TargetProcess, OpenError> {
        let stat = match ProcStat::of_process(pid) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // With the mount option hidepid, /proc doesn't show what isn't ours.
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
        // A main thread may have ended before the others, which then go on as a process. Its own
        // entry in /proc is empty then; another thread's shows the same memory.
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
        })
    }

    /// Its process id, in our own PID namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its memory.
    pub fn memory(&self) -> &LiveMemory {
        &self.memory
    }

    /// Its arguments, as it may have changed them. Empty when it has none (any more).
    pub fn command_line(&self) -> Vec<String> {
        command_line(self.view)
    }

    /// The program that it runs, as a path in its own root; empty when unknown.
    pub fn exe_path(&self) -> PathBuf {
        exe_path(self.view)
    }

    /// Its mappings as they are now, in order of address. A process that is just being started, or
    /// executes another program, can have none yet.
    ///
    /// # Errors
    /// When it is gone or may not be looked at.
    pub fn maps(&self) -> io::Result<Vec<Mapping>> {
        maps::read_mappings(self.view)
    }

    /// Opens the file that a mapping is of, though it be deleted or under another root.
    ///
    /// # Errors
    /// When nothing leads to that very file.
    pub fn open_mapped(&self, mapping: &Mapping) -> io::Result<File> {
        mapped_files::open_mapped(self.view, mapping, &self.memory)
    }

    /// Opens the program that it runs, though it be deleted.
    ///
    /// # Errors
    /// When it is gone or may not be looked at.
    pub fn open_exe(&self) -> io::Result<File> {
        mapped_files::open_regular(Path::new(&format!("/proc/{}/exe", self.view)))
    }

    /// A path of its own view of the file system, as a path for us.
    pub fn root_path(&self, path: &Path) -> PathBuf {
        mapped_files::root_path(self.view, path)
    }

    /// Its threads, in the kernel's order: oldest first.
    ///
    /// # Errors
    /// When it is gone.
    pub fn thread_ids(&self) -> io::Result<Vec<Tid>> {
        let process = remoteprocess::Process::new(self.pid).map_err(io::Error::other)?;
        let threads = process.threads().map_err(io::Error::other)?;
        // The id of a thread that we have is always known here.
        Ok(threads
            .iter()
            .filter_map(|thread| thread.id().ok())
            .collect())
    }

    /// What one of its threads is doing.
    ///
    /// # Errors
    /// `NotFound` when there is no such thread (any more).
    pub fn run_state(&self, tid: Tid) -> io::Result<RunState> {
        RunState::of_thread(self.pid, tid)
    }

    /// The id that one of its threads has in the PID namespace that it lives in: what the program
    /// itself knows the thread by. Costs nothing when that namespace is ours.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn namespace_tid(&self, tid: Tid) -> io::Result<Tid> {
        if self.other_pid_namespace {
            container::inner_tid(self.pid, tid)
        } else {
            Ok(tid)
        }
    }

    /// Whether it lives in another PID namespace than we do.
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

    /// Its resident memory in bytes: one system call.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn rss(&self) -> io::Result<u64> {
        self.rss.rss_bytes()
    }

    /// When it started, in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.start_ticks
    }

    /// Whether its pid is still its own: it hasn't ended, or only waits to be collected. It may run
    /// another program by now.
    pub fn is_same_process(&self) -> bool {
        ProcStat::of_process(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks)
    }

    /// Whether it has ended with all its threads, be it collected or not.
    pub fn has_ended(&self) -> bool {
        ProcStat::of_process(self.pid).map_or(true, |stat| {
            stat.start_ticks != self.start_ticks
                || stat.has_ended() && living_thread(self.pid).is_none()
        })
    }

    /// How long ago it started.
    ///
    /// # Errors
    /// When the system's uptime can't be read.
    pub fn age(&self) -> io::Result<Duration> {
        age_of(self.start_ticks)
    }
}

/// A thread of the process that has not ended.
fn living_thread(pid: Pid) -> Option<Tid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .find(|tid| ProcStat::of_thread(pid, *tid).is_ok_and(|stat| !stat.has_ended()))
}

/// The arguments of a process, lossy, cut after 64 KiB.
pub(crate) fn command_line(pid: Pid) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(MAX_COMMAND_LINE).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let trimmed = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if trimmed.is_empty() {
        return Vec::new();
    }
    trimmed
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The program of a process without the kernel's "(deleted)"; empty when unknown.
pub(crate) fn exe_path(pid: Pid) -> PathBuf {
    let Ok(path) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return PathBuf::new();
    };
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        // A program may really have such a name.
        Some(bytes) if !mapped_files::root_path(pid, &path).exists() => {
            PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
        }
        _ => path,
    }
}

/// How long ago something happened, given in clock ticks since boot.
pub(crate) fn age_of(start_ticks: u64) -> io::Result<Duration> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime
        .split_ascii_whitespace()
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let started = start_ticks as f64 / ticks_per_second() as f64;
    Ok(Duration::try_from_secs_f64((seconds - started).max(0.0)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
