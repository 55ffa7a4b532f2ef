//! [`MemoryLimit`]: how much memory the control groups leave to a process.

use std::path::{Path, PathBuf};

use super::hierarchy::{Place, Version, View, counter, number, text};
use crate::os::Pid;

/// From here on a v1 limit means "none": v1 counts pages in a signed number, whose maximum in bytes
/// depends on the page size.
const NO_LIMIT_V1: u64 = 1 << 62;

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
        let view = View::of_process(pid)?;
        tightest(&view).or_else(|| tightest(&view.through_mounts_of(pid)?))
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
        let counts = text(folder, "memory.stat").unwrap_or_default();
        Some(MemoryLimit {
            group: group.to_owned(),
            version,
            limit_bytes,
            used_bytes: number(folder, used)?,
            reclaimable_bytes: counter(&counts, reclaimable).unwrap_or(0),
        })
    }
}

/// The tightest limit of all groups that a process is in.
fn tightest(view: &View) -> Option<MemoryLimit> {
    let places = view.places("memory");
    let limits = places.iter().flat_map(of_ancestors);
    limits.min_by_key(|limit| (limit.left_bytes(), limit.limit_bytes))
}

/// The limits of a group and of its ancestors.
fn of_ancestors(place: &Place) -> Vec<MemoryLimit> {
    let mut limits = Vec::new();
    for (folder, group) in place.ancestors() {
        // Until Linux 5.11, a v1 group could be set not to count its descendants.
        let counts_all = || number(folder, "memory.use_hierarchy") != Some(0);
        if folder != place.folder && place.version == Version::V1 && !counts_all() {
            break;
        }
        limits.extend(MemoryLimit::of_group(folder, group, place.version));
    }
    limits
}

#[cfg(test)]
mod tests;
