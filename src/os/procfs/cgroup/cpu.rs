//! [`CpuQuota`]: how much CPU time the control groups of this process may use, and how often they were
//! stopped because it was used up.
//!
//! A group that has used its quota gets no CPU until the next period begins: with `cpu.max` at 2 % of
//! a period of 100 ms, a thread of the target that is paused then stays so for 98 ms.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::hierarchy::{Version, View, counter, number, text};
use crate::os::Pid;
use crate::os::procfs::paths::open_regular;
use crate::os::procfs::read::reread;

/// Cap on the size of a file of counters, in bytes; real ones have some hundred.
const MAX_STAT: usize = 4096;

/// The counts of each group of ours with a quota, by its directory, when they were first read.
static FIRST_COUNTS: OnceLock<HashMap<PathBuf, u64>> = OnceLock::new();

/// The quotas that apply to this process.
#[derive(Debug)]
pub struct CpuQuota {
    /// The least of them, in CPUs.
    cpus: f64,
    /// The groups with one.
    groups: Vec<Group>,
}

/// A group and its counters.
#[derive(Debug)]
struct Group {
    folder: PathBuf,
    counters: File,
}

impl Group {
    /// How often it was stopped so far.
    fn throttled(&self) -> Option<u64> {
        let mut buffer = [0; MAX_STAT];
        let text = std::str::from_utf8(reread(&self.counters, &mut buffer).ok()?).ok()?;
        counter(text, "nr_throttled")
    }
}

impl CpuQuota {
    /// Of this process; `None` when no visible group of it has one.
    pub fn own() -> Option<CpuQuota> {
        CpuQuota::find(&View::of_process(std::process::id().cast_signed())?, None)
    }

    /// As [`CpuQuota::own`], without those that a target is subject to as well: when such a group is
    /// stopped, the target is, paused or not.
    pub fn without(target: Pid) -> Option<CpuQuota> {
        let own = View::of_process(std::process::id().cast_signed())?;
        CpuQuota::find(&own, View::of_process(target).as_ref())
    }

    fn find(own: &View, target: Option<&View>) -> Option<CpuQuota> {
        let mut quota = CpuQuota {
            cpus: f64::INFINITY,
            groups: Vec::new(),
        };
        for place in own.places("cpu") {
            let theirs = target.and_then(|target| target.group("cpu", place.version));
            for (folder, group) in place.ancestors() {
                let is_shared = theirs.as_ref().is_some_and(|one| one.starts_with(group));
                if let Some(cpus) = cpus(folder, place.version).filter(|_| !is_shared) {
                    quota.cpus = quota.cpus.min(cpus);
                    let counters = open_regular(&folder.join("cpu.stat"));
                    quota.groups.extend(counters.ok().map(|counters| Group {
                        folder: folder.to_owned(),
                        counters,
                    }));
                }
            }
        }
        quota.cpus.is_finite().then_some(quota)
    }

    /// The least quota, in CPUs.
    pub fn cpus(&self) -> f64 {
        self.cpus
    }

    /// How often any of the groups was stopped so far. One read per group.
    pub fn throttled(&self) -> u64 {
        let counts = self.groups.iter().filter_map(Group::throttled);
        counts.fold(0, u64::saturating_add)
    }

    /// The same when [`note_counts`] was called; now, if it was not.
    pub fn throttled_at_first(&self) -> u64 {
        let first = FIRST_COUNTS.get();
        let counts = self.groups.iter().filter_map(|group| {
            let noted = first.and_then(|counts| counts.get(&group.folder).copied());
            noted.or_else(|| group.throttled())
        });
        counts.fold(0, u64::saturating_add)
    }
}

/// Notes how often the groups of this process were stopped so far. To be called at its start: whether
/// they were stopped while it attached shows what to expect of a pause, before the first one.
pub fn note_counts() {
    FIRST_COUNTS.get_or_init(|| {
        let groups = CpuQuota::own().map_or_else(Vec::new, |quota| quota.groups);
        let counts = groups.into_iter();
        counts
            .filter_map(|group| Some((group.throttled()?, group.folder)))
            .map(|(count, folder)| (folder, count))
            .collect()
    });
}

/// The quota of one group, in CPUs.
fn cpus(folder: &Path, version: Version) -> Option<f64> {
    let (quota, period) = match version {
        // Without a limit the quota is -1, which is not parsed.
        Version::V1 => (
            number(folder, "cpu.cfs_quota_us")?,
            number(folder, "cpu.cfs_period_us")?,
        ),
        // "max 100000" without a limit.
        Version::V2 => {
            let text = text(folder, "cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
    };
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::fs;

    /// A process with these groups, and files below `cg`.
    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join("cg").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn view(root: &Path, groups: &str) -> View {
        let mounts = "30 1 0:1 / /cg/cpu rw - cgroup cgroup rw,cpuacct,cpu\n\
            31 1 0:2 / /cg/unified rw - cgroup2 cgroup2 rw\n";
        View {
            groups: groups.into(),
            mounts: mounts.into(),
            root: root.to_owned(),
        }
    }

    #[test]
    fn the_least_quota_and_the_sum_of_the_counters_of_v2() {
        let root = tempfile::tempdir().unwrap();
        let stat = |count: u64| format!("usage_usec 5\nnr_periods 9\nnr_throttled {count}\n");
        let write = |files: &[(&str, &str)]| write(root.path(), files);
        write(&[
            ("unified/cgroup.procs", ""),
            ("unified/pod/cpu.max", "50000 100000\n"),
            ("unified/pod/cpu.stat", &stat(3)),
            ("unified/pod/box/cpu.max", "2000 100000\n"),
            ("unified/pod/box/cpu.stat", &stat(4)),
            ("unified/pod/box/leaf/cpu.max", "max 100000\n"),
            ("unified/pod/box/leaf/cpu.stat", &stat(100)),
        ]);
        let own = view(root.path(), "0::/pod/box/leaf\n");
        let quota = CpuQuota::find(&own, None).unwrap();
        assert_eq!((quota.cpus(), quota.throttled()), (0.02, 7));
        // The kernel writes the file again for each read.
        fs::write(root.path().join("cg/unified/pod/cpu.stat"), stat(5)).unwrap();
        assert_eq!(quota.throttled(), 9);
        for (target, cpus) in [("0::/\n", Some(0.02)), ("0::/pod\n", Some(0.02))] {
            let target = view(root.path(), target);
            let quota = CpuQuota::find(&own, Some(&target));
            assert_eq!(quota.map(|quota| quota.cpus()), cpus);
        }
        // In a container with a limit, beside the target.
        let beside = view(root.path(), "0::/pod/box\n");
        assert!(CpuQuota::find(&own, Some(&beside)).is_none());
        let none = view(root.path(), "0::/\n");
        assert!(CpuQuota::find(&none, None).is_none());
    }

    #[test]
    fn a_quota_of_v1() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("cpu/a/cpu.cfs_period_us", "100000\n"),
            ("cpu/a/cpu.cfs_quota_us", "5000\n"),
            (
                "cpu/a/cpu.stat",
                "nr_periods 7\nnr_throttled 6\nthrottled_time 1\n",
            ),
            ("cpu/b/cpu.cfs_period_us", "100000\n"),
            ("cpu/b/cpu.cfs_quota_us", "-1\n"),
        ];
        write(root.path(), &files);
        let quota = |groups| CpuQuota::find(&view(root.path(), groups), None);
        let limited = quota("1:cpuacct,cpu:/a\n0::/\n").unwrap();
        assert_eq!((limited.cpus(), limited.throttled()), (0.05, 6));
        assert!(quota("1:cpuacct,cpu:/b\n0::/\n").is_none());
        assert!(quota("").is_none());
    }
}
