//! Files of a target that may be on a file system that does not answer.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::expendable::{self, FILE_LIMIT, NoReply};
use crate::os::procfs::mounts::Mounts;
use crate::os::procfs::paths::{open_regular, root_path};
use crate::os::procfs::suspicion::may_block;

/// Cap on the folders that are remembered because they did not answer.
const MAX_DEAD: usize = 64;
/// The time for one path, so that a folder that does not answer leaves some for the others.
const LOOKUP_LIMIT: Duration = Duration::from_millis(25);
/// For how long such a folder is not asked again.
const DEAD_FOR: Duration = Duration::from_secs(30);

/// For how long it is remembered whether files may block.
const MAX_AGE: Duration = Duration::from_secs(1);

/// A folder that did not answer.
#[derive(Debug)]
struct DeadFolder {
    folder: PathBuf,
    /// The child that was blocked. As long as it is, the next one would be, too.
    child: Pid,
    /// When it is asked again at the earliest.
    until: Instant,
}

/// What is known of the folders of a process.
#[derive(Debug, Default)]
pub struct Paths {
    dead: Mutex<Vec<DeadFolder>>,
    /// Whether they may block, and when that was found.
    may_block: Mutex<Option<(Instant, bool)>>,
}

impl Paths {
    /// Whether there is a regular file at a path in the root of a process; `None` when the file system does
    /// not answer. A path below /proc may lead to the mounts of another process (`/proc/PID/root`).
    pub fn is_file(&self, pid: Pid, path: &Path, deadline: Deadline) -> Option<bool> {
        let ours = root_path(pid, path);
        if !path.starts_with("/proc") && !self.may_block(pid) {
            return Some(ours.is_file());
        }
        if self.is_dead(path) {
            return None;
        }
        match expendable::is_file(&ours, deadline.or_earlier(Deadline::after(LOOKUP_LIMIT))) {
            Ok(is_file) => Some(is_file),
            Err(NoReply::Blocked(child)) => {
                self.add_dead(pid, path, child);
                None
            }
            Err(why) => {
                log::info!("process {pid}: {}: {why}", path.display());
                None
            }
        }
    }

    /// As [`may_block`], asked once a second: one sample can ask for some thousand paths.
    fn may_block(&self, pid: Pid) -> bool {
        let now = Instant::now();
        let mut known = self
            .may_block
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((at, known)) if now.saturating_duration_since(at) < MAX_AGE => {
                known || expendable::has_blocked()
            }
            _ => {
                let found = may_block(pid);
                *known = Some((now, found));
                found
            }
        }
    }

    fn is_dead(&self, path: &Path) -> bool {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.is_empty() {
            return false;
        }
        let now = Instant::now();
        dead.retain(|one| now < one.until || expendable::is_blocked(one.child));
        dead.iter().any(|one| path.starts_with(&one.folder))
    }

    fn add_dead(&self, pid: Pid, path: &Path, child: Pid) {
        let mounts = Mounts::of(pid).unwrap_or_default();
        let folder = mounts.suspect_above(path).or_else(|| path.parent());
        let folder = folder.unwrap_or(path).to_path_buf();
        log::info!("process {pid}: {} does not answer", folder.display());
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() < MAX_DEAD {
            dead.push(DeadFolder {
                folder,
                child,
                until: Instant::now() + DEAD_FOR,
            });
        }
    }
}

/// Whether anything is at a path; `false` when its file system does not answer.
pub fn exists(pid: Pid, path: &Path) -> bool {
    if !may_block(pid) {
        return path.exists();
    }
    match expendable::exists(path, Deadline::after(FILE_LIMIT)) {
        Err(NoReply::CannotStart) => path.exists(),
        result => result.unwrap_or(false),
    }
}

/// Opens a regular file; by the expendable child first, if a file of the process may block.
///
/// # Errors
/// `TimedOut` when its file system does not answer.
pub fn open_answering(pid: Pid, path: &Path) -> io::Result<File> {
    if may_block(pid) {
        open_if_it_answers(path)
    } else {
        open_regular(path)
    }
}

/// Opens a regular file after the expendable child could.
///
/// # Errors
/// `TimedOut` when its file system does not answer.
pub fn open_if_it_answers(path: &Path) -> io::Result<File> {
    if expendable::open_file_answers(path, Deadline::after(FILE_LIMIT)) {
        return open_regular(path);
    }
    let why = format!("{}: its file system does not answer", path.display());
    Err(io::Error::new(io::ErrorKind::TimedOut, why))
}
