//! [`MemoryLimit`]: how much memory the control groups (v1 and v2) leave to a process.
//!
//! A limit applies to all groups below, so every visible ancestor is checked: the limit of a pod is
//! above those of its containers.

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
/// From here on a v1 limit means "none": v1 counts pages in a signed number, whose maximum in bytes
/// depends on the page size.
const NO_LIMIT_V1: u64 = 1 << 62;

/// The generation of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The memory limit of one control group, and the usage of all its processes together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Path from the root of the hierarchy as we see it. Foreign text.
    pub group: PathBuf,
    pub version: Version,
    /// Usage above this makes the kernel kill a process of the group.
    pub limit_bytes: u64,
    /// Usage in bytes, including the page cache charged to the group.
    pub used_bytes: u64,
    /// The part of it in inactive page cache: the kernel reclaims it when memory is needed.
    pub reclaimable_bytes: u64,
}

impl MemoryLimit {
    /// The tightest limit of a process: the one with the least left. `None` when there is none, or
    /// none that we can see.
    pub fn of_process(pid: Pid) -> Option<MemoryLimit> {
        let groups = read(Path::new(&format!("/proc/{pid}/cgroup")), MAX_FILE)?;
        let mounts =
            |process: &str| read(Path::new(&format!("/proc/{process}/mountinfo")), MAX_MOUNTS);
        let ours = mounts("self").unwrap_or_default();
        // The groups of a neighbour in a pod may be visible in its own mounts only.
        tightest(&groups, &ours, Path::new("/")).or_else(|| {
            let theirs = mounts(&pid.to_string())?;
            tightest(&groups, &theirs, &root_path(pid, Path::new("/")))
        })
    }

    /// What the group may still allocate, in bytes, after reclaiming what can be reclaimed.
    pub fn left_bytes(&self) -> u64 {
        let in_use = self.used_bytes.saturating_sub(self.reclaimable_bytes);
        self.limit_bytes.saturating_sub(in_use)
    }

    /// The limit of the group at this directory; `None` when it has none.
    fn of_group(folder: &Path, group: &Path, version: Version) -> Option<MemoryLimit> {
        let (limit, used, reclaimable) = match version {
            Version::V1 => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            Version::V2 => ("memory.max", "memory.current", "inactive_file"),
        };
        // Not a number: "max", no limit.
        let limit_bytes =
            number(folder, limit).filter(|limit| version == Version::V2 || *limit < NO_LIMIT_V1)?;
        let counts = read(&folder.join("memory.stat"), MAX_FILE).unwrap_or_default();
        let counts = String::from_utf8_lossy(&counts);
        let reclaimable = counts.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == reclaimable).then(|| value.trim().parse().ok())?
        });
        Some(MemoryLimit {
            group: group.to_owned(),
            version,
            limit_bytes,
            used_bytes: number(folder, used)?,
            reclaimable_bytes: reclaimable.unwrap_or(0),
        })
    }
}

/// The tightest limit for the groups in a `cgroup` file, found through the mounts in a `mountinfo`
/// file of the process with this root directory.
fn tightest(groups: &[u8], mounts: &[u8], root: &Path) -> Option<MemoryLimit> {
    let mounts: Vec<Mount> = lines(mounts).filter_map(Mount::parse).collect();
    let mut limits = Vec::new();
    for membership in memberships(groups) {
        let Some(version) = membership.memory_version() else {
            continue;
        };
        let group = Path::new(OsStr::from_bytes(membership.path));
        let mut candidates = mounts.iter().filter(|mount| mount.version == version);
        // The same hierarchy may be mounted more than once, and this group be hidden in one of the
        // mounts.
        let place = candidates.find_map(|mount| {
            let below = group.strip_prefix(&mount.group).ok()?;
            let inside = |path: &Path| path.components().all(|c| c != Component::ParentDir);
            let top = root.join(mount.folder.strip_prefix("/").ok()?);
            let leaf = top.join(below);
            (inside(below) && leaf.is_dir()).then_some((top, leaf))
        });
        if let Some((top, leaf)) = place {
            limits.extend(of_ancestors(&top, &leaf, group, version));
        }
    }
    limits
        .into_iter()
        .min_by_key(|limit| (limit.left_bytes(), limit.limit_bytes))
}

/// The limits of the group at `leaf` and of its ancestors up to `top`.
fn of_ancestors(top: &Path, leaf: &Path, group: &Path, version: Version) -> Vec<MemoryLimit> {
    let mut limits = Vec::new();
    for (folder, group) in leaf.ancestors().zip(group.ancestors()).take(MAX_DEPTH) {
        // Until Linux 5.11, a v1 group could be set not to count its descendants.
        let counts_all = || number(folder, "memory.use_hierarchy") != Some(0);
        if folder != leaf && version == Version::V1 && !counts_all() {
            break;
        }
        limits.extend(MemoryLimit::of_group(folder, group, version));
        if folder == top {
            break;
        }
    }
    limits
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

    /// The version of its hierarchy, if that may have the memory controller.
    fn memory_version(&self) -> Option<Version> {
        let mut controllers = self.controllers.split(|byte| *byte == b',');
        if self.is_v2() && self.controllers.is_empty() {
            return Some(Version::V2);
        }
        controllers
            .any(|controller| controller == b"memory")
            .then_some(Version::V1)
    }
}

/// A mounted hierarchy that has the memory controller.
struct Mount {
    version: Version,
    /// The group at the root of the mount.
    group: PathBuf,
    /// The mount point.
    folder: PathBuf,
}

impl Mount {
    /// Parses a line of `mountinfo` (proc_pid_mountinfo(5)).
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut words = line.split(|byte| *byte == b' ');
        let (group, folder) = (words.nth(3)?, words.next()?);
        // An unknown number of fields, then a dash, the type, the source and the options.
        words.find(|word| *word == b"-")?;
        let (kind, options) = (words.next()?, words.nth(1)?);
        let version = match kind {
            b"cgroup2" => Version::V2,
            b"cgroup" if options.split(|byte| *byte == b',').any(|o| o == b"memory") => Version::V1,
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

fn number(folder: &Path, file: &str) -> Option<u64> {
    let text = read(&folder.join(file), MAX_FILE)?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

fn read(path: &Path, max: u64) -> Option<Vec<u8>> {
    read_open(open_regular(path).ok()?, max).ok()
}

#[cfg(test)]
mod tests;
