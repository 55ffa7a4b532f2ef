//! [`Frozen`]: the control group that holds a process frozen, as `docker pause` and a suspended
//! systemd unit do. Its state in `/proc` looks like a sleep.

use std::path::{Path, PathBuf};

use super::hierarchy::{Place, Version, View, counter, number, text};
use crate::os::Pid;

/// A control group that is frozen. Foreign text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Path from the root of the hierarchy as we see it.
    pub group: PathBuf,
    /// The group's directory.
    folder: PathBuf,
    version: Version,
}

impl Frozen {
    /// The group that a process is frozen by: the highest one that was ordered to freeze. `None` when
    /// the process is not frozen, or its group is not visible.
    pub fn process(pid: Pid) -> Option<Frozen> {
        let view = View::of_process(pid)?;
        Frozen::find(&view).or_else(|| Frozen::find(&view.through_mounts_of(pid)?))
    }

    fn find(view: &View) -> Option<Frozen> {
        let places = view.places("freezer");
        let place = places.iter().find(|place| is_frozen(place))?;
        let ordered = |folder: &Path| match place.version {
            Version::V1 => number(folder, "freezer.self_freezing") == Some(1),
            Version::V2 => number(folder, "cgroup.freeze") == Some(1),
        };
        // The one that ordered it may be above what is visible.
        let highest = place
            .ancestors()
            .filter(|(folder, _)| ordered(folder))
            .last();
        let (folder, group) = highest.unwrap_or((&place.folder, &place.group));
        Some(Frozen {
            group: group.to_owned(),
            folder: folder.to_owned(),
            version: place.version,
        })
    }

    /// The file to write to thaw it, and what.
    pub fn remedy(&self) -> (PathBuf, &'static str) {
        match self.version {
            Version::V1 => (self.folder.join("freezer.state"), "THAWED"),
            Version::V2 => (self.folder.join("cgroup.freeze"), "0"),
        }
    }
}

/// Whether all processes of a group are frozen, by its own order or that of an ancestor
/// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst of Linux).
fn is_frozen(place: &Place) -> bool {
    match place.version {
        Version::V1 => text(&place.folder, "freezer.state").is_some_and(|s| s.trim() == "FROZEN"),
        Version::V2 => text(&place.folder, "cgroup.events")
            .is_some_and(|events| counter(&events, "frozen") == Some(1)),
    }
}

/// The group of ours that can be frozen while a process runs on, if there is one: a thread that is
/// paused at that moment is resumed only when we are thawed.
pub fn freezes_without(pid: Pid) -> Option<PathBuf> {
    let own = View::of_process(std::process::id().cast_signed())?;
    freezes_alone(&own, &View::of_process(pid)?)
}

fn freezes_alone(own: &View, other: &View) -> Option<PathBuf> {
    [Version::V2, Version::V1].into_iter().find_map(|version| {
        let ours = own.group("freezer", version)?;
        let theirs = other.group("freezer", version)?;
        // The root of a hierarchy cannot be frozen. (What a cgroup namespace shows as its root can, but
        // then processes outside have a path that begins with `/..`.)
        let is_alone = match ours == Path::new("/") {
            true => theirs.starts_with("/.."),
            false => !theirs.starts_with(&ours),
        };
        is_alone.then_some(ours)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::fs;

    const MOUNTS: &str = "30 1 0:1 / /cg/freezer rw - cgroup cgroup rw,freezer\n\
        31 1 0:2 / /cg/unified rw - cgroup2 cgroup2 rw\n";

    fn view(root: &Path, groups: &str) -> View {
        View {
            groups: groups.into(),
            mounts: MOUNTS.into(),
            root: root.to_owned(),
        }
    }

    fn find(groups: &str, files: &[(&str, &str)]) -> Option<(PathBuf, PathBuf, &'static str)> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("cg").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let frozen = Frozen::find(&view(root.path(), groups))?;
        let (file, text) = frozen.remedy();
        let file = file.strip_prefix(root.path()).unwrap().to_owned();
        Some((frozen.group, file, text))
    }

    #[test]
    fn the_group_that_was_ordered_to_freeze() {
        let groups = "6:freezer:/pod/box\n0::/\n";
        let above = [
            ("freezer/pod/freezer.self_freezing", "1\n"),
            ("freezer/pod/box/freezer.self_freezing", "0\n"),
            ("freezer/pod/box/freezer.state", "FROZEN\n"),
        ];
        let file = PathBuf::from("cg/freezer/pod/freezer.state");
        assert_eq!(find(groups, &above), Some(("/pod".into(), file, "THAWED")));
        let [above, here, _] = above;
        let thawed = ("freezer/pod/box/freezer.state", "THAWED\n");
        assert_eq!(find(groups, &[above, here, thawed]), None);
        assert_eq!(find(groups, &[]), None);

        let groups = "6:freezer:/\n0::/pod/box\n";
        let file = PathBuf::from("cg/unified/pod/box/cgroup.freeze");
        let own = [
            ("unified/pod/box/cgroup.freeze", "1\n"),
            ("unified/pod/box/cgroup.events", "populated 1\nfrozen 1\n"),
        ];
        assert_eq!(find(groups, &own), Some(("/pod/box".into(), file, "0")));
        let [order, _] = own;
        let not_yet = ("unified/pod/box/cgroup.events", "populated 1\nfrozen 0\n");
        assert_eq!(find(groups, &[order, not_yet]), None);
        // Ordered above what we see.
        let inherited = ("unified/pod/box/cgroup.events", "populated 1\nfrozen 1\n");
        let found = find(groups, &[inherited]).unwrap();
        assert_eq!(found.0, Path::new("/pod/box"));
    }

    #[test]
    fn a_group_of_ours_that_freezes_without_the_process() {
        let alone = |ours: &str, theirs: &str| {
            freezes_alone(&view(Path::new("/"), ours), &view(Path::new("/"), theirs))
        };
        for (ours, theirs, expected) in [
            ("0::/\n", "0::/a\n", None),
            ("0::/a\n", "0::/a\n", None),
            ("0::/a\n", "0::/a/b\n", None),
            ("0::/a\n", "0::/ab\n", Some("/a")),
            ("0::/a/b\n", "0::/a\n", Some("/a/b")),
            ("0::/\n", "0::/../b\n", Some("/")),
            ("6:freezer:/a\n0::/\n", "6:freezer:/b\n0::/\n", Some("/a")),
            ("6:freezer:/\n0::/\n", "6:freezer:/b\n0::/\n", None),
            ("", "0::/\n", None),
        ] {
            let expected = expected.map(PathBuf::from);
            assert_eq!(alone(ours, theirs), expected, "{ours:?} {theirs:?}");
        }
    }
}
