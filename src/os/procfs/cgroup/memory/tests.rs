//! Tests on made-up control groups.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::fs;

use super::*;

const MIB: u64 = 1 << 20;
const GROUPS_V2: &str = "0::/kubepods/pod 1/box\n";
const GROUPS_V1: &str = "9:name=systemd:/\n4:cpu,memory:/docker/abc\n1:cpuset:/docker/abc\n0::/\n";

/// A directory with these files: path and contents.
fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn read_limit(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<MemoryLimit> {
    let root = fake(files);
    tightest(&View {
        groups: groups.as_bytes().to_vec(),
        mounts: mounts.as_bytes().to_vec(),
        root: root.path().to_owned(),
    })
}

#[test]
fn the_ancestor_with_the_least_left_counts() {
    let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let files = [
        // The root group has no such files.
        ("sys/fs/cgroup/cgroup.procs", ""),
        ("sys/fs/cgroup/kubepods/memory.max", "max\n"),
        ("sys/fs/cgroup/kubepods/memory.current", "7\n"),
        ("sys/fs/cgroup/kubepods/pod 1/memory.max", "536870912\n"),
        ("sys/fs/cgroup/kubepods/pod 1/memory.current", "471859200\n"),
        (
            "sys/fs/cgroup/kubepods/pod 1/memory.stat",
            "anon 5\nfile 9\ninactive_file 10485760\n",
        ),
        ("sys/fs/cgroup/kubepods/pod 1/box/memory.max", "268435456\n"),
        (
            "sys/fs/cgroup/kubepods/pod 1/box/memory.current",
            "104857600\n",
        ),
    ];
    let limit = read_limit(GROUPS_V2, mounts, &files).unwrap();
    assert_eq!(
        limit,
        MemoryLimit {
            group: "/kubepods/pod 1".into(),
            version: Version::V2,
            limit_bytes: 512 * MIB,
            used_bytes: 450 * MIB,
            reclaimable_bytes: 10 * MIB,
        }
    );
    assert_eq!(limit.left_bytes(), 72 * MIB);

    // In the container only its own group is visible.
    let inside = "29 23 0:26 /kubepods/pod\\0401/box /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    let files = [
        ("sys/fs/cgroup/memory.max", "268435456\n"),
        ("sys/fs/cgroup/memory.current", "104857600\n"),
    ];
    for (groups, mounts) in [(GROUPS_V2, inside), ("0::/\n", mounts)] {
        let limit = read_limit(groups, mounts, &files).unwrap();
        assert_eq!(
            (limit.limit_bytes, limit.left_bytes()),
            (256 * MIB, 156 * MIB)
        );
    }
    // A neighbour in the pod: its group is not visible.
    assert_eq!(read_limit("0::/../other\n", mounts, &files), None);
    assert_eq!(read_limit("0::/kubepods/other\n", inside, &files), None);
}

#[test]
fn limits_of_v1_groups() {
    // Below a directory with a blank in its name, next to a v2 hierarchy without the memory controller.
    let mounts = "35 31 0:32 / /my\\040groups/memory rw - cgroup cgroup rw,cpu,memory\n\
        36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    let file = |name: &str| format!("my groups/memory/{name}");
    let with_hierarchy = |hierarchy: &str| {
        let names = [
            ("docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
            ("docker/abc/memory.usage_in_bytes", "1048576\n"),
            ("docker/memory.limit_in_bytes", "4194304\n"),
            ("docker/memory.usage_in_bytes", "3145728\n"),
            (
                "docker/memory.stat",
                "inactive_file 7\ntotal_inactive_file 1048576\n",
            ),
            ("docker/memory.use_hierarchy", hierarchy),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "99999999\n"),
        ];
        let names = names.map(|(name, text)| (file(name), text));
        let files: Vec<_> = names
            .iter()
            .map(|(name, text)| (name.as_str(), *text))
            .collect();
        read_limit(GROUPS_V1, mounts, &files)
    };
    let limit = with_hierarchy("1\n").unwrap();
    assert_eq!(
        (limit.group.to_str(), limit.version),
        (Some("/docker"), Version::V1)
    );
    assert_eq!((limit.limit_bytes, limit.left_bytes()), (4 * MIB, 2 * MIB));
    assert_eq!(with_hierarchy("0\n"), None);
}

#[test]
fn undocumented_contents_mean_no_limit() {
    let mounts = "29 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n";
    for max in ["", "-1", "18446744073709551616", "1 2", "\u{fffd}"] {
        let files = [("cg/a/memory.max", max), ("cg/a/memory.current", "1")];
        assert_eq!(read_limit("0::/a\n", mounts, &files), None, "{max:?}");
    }
    let files = [
        ("cg/a/memory.max", "5"),
        ("cg/a/memory.current", "18446744073709551615"),
    ];
    assert_eq!(
        read_limit("0::/a\n", mounts, &files).unwrap().left_bytes(),
        0
    );
    assert_eq!(read_limit("0::/a/../../a\n", mounts, &files), None);
    for mounts in [
        "",
        "\n \n",
        "29 23 0:26 / /cg rw cgroup2 cgroup2 rw",
        "- - - - - - -",
    ] {
        assert_eq!(read_limit("0::/a\n", mounts, &files), None, "{mounts:?}");
    }
    for groups in ["", "0:", "0::", "::::", "0::a\n"] {
        assert_eq!(read_limit(groups, mounts, &files), None, "{groups:?}");
    }
}

#[test]
fn our_own_groups_are_readable() {
    // The limit depends on the machine; a parsing error would show as nonsense.
    if let Some(limit) = MemoryLimit::of_process(std::process::id().cast_signed()) {
        assert!(limit.limit_bytes > MIB && limit.used_bytes > 0, "{limit:?}");
    }
}
