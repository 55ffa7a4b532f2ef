//! [`Place`]: a path resolved once. The directory is held open, and what was found in it.
//!
//! Another user can exchange what a path names between two system calls. So each component is opened by its own
//! (`O_PATH`, `O_NOFOLLOW`), symbolic links are followed here, and what is checked is what was opened.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::trust::{Us, leads_to_another_user};

/// Most symbolic links that are followed: the limit of Linux.
const MAX_LINKS: usize = 40;

/// A name in a directory, and what has that name.
#[derive(Debug)]
pub struct Place {
    pub directory: Directory,
    pub name: OsString,
    pub found: Option<Found>,
}

/// An open directory (`O_PATH`).
#[derive(Debug)]
pub struct Directory {
    pub handle: File,
    pub meta: Metadata,
}

/// What a path leads to, opened with `O_PATH`.
#[derive(Debug)]
pub struct Found {
    handle: File,
    pub meta: Metadata,
    /// Whether it was reached by a link of /proc: it is an open file of a process.
    pub is_descriptor: bool,
}

impl Place {
    /// Resolves a path whose last component need not exist.
    ///
    /// # Errors
    /// If a directory is missing or may not be searched, a link may not be followed, or the path is that of a
    /// directory.
    pub fn find(path: &Path, us: &Us) -> io::Result<Place> {
        let mut walk = Walk::begin(path)?;
        let place = walk.run(us)?;
        let text = path.as_os_str().as_bytes();
        if text.ends_with(b"/") || text.ends_with(b"/.") {
            return Err(match &place.found {
                Some(_) => Errno::ENOTDIR.into(),
                None => is_directory(),
            });
        }
        Ok(place)
    }

    /// Whether the name is still that of this file.
    pub fn still_names(&self, file: &Metadata) -> bool {
        open_below(&self.directory.handle, &self.name, OFlag::empty())
            .and_then(|now| now.metadata())
            .is_ok_and(|now| is_same(&now, file))
    }

    /// Whether this is the standard output of this process.
    pub fn is_stdout(&self) -> bool {
        let of_us = std::fs::metadata("/proc/self/fd");
        self.name == "1"
            && self.found.as_ref().is_some_and(|found| found.is_descriptor)
            && of_us.is_ok_and(|of_us| is_same(&of_us, &self.directory.meta))
    }
}

impl Found {
    /// Opens the very file that was found, whatever its name leads to now. Without `O_NONBLOCK` this could wait: for
    /// the reader of a pipe, or for the holder of a lease.
    ///
    /// # Errors
    /// If it may not be written; `ENXIO` for a pipe that nobody reads.
    pub fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        options
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(name_of_descriptor(&self.handle))
    }
}

/// The kernel's name of an open file.
pub fn name_of_descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The error of a path that names no file.
pub fn is_directory() -> io::Error {
    io::Error::new(
        io::ErrorKind::IsADirectory,
        "it is a directory; name a file in it",
    )
}

/// What remains to be done, last first.
enum Step {
    Enter(OsString),
    Up,
    /// What was reached must belong to this user: a link of this user has led to it.
    CheckOwner(u32),
}

struct Walk {
    /// Where absolute links lead: our root, or that of the process whose /proc/PID/root was entered.
    root: File,
    here: File,
    remaining: Vec<Step>,
    links: usize,
}

impl Walk {
    fn begin(path: &Path) -> io::Result<Walk> {
        let open = |start: &str| openat(AT_FDCWD, start, directory_flags(), Mode::empty());
        let root = File::from(open("/")?);
        let here = match path.is_absolute() {
            true => root.try_clone()?,
            false => File::from(open(".")?),
        };
        Ok(Walk {
            root,
            here,
            remaining: steps(path),
            links: 0,
        })
    }

    fn run(&mut self, us: &Us) -> io::Result<Place> {
        while let Some(step) = self.remaining.pop() {
            match step {
                Step::CheckOwner(owner) => belongs_to(owner, &self.here.metadata()?)?,
                Step::Up => self.go_up()?,
                Step::Enter(name) => {
                    if let Some(place) = self.enter(name, us)? {
                        return Ok(place);
                    }
                }
            }
        }
        Err(is_directory())
    }

    /// The root is its own parent.
    fn go_up(&mut self) -> io::Result<()> {
        if !is_same(&self.here.metadata()?, &self.root.metadata()?) {
            self.here = open_below(&self.here, OsStr::new(".."), OFlag::O_DIRECTORY)?;
        }
        Ok(())
    }

    fn enter(&mut self, name: OsString, us: &Us) -> io::Result<Option<Place>> {
        let is_last = self
            .remaining
            .iter()
            .all(|step| matches!(step, Step::CheckOwner(_)));
        if !is_last {
            // An automount point is mounted only with `O_DIRECTORY`. A link is no directory.
            match open_below(&self.here, &name, OFlag::O_DIRECTORY) {
                Ok(directory) => {
                    self.here = directory;
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        let handle = match open_below(&self.here, &name, OFlag::empty()) {
            Ok(handle) => handle,
            Err(error) if is_last && error.kind() == io::ErrorKind::NotFound => {
                return self.place(name, None).map(Some);
            }
            Err(error) => return Err(error),
        };
        let meta = handle.metadata()?;
        if meta.is_symlink() {
            return self.follow(name, &handle, &meta, is_last, us);
        }
        if !is_last {
            if !meta.is_dir() {
                return Err(Errno::ENOTDIR.into());
            }
            // Somebody has exchanged it for the link that it was.
            self.here = handle;
            return Ok(None);
        }
        let found = Found {
            handle,
            meta,
            is_descriptor: false,
        };
        self.place(name, Some(found)).map(Some)
    }

    fn follow(
        &mut self,
        name: OsString,
        link: &File,
        meta: &Metadata,
        is_last: bool,
        us: &Us,
    ) -> io::Result<Option<Place>> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        us.may_follow(&name, meta, &self.here.metadata()?)?;
        if fstatfs(link)?.filesystem_type() == PROC_SUPER_MAGIC {
            return self.follow_in_proc(name, meta, is_last, us);
        }
        let target = readlinkat(link, "")?;
        let target = Path::new(&target);
        if let Some(owner) = us.owner_behind(meta) {
            self.remaining.push(Step::CheckOwner(owner));
        }
        self.remaining.extend(steps(target));
        if target.is_absolute() {
            self.here = self.root.try_clone()?;
        }
        Ok(None)
    }

    /// A link of /proc may lead to an open file that has no name, or to a directory in another mount namespace. The
    /// kernel knows the way; the text of the link does not say it.
    fn follow_in_proc(
        &mut self,
        name: OsString,
        link: &Metadata,
        is_last: bool,
        us: &Us,
    ) -> io::Result<Option<Place>> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let handle = File::from(openat(&self.here, name.as_os_str(), flags, Mode::empty())?);
        let meta = handle.metadata()?;
        if meta.is_dir() {
            if name == "root" || name == "cwd" {
                self.root = File::from(openat(
                    &self.here,
                    "root",
                    directory_flags(),
                    Mode::empty(),
                )?);
            }
            self.here = handle;
            return Ok(None);
        }
        if !is_last {
            return Err(Errno::ENOTDIR.into());
        }
        if meta.is_file()
            && let Some(owner) = us.owner_behind(link)
        {
            belongs_to(owner, &meta)?;
        }
        let found = Found {
            handle,
            meta,
            is_descriptor: true,
        };
        self.place(name, Some(found)).map(Some)
    }

    /// The end of the path, after the checks of the links that have led there.
    fn place(&self, name: OsString, found: Option<Found>) -> io::Result<Place> {
        let handle = self.here.try_clone()?;
        let meta = handle.metadata()?;
        let place = Place {
            directory: Directory { handle, meta },
            name,
            found,
        };
        let reached = match &place.found {
            Some(found) if found.meta.is_dir() => return Err(is_directory()),
            Some(found) => &found.meta,
            None => &place.directory.meta,
        };
        for step in &self.remaining {
            if let Step::CheckOwner(owner) = step
                && !place.is_stdout()
            {
                belongs_to(*owner, reached)?;
            }
        }
        Ok(place)
    }
}

fn belongs_to(owner: u32, reached: &Metadata) -> io::Result<()> {
    match reached.uid() == owner {
        true => Ok(()),
        false => Err(leads_to_another_user(owner, reached.uid())),
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The components of a path, last first.
fn steps(path: &Path) -> Vec<Step> {
    let step = |component| match component {
        Component::Normal(name) => Some(Step::Enter(OsString::from(name))),
        Component::ParentDir => Some(Step::Up),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

fn directory_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Opens an entry of a directory with `O_PATH`; a link itself, not its target.
fn open_below(directory: &File, name: &OsStr, more: OFlag) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | more;
    Ok(File::from(openat(directory, name, flags, Mode::empty())?))
}
