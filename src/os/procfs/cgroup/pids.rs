//! [`PidsLimit`]: the limit of processes and threads of a control group.

use std::path::PathBuf;

use super::hierarchy::{View, number};

/// The limit of a control group that has as many processes and threads as it may have (`pids.max`, the same
/// in v1 and v2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidsLimit {
    /// Path from the root of the hierarchy as we see it. Foreign text.
    pub group: PathBuf,
    pub max: u64,
}

impl PidsLimit {
    /// The limit that keeps our own process from starting another thread; `None` if no group that we can
    /// see is full.
    pub fn reached() -> Option<PidsLimit> {
        reached(&View::of_process(std::process::id().cast_signed())?)
    }
}

/// The first full group, from the innermost on.
fn reached(view: &View) -> Option<PidsLimit> {
    view.places("pids").iter().find_map(|place| {
        place.ancestors().find_map(|(folder, group)| {
            // Not a number: "max", no limit.
            let max = number(folder, "pids.max")?;
            let current = number(folder, "pids.current")?;
            (current >= max).then(|| PidsLimit {
                group: group.to_owned(),
                max,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::fs;

    /// The full group of a process in these groups, seen through these mounts.
    fn full(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<(String, u64)> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("sys/fs/cgroup").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let limit = reached(&View {
            groups: groups.into(),
            mounts: mounts.into(),
            root: root.path().to_owned(),
        })?;
        Some((limit.group.display().to_string(), limit.max))
    }

    #[test]
    fn a_full_group_is_found() {
        let v2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let groups = "0::/kubepods/pod 1/box\n";
        let full_above = [
            ("kubepods/pids.max", "10\n"),
            ("kubepods/pids.current", "10\n"),
            ("kubepods/pod 1/pids.max", "max\n"),
            ("kubepods/pod 1/pids.current", "10\n"),
            ("kubepods/pod 1/box/pids.max", "9\n"),
            ("kubepods/pod 1/box/pids.current", "8\n"),
        ];
        let found = full(groups, v2, &full_above);
        assert_eq!(found, Some(("/kubepods".to_owned(), 10)));
        let [max, _, rest @ ..] = full_above;
        let none_full = [&[max, ("kubepods/pids.current", "9\n")], &rest[..]].concat();
        assert_eq!(full(groups, v2, &none_full), None);
        let v1 = "31 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let groups = "11:pids:/docker/abc\n1:name=systemd:/\n";
        let files = [
            ("pids/docker/abc/pids.max", "1\n"),
            ("pids/docker/abc/pids.current", "1\n"),
        ];
        let found = full(groups, v1, &files);
        assert_eq!(found, Some(("/docker/abc".to_owned(), 1)));
    }
}
