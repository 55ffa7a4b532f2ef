//! [`FileView`]: the files that one process sees, and none outside of its view.
//!
//! The path to open is chosen by the target, and so is what is at that path. So a path is walked
//! here, directory by directory from the root of the process: a symbolic link leads where it would
//! lead the process, `..` never above that root, and the file at the end is opened only if it is a
//! regular file of bounded size that the process itself may read. The root and the working
//! directory stay open, and with them the mounts of the process, so that its files can be read
//! after it has ended.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{self, FsType};
use nix::unistd::Uid;

use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::expendable;
use crate::os::procfs::stat::{ProcStat, age_of};
use crate::os::procfs::status::Status;
use crate::os::procfs::suspicion::may_block;

/// Cap on the symbolic links followed in one path, as in Linux.
const MAX_LINKS: usize = 40;
/// Cap on the depth of a directory. Each level is held open while a path is walked.
const MAX_DEPTH: usize = 200;
/// A file must have changed this much later than the start of the process to count as newer. The
/// start is known to a hundredth of a second, from another clock, which may have been set since.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// Kernel interfaces: reading them can have side effects or block for ever.
const KERNEL_FILESYSTEMS: [FsType; 5] = [
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::DEBUGFS_MAGIC,
    statfs::TRACEFS_MAGIC,
    statfs::SECURITYFS_MAGIC,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub bytes: Vec<u8>,
    /// The file was changed or created after the process had started.
    pub is_newer: bool,
}

/// The files that one process sees; see the [module](self).
#[derive(Debug)]
pub struct FileView {
    root: Arc<File>,
    /// The working directory, the start of relative paths; `None` when it may not be opened.
    working: Option<Arc<File>>,
    /// Its mounts. They exist as long as this is open, even when the container ends.
    _mounts: Option<File>,
    /// The kernel's names for its root, working directory and mounts.
    names: [PathBuf; 3],
    permissions: Permissions,
    started: Option<SystemTime>,
    /// Whether a file may never be answered.
    may_block: bool,
}

impl FileView {
    /// The current view of a process. Opens no file below its root, so it does not wait for any
    /// file system.
    ///
    /// # Errors
    /// When the process has ended or may not be read.
    pub fn of(pid: Pid) -> io::Result<FileView> {
        let entry = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let names = ["root", "cwd", "ns/mnt"];
        let started = ProcStat::of_process(pid).and_then(|stat| age_of(stat.start_ticks));
        Ok(FileView {
            root: Arc::new(open_dir(&entry("root"))?),
            working: open_dir(&entry("cwd")).ok().map(Arc::new),
            _mounts: File::open(entry("ns/mnt")).ok(),
            names: names.map(|name| fs::read_link(entry(name)).unwrap_or_default()),
            permissions: Permissions::of(pid)?,
            started: started
                .ok()
                .and_then(|age| SystemTime::now().checked_sub(age)),
            may_block: may_block(pid),
        })
    }

    /// The view of a process with this root directory and our own permissions.
    ///
    /// # Errors
    /// When there is no such directory, or it may not be opened.
    pub fn below(root: &Path) -> io::Result<FileView> {
        Ok(FileView {
            root: Arc::new(open_dir(root)?),
            working: None,
            _mounts: None,
            names: Default::default(),
            permissions: Permissions { limited_to: None },
            started: None,
            may_block: false,
        })
    }

    /// Whether the two views show the same files under the same permissions. Compares names: renaming a
    /// directory makes the views differ, which costs a repeated read and no more.
    pub fn shows_the_same_as(&self, other: &FileView) -> bool {
        self.names == other.names && self.permissions == other.permissions
    }

    /// Reads a whole file of at most `max_bytes`. Blocks as long as the file system does.
    ///
    /// # Errors
    /// When there is none, it is no regular file, it is too large, or the process may not read it.
    pub fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Contents> {
        let (file, meta) = self.find_regular(path)?;
        if meta.len() > max_bytes {
            return Err(refused("it is too large"));
        }
        let mut bytes = Vec::new();
        // Kernel interfaces appear as empty regular files.
        if meta.len() > 0 {
            open_again(&file)?.take(max_bytes).read_to_end(&mut bytes)?;
        }
        Ok(Contents {
            bytes,
            is_newer: self.is_newer(&meta),
        })
    }

    /// Whether the file system answers when a file is read, be it with an error. Asked by the expendable child,
    /// before [`FileView::read`] is called, which would block with it. A symbolic link with an absolute target
    /// leads the child to another file, so that such a file may still block.
    pub fn answers(&self, path: &Path, max_bytes: u64, deadline: Deadline) -> bool {
        if !self.may_block && !expendable::has_blocked() {
            return true;
        }
        let (start, inside) = match (path.strip_prefix("/"), &self.working) {
            (Ok(inside), _) => (&self.root, inside),
            (Err(_), Some(working)) => (working, path),
            (Err(_), None) => return true,
        };
        let start = format!("/proc/{}/fd/{}", std::process::id(), start.as_raw_fd());
        expendable::file_answers(&Path::new(&start).join(inside), max_bytes, deadline)
    }

    /// Opens a file for reading, with the checks of [`FileView::read`].
    ///
    /// # Errors
    /// When there is none, it is no regular file, or the process may not read it.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        open_again(&self.find_regular(path)?.0)
    }

    fn find_regular(&self, path: &Path) -> io::Result<(File, Metadata)> {
        let file = self.find(path)?;
        let meta = file.metadata()?;
        if !meta.is_file()
            || KERNEL_FILESYSTEMS.contains(&statfs::fstatfs(&file)?.filesystem_type())
        {
            return Err(refused("it is not a regular file"));
        }
        if !self.permissions.may(&meta, Permissions::READ) {
            return Err(refused("the process may not read it"));
        }
        Ok((file, meta))
    }

    /// Package managers preserve modification times, so the creation time counts as well.
    fn is_newer(&self, meta: &Metadata) -> bool {
        let Some(limit) = self
            .started
            .and_then(|started| started.checked_add(CLOCK_TOLERANCE))
        else {
            return false;
        };
        [meta.modified(), meta.created()]
            .into_iter()
            .any(|time| time.is_ok_and(|time| time > limit))
    }

    /// Finds what is at a path and opens it with `O_PATH`.
    fn find(&self, path: &Path) -> io::Result<File> {
        let mut dirs = if path.is_absolute() {
            vec![Arc::clone(&self.root)]
        } else {
            self.working_directories()?
        };
        let mut remaining = steps(path);
        let mut links = 0;
        while let Some(step) = remaining.pop() {
            let Some(here) = dirs.last() else { break };
            let Some(name) = step else {
                // The root is its own parent.
                if dirs.len() > 1 {
                    dirs.pop();
                }
                continue;
            };
            if !self.permissions.may(&here.metadata()?, Permissions::SEARCH) {
                return Err(refused("the process may not search its directory"));
            }
            let found = open_below(here, name.as_os_str())?;
            let kind = found.metadata()?.file_type();
            if kind.is_symlink() {
                links += 1;
                let target = PathBuf::from(readlinkat(&found, "")?);
                if links > MAX_LINKS || target.as_os_str().is_empty() {
                    return Err(refused("too many symbolic links"));
                }
                if target.is_absolute() {
                    dirs.truncate(1);
                }
                remaining.extend(steps(&target));
            } else if !kind.is_dir() {
                return if remaining.is_empty() {
                    Ok(found)
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                };
            } else if dirs.len() >= MAX_DEPTH {
                return Err(refused("its path is too deep"));
            } else {
                dirs.push(Arc::new(found));
            }
        }
        Err(refused("it is a directory"))
    }

    /// The working directory and its ancestors, root first.
    fn working_directories(&self) -> io::Result<Vec<Arc<File>>> {
        let working = self.working.as_ref();
        let working = working.ok_or_else(|| refused("the working directory is unknown"))?;
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let root = identity(&self.root)?;
        let mut dirs = Vec::new();
        let (mut dir, mut current) = (Arc::clone(working), identity(working)?);
        while current != root {
            let above = open_below(&dir, "..")?;
            let next = identity(&above)?;
            // A process that has changed its root can still have a working directory outside of it.
            if next == current || dirs.len() >= MAX_DEPTH {
                return Err(refused("the working directory is not below the root"));
            }
            dirs.push(std::mem::replace(&mut dir, Arc::new(above)));
            current = next;
        }
        dirs.push(Arc::clone(&self.root));
        dirs.reverse();
        Ok(dirs)
    }
}

/// The components of a path in reverse order; `None` means "..".
fn steps(path: &Path) -> Vec<Option<OsString>> {
    let step = |component| match component {
        Component::Normal(name) => Some(Some(OsString::from(name))),
        Component::ParentDir => Some(None),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    let mut steps: Vec<_> = path.components().filter_map(step).collect();
    steps.reverse();
    steps
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Opens a directory as a starting point (`O_PATH`), not for reading.
fn open_dir(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
        .open(path)
}

/// Reopens the checked file for reading, whatever has happened to its path since. Without
/// `O_NONBLOCK`, a file with a lease would block.
fn open_again(file: &File) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens an entry of a directory with `O_PATH`; a link itself, not its target.
fn open_below<N: ?Sized + nix::NixPath>(dir: impl AsFd, name: &N) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(dir, name, flags, Mode::empty())?))
}

/// The identity for which permissions are checked. As root we may read files that the target may
/// not: `co_filename` is chosen by the target, and must not copy another user's secrets into our
/// output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Permissions {
    /// User and groups; `None`: every file that we may read.
    limited_to: Option<(u32, Vec<u32>)>,
}

impl Permissions {
    const READ: u32 = 4;
    const SEARCH: u32 = 1;

    fn of(pid: Pid) -> io::Result<Permissions> {
        let status = Status::of_process(pid)?;
        let uid = status.filesystem_uid.filter(|uid| *uid != 0);
        Ok(Permissions {
            limited_to: uid
                .filter(|_| Uid::effective().is_root())
                .map(|uid| (uid, status.filesystem_groups)),
        })
    }

    fn may(&self, meta: &Metadata, right: u32) -> bool {
        let Some((uid, groups)) = &self.limited_to else {
            return true;
        };
        let shift = if meta.uid() == *uid {
            6
        } else if groups.contains(&meta.gid()) {
            3
        } else {
            0
        };
        (meta.mode() >> shift) & right != 0
    }
}

#[cfg(test)]
mod tests;
