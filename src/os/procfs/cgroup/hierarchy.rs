//! [`Place`]: where the control group of a process is, with its ancestors, in the mounted hierarchy.
//!
//! A limit applies to all groups below, so every visible ancestor matters: the limit of a pod is above
//! those of its containers.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::os::Pid;
use crate::os::procfs::paths::{open_regular, root_path};
use crate::os::procfs::read::read_open;

/// Cap on a list of groups or a group's counters, in bytes: far more than real ones have.
const MAX_FILE: u64 = 1 << 16;
/// Cap on a list of mounts, in bytes: a container host has thousands of mounts.
const MAX_MOUNTS: u64 = 1 << 22;
/// Cap on the number of ancestors.
const MAX_DEPTH: usize = 64;

/// The generation of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The group of a process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the hierarchy.
    pub version: Version,
    /// Path from the root of the hierarchy as we see it. Foreign text.
    pub group: PathBuf,
    /// The group's directory.
    pub folder: PathBuf,
    /// The highest visible directory above it.
    top: PathBuf,
}

impl Place {
    /// The directories of the group and of its visible ancestors, with their paths in the hierarchy.
    pub fn ancestors(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let all = self.folder.ancestors().zip(self.group.ancestors());
        all.take(MAX_DEPTH)
            .take_while(|(folder, _)| folder.starts_with(&self.top))
    }
}

/// What shows the groups of a process: the text of its `cgroup` file, and the mounts through which we
/// see them.
pub struct View {
    /// Text of the `cgroup` file.
    pub groups: Vec<u8>,
    /// Text of a `mountinfo` file.
    pub mounts: Vec<u8>,
    /// The root directory of the process whose mounts these are.
    pub root: PathBuf,
}

impl View {
    /// Of a process, through our own mounts.
    pub fn of_process(pid: Pid) -> Option<View> {
        Some(View {
            groups: read(Path::new(&format!("/proc/{pid}/cgroup")), MAX_FILE)?,
            mounts: read(Path::new("/proc/self/mountinfo"), MAX_MOUNTS).unwrap_or_default(),
            root: PathBuf::from("/"),
        })
    }

    /// The same groups through the mounts of the process itself: the groups of a neighbour in a pod may
    /// be visible only there.
    pub fn through_mounts_of(self, pid: Pid) -> Option<View> {
        Some(View {
            mounts: read(Path::new(&format!("/proc/{pid}/mountinfo")), MAX_MOUNTS)?,
            root: root_path(pid, Path::new("/")),
            ..self
        })
    }

    /// The places of the process in the hierarchies that may have this controller: its own in v1, and
    /// that of v2.
    pub fn places(&self, controller: &str) -> Vec<Place> {
        let controller = controller.as_bytes();
        let mounts = lines(&self.mounts).filter_map(|line| Mount::parse(line, controller));
        let mounts: Vec<Mount> = mounts.collect();
        let places = memberships(&self.groups).filter_map(|membership| {
            let version = membership.version_with(controller)?;
            let group = Path::new(OsStr::from_bytes(membership.path));
            let mut candidates = mounts.iter().filter(|mount| mount.version == version);
            // The same hierarchy may be mounted more than once, and this group be hidden in one of the
            // mounts.
            candidates.find_map(|mount| {
                let below = group.strip_prefix(&mount.group).ok()?;
                let inside = |path: &Path| path.components().all(|c| c != Component::ParentDir);
                let top = self.root.join(mount.folder.strip_prefix("/").ok()?);
                let folder = top.join(below);
                (inside(below) && folder.is_dir()).then(|| Place {
                    version,
                    group: group.to_owned(),
                    folder,
                    top,
                })
            })
        });
        places.collect()
    }

    /// The path of the process's group in the hierarchy of a controller, visible or not.
    pub fn group(&self, controller: &str, version: Version) -> Option<PathBuf> {
        let mut all = memberships(&self.groups);
        let found = all.find(|one| one.version_with(controller.as_bytes()) == Some(version))?;
        Some(PathBuf::from(OsStr::from_bytes(found.path)))
    }
}

/// A line of `/proc/PID/cgroup`: hierarchy-ID:controller-list:cgroup-path (cgroups(7)).
#[derive(Clone, Copy, Debug)]
pub struct Membership<'t> {
    hierarchy: &'t [u8],
    controllers: &'t [u8],
    /// Can contain colons.
    path: &'t [u8],
}

/// The control groups of a process, from the text of the file.
pub fn memberships(text: &[u8]) -> impl Iterator<Item = Membership<'_>> {
    lines(text).filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        Some(Membership {
            hierarchy: fields.next()?,
            controllers: fields.next()?,
            path: fields.next()?,
        })
    })
}

impl Membership<'_> {
    /// The path of the group, lossy. Foreign text.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(self.path).into_owned()
    }

    /// Whether it is in the v2 hierarchy.
    pub fn is_v2(&self) -> bool {
        self.hierarchy == b"0"
    }

    /// The version of its hierarchy, if that may have this controller.
    fn version_with(&self, controller: &[u8]) -> Option<Version> {
        let mut controllers = self.controllers.split(|byte| *byte == b',');
        if self.is_v2() && self.controllers.is_empty() {
            return Some(Version::V2);
        }
        controllers
            .any(|one| one == controller)
            .then_some(Version::V1)
    }
}

/// A mounted hierarchy that may have a controller.
struct Mount {
    version: Version,
    /// The group at the root of the mount.
    group: PathBuf,
    /// The mount point.
    folder: PathBuf,
}

impl Mount {
    /// Parses a line of `mountinfo` (proc_pid_mountinfo(5)).
    fn parse(line: &[u8], controller: &[u8]) -> Option<Mount> {
        let mut words = line.split(|byte| *byte == b' ');
        let (group, folder) = (words.nth(3)?, words.next()?);
        // An unknown number of fields, then a dash, the type, the source and the options.
        words.find(|word| *word == b"-")?;
        let (kind, options) = (words.next()?, words.nth(1)?);
        let version = match kind {
            b"cgroup2" => Version::V2,
            b"cgroup" if options.split(|byte| *byte == b',').any(|o| o == controller) => {
                Version::V1
            }
            _ => return None,
        };
        Some(Mount {
            version,
            group: unescaped(group),
            folder: unescaped(folder),
        })
    }
}

/// A path of `mountinfo`, which escapes blanks and backslashes as octal numbers.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() {
            after.get(3..).unwrap_or_default()
        } else {
            after
        };
    }
    OsString::from_vec(bytes).into()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The number in a file of a group; `None` when there is none.
pub fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file)?.trim().parse().ok()
}

/// The text of a file of a group, lossy.
pub fn text(folder: &Path, file: &str) -> Option<String> {
    let text = read(&folder.join(file), MAX_FILE)?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The number after a key in the text of a file of counters.
pub fn counter(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

fn read(path: &Path, max: u64) -> Option<Vec<u8>> {
    read_open(open_regular(path).ok()?, max).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_escapes_of_mountinfo() {
        let path = unescaped(b"a\\134b\\04\\999");
        assert_eq!(path, PathBuf::from("a\\b\\04\\999"));
    }
}
