//! [`FileView`]: the files as one process sees them, and none outside.
//!
//! Which file is asked for is the target's word, and so is what stands at that place. So a path is
//! walked here, folder by folder from the process's own root: a symbolic link leads where it would
//! lead the process, `..` never above that root, and what is at the end is opened only if it is a
//! regular file of bounded size that the process itself may read. The folders are held open, and with
//! them the process's mounts, so that its files can be read after it has ended.

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
use crate::os::process::age_of;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::status::Status;

/// Symbolic links of one path that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;
/// How deep a folder may lie. Each one above it is held open while a path is walked.
const MAX_DEPTH: usize = 200;
/// How much later than the process's start a file must have changed to count as newer. The start is
/// known to a hundredth of a second by another clock, which may have been set since.
const OVERSHOOT: Duration = Duration::from_secs(1);
/// Kernel interfaces: to read there can have effects, or wait for ever.
const NO_FILES: [FsType; 5] = [
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::DEBUGFS_MAGIC,
    statfs::TRACEFS_MAGIC,
    statfs::SECURITYFS_MAGIC,
];

/// A file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Whether the file was changed, or put there, after the process had started.
    pub is_newer: bool,
}

/// The files as one process sees them; see the [module](self).
#[derive(Debug)]
pub struct FileView {
    root: Arc<File>,
    /// The folder that relative paths start in; `None` when it may not be opened.
    working: Option<Arc<File>>,
    /// Its mounts. As long as this is open they stay, though its container end.
    _mounts: Option<File>,
    /// How the kernel calls its root, working folder and mounts.
    names: [PathBuf; 3],
    reader: Reader,
    started: Option<SystemTime>,
}

impl FileView {
    /// What a process sees at this moment. Looks at no file, so that no file system is waited for.
    ///
    /// # Errors
    /// When it has ended or may not be looked at.
    pub fn of(pid: Pid) -> io::Result<FileView> {
        let entry = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let names = ["root", "cwd", "ns/mnt"];
        let started = ProcStat::of_process(pid).and_then(|stat| age_of(stat.start_ticks));
        Ok(FileView {
            root: Arc::new(open_place(&entry("root"))?),
            working: open_place(&entry("cwd")).ok().map(Arc::new),
            _mounts: File::open(entry("ns/mnt")).ok(),
            names: names.map(|name| fs::read_link(entry(name)).unwrap_or_default()),
            reader: Reader::of(pid)?,
            started: started
                .ok()
                .and_then(|age| SystemTime::now().checked_sub(age)),
        })
    }

    /// What a process would see whose root was this folder: all files below it that we may read.
    ///
    /// # Errors
    /// When there is no such folder, or it may not be looked at.
    pub fn below(root: &Path) -> io::Result<FileView> {
        Ok(FileView {
            root: Arc::new(open_place(root)?),
            working: None,
            _mounts: None,
            names: Default::default(),
            reader: Reader { limited_to: None },
            started: None,
        })
    }

    /// Whether the two show the same files to the same reader. Told by names: a folder that was
    /// renamed in between makes them different, which costs a look and no more.
    pub fn shows_the_same_as(&self, other: &FileView) -> bool {
        self.names == other.names && self.reader == other.reader
    }

    /// Reads a whole file of at most `max_bytes`. May wait as long as a file system does that does
    /// not answer.
    ///
    /// # Errors
    /// When there is none, it is no regular file, too large, or the process may not read it.
    pub fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Contents> {
        let (file, meta) = self.find_regular(path)?;
        if meta.len() > max_bytes {
            return Err(refused("it is too large"));
        }
        let mut bytes = Vec::new();
        // Interfaces of the kernel look like regular files without contents.
        if meta.len() > 0 {
            open_again(&file)?.take(max_bytes).read_to_end(&mut bytes)?;
        }
        Ok(Contents {
            bytes,
            is_newer: self.is_newer(&meta),
        })
    }

    /// Opens a file for reading, as [`FileView::read`] would.
    ///
    /// # Errors
    /// When there is none, it is no regular file, or the process may not read it.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        open_again(&self.find_regular(path)?.0)
    }

    fn find_regular(&self, path: &Path) -> io::Result<(File, Metadata)> {
        let file = self.find(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || NO_FILES.contains(&statfs::fstatfs(&file)?.filesystem_type()) {
            return Err(refused("it is no regular file"));
        }
        if !self.reader.may(&meta, Reader::READ) {
            return Err(refused("the process may not read it"));
        }
        Ok((file, meta))
    }

    /// A package manager keeps the times that its files were packed with; so the time at which the
    /// file came to be there counts, too.
    fn is_newer(&self, meta: &Metadata) -> bool {
        let Some(limit) = self
            .started
            .and_then(|started| started.checked_add(OVERSHOOT))
        else {
            return false;
        };
        [meta.modified(), meta.created()]
            .into_iter()
            .any(|time| time.is_ok_and(|time| time > limit))
    }

    /// Opens what is at a path, without opening it for reading.
    fn find(&self, path: &Path) -> io::Result<File> {
        let mut folders = if path.is_absolute() {
            vec![Arc::clone(&self.root)]
        } else {
            self.working_folders()?
        };
        let mut left = steps(path);
        let mut links = 0;
        while let Some(step) = left.pop() {
            let Some(here) = folders.last() else { break };
            let Some(name) = step else {
                // The root is its own parent.
                if folders.len() > 1 {
                    folders.pop();
                }
                continue;
            };
            if !self.reader.may(&here.metadata()?, Reader::SEARCH) {
                return Err(refused("the process may not look there"));
            }
            let found = open_below(here, name.as_os_str())?;
            let kind = found.metadata()?.file_type();
            if kind.is_symlink() {
                links += 1;
                let target = PathBuf::from(readlinkat(&found, "")?);
                if links > MAX_LINKS || target.as_os_str().is_empty() {
                    return Err(refused("its links lead nowhere"));
                }
                if target.is_absolute() {
                    folders.truncate(1);
                }
                left.extend(steps(&target));
            } else if !kind.is_dir() {
                return if left.is_empty() {
                    Ok(found)
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                };
            } else if folders.len() >= MAX_DEPTH {
                return Err(refused("it lies too deep"));
            } else {
                folders.push(Arc::new(found));
            }
        }
        Err(refused("it is a folder"))
    }

    /// The working folder and those above it, root first.
    fn working_folders(&self) -> io::Result<Vec<Arc<File>>> {
        let working = self.working.as_ref();
        let working = working.ok_or_else(|| refused("the working folder is not known"))?;
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let root = identity(&self.root)?;
        let mut folders = Vec::new();
        let (mut folder, mut place) = (Arc::clone(working), identity(working)?);
        while place != root {
            let above = open_below(&folder, "..")?;
            let next = identity(&above)?;
            // A process that has changed its root can still work outside of it.
            if next == place || folders.len() >= MAX_DEPTH {
                return Err(refused("the working folder is not below the root"));
            }
            folders.push(std::mem::replace(&mut folder, Arc::new(above)));
            place = next;
        }
        folders.push(Arc::clone(&self.root));
        folders.reverse();
        Ok(folders)
    }
}

/// A path's steps, last first; `None` is the step up.
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

/// Opens a place, to look from and not to read.
fn open_place(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
        .open(path)
}

/// Opens what was looked at for reading, whatever has happened to its path since. A file with a lease
/// on it would have to be waited for.
fn open_again(file: &File) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens what has this name in a folder, a link itself rather than what it leads to, to look at and
/// not to read.
fn open_below<N: ?Sized + nix::NixPath>(folder: impl AsFd, name: &N) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(folder, name, flags, Mode::empty())?))
}

/// Who reads. As root we may read what the target may not: `co_filename` is the target's word, and must
/// not get somebody else's secrets into our files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reader {
    /// `None`: whatever we may read.
    limited_to: Option<(u32, Vec<u32>)>,
}

impl Reader {
    const READ: u32 = 4;
    const SEARCH: u32 = 1;

    fn of(pid: Pid) -> io::Result<Reader> {
        let status = Status::of_process(pid)?;
        let uid = status.filesystem_uid.filter(|uid| *uid != 0);
        Ok(Reader {
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
