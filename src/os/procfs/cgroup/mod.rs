//! [`MemoryLimit`]: how much memory the control groups (v1 and v2) leave to a process.
//!
//! A group's limit holds for all groups below it, so that every ancestor is looked at as far as we
//! can see it: a pod's limit is above its containers'.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::os::Pid;
use crate::os::process::mapped_files;

/// Of a list of groups or of a group's counts, in bytes: far more than there is.
const MAX_FILE: u64 = 1 << 16;
/// Of a list of mounts, in bytes: a host of containers has thousands of them.
const MAX_MOUNTS: u64 = 1 << 22;
/// Ancestors that are looked at.
const MAX_DEPTH: usize = 64;
/// From here on a limit of v1 is none: it counts pages in a signed number, whose highest value in
/// bytes depends on the page size.
const NO_LIMIT_V1: u64 = 1 << 62;

/// Which generation of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own for each kind of limit.
    V1,
    /// One hierarchy.
    V2,
}

/// The limit of one control group, and what its processes use of it together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The group, as a path from the root of the hierarchy that we see: text from outside.
    pub group: PathBuf,
    /// Of which generation it is.
    pub version: Version,
    /// What the group may use at most, in bytes. Beyond that a process of it is killed.
    pub limit_bytes: u64,
    /// What it uses, in bytes, with the files that the kernel keeps in memory for it.
    pub used_bytes: u64,
    /// Of these the files' pages that were not used of late: given back as soon as room is needed.
    pub reclaimable_bytes: u64,
}

impl MemoryLimit {
    /// The tightest limit of a process: that with the least left of it. `None` when it has none, or
    /// none that we can see.
    pub fn of_process(pid: Pid) -> Option<MemoryLimit> {
        let groups = read(Path::new(&format!("/proc/{pid}/cgroup")), MAX_FILE)?;
        let mounts = |who: &str| read(Path::new(&format!("/proc/{who}/mountinfo")), MAX_MOUNTS);
        let ours = mounts("self").unwrap_or_default();
        // A neighbour in a pod has groups that only its own mounts show.
        tightest(&groups, &ours, Path::new("/")).or_else(|| {
            let theirs = mounts(&pid.to_string())?;
            tightest(
                &groups,
                &theirs,
                &mapped_files::root_path(pid, Path::new("/")),
            )
        })
    }

    /// What the group may still take, in bytes, when the kernel gives back what it can.
    pub fn left_bytes(&self) -> u64 {
        let kept = self.used_bytes.saturating_sub(self.reclaimable_bytes);
        self.limit_bytes.saturating_sub(kept)
    }

    /// The limit of the group in this folder; `None` when it has none.
    fn of_group(folder: &Path, group: &Path, version: Version) -> Option<MemoryLimit> {
        let (limit, used, reclaimable) = match version {
            Version::V1 => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            Version::V2 => ("memory.max", "memory.current", "inactive_file"),
        };
        // No number: "max", for none.
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

/// The tightest limit of a process with this `cgroup` list, seen through these mounts of the file
/// system that lies at `root`.
fn tightest(groups: &[u8], mounts: &[u8], root: &Path) -> Option<MemoryLimit> {
    let mounts: Vec<Mount> = lines(mounts).filter_map(Mount::parse).collect();
    let mut limits = Vec::new();
    for (version, group) in lines(groups).filter_map(membership) {
        let mut places = mounts.iter().filter(|mount| mount.version == version);
        // The same hierarchy may be mounted twice, perhaps where this group is not to be seen.
        let place = places.find_map(|mount| {
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

/// The limits of a group in the folder `leaf` and of those above it up to `top`.
fn of_ancestors(top: &Path, leaf: &Path, group: &Path, version: Version) -> Vec<MemoryLimit> {
    let mut limits = Vec::new();
    for (folder, group) in leaf.ancestors().zip(group.ancestors()).take(MAX_DEPTH) {
        // In v1 a group could be told not to count what is below it (until Linux 5.11).
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

/// A mounted hierarchy that may limit memory.
struct Mount {
    version: Version,
    /// The group that the mount shows as its topmost.
    group: PathBuf,
    /// Where it is mounted.
    folder: PathBuf,
}

impl Mount {
    /// From a line of `mountinfo`, see proc_pid_mountinfo(5).
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

/// A group that a line of `/proc/PID/cgroup` names, where its hierarchy may limit memory.
fn membership(line: &[u8]) -> Option<(Version, &Path)> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (hierarchy, kinds, group) = (fields.next()?, fields.next()?, fields.next()?);
    let group = Path::new(std::ffi::OsStr::from_bytes(group));
    match (hierarchy, kinds) {
        (b"0", b"") => Some((Version::V2, group)),
        (_, kinds)
            if kinds
                .split(|byte| *byte == b',')
                .any(|kind| kind == b"memory") =>
        {
            Some((Version::V1, group))
        }
        _ => None,
    }
}

/// A path of `mountinfo`, in which blanks and backslashes are octal numbers.
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

/// The number that a group's file holds.
fn number(folder: &Path, file: &str) -> Option<u64> {
    let text = read(&folder.join(file), MAX_FILE)?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

fn read(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    mapped_files::open_regular(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
