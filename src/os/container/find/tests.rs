//! Tests on a made-up /proc.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::os::unix::fs::symlink;

use super::*;

const WEB: &str = "3f2a9c0b5d7e3f2a9c0b5d7e3f2a9c0b5d7e3f2a9c0b5d7e3f2a9c0b5d7e3f2a";
const JOB: &str = "3f2bbbbb5d7e3f2a9c0b5d7e3f2a9c0b5d7e3f2a9c0b5d7e3f2a9c0b5d7e3f2a";

/// A /proc with these processes: pid, parent, other pids, PID and UTS namespace, control group.
fn machine(processes: &[(Pid, Pid, &str, u32, u32, &str)]) -> Containers {
    let folder = tempfile::tempdir().unwrap();
    let write = |pid: &str, parent, numbers: &str, spaces: [u32; 2], group: &str| {
        let entry = folder.path().join(pid);
        fs::create_dir_all(entry.join("ns")).unwrap();
        symlink(format!("pid:[{}]", spaces[0]), entry.join("ns/pid")).unwrap();
        symlink(format!("uts:[{}]", spaces[1]), entry.join("ns/uts")).unwrap();
        fs::write(entry.join("status"), format!("NSpid:\t{pid}{numbers}\n")).unwrap();
        fs::write(entry.join("cgroup"), format!("1:name=x:/\n0::{group}\n")).unwrap();
        let rest = " 0".repeat(46);
        fs::write(entry.join("stat"), format!("{pid} (a) S {parent}{rest}\n")).unwrap();
    };
    write("self", 1, "", [1, 1], "/user.slice/session-1.scope");
    for (pid, parent, numbers, space, uts, group) in processes {
        write(&pid.to_string(), *parent, numbers, [*space, *uts], group);
    }
    let name = |pid| (pid != 900).then(|| format!("host-{}", pid / 100 * 100));
    Containers::read_from(folder.path(), name).unwrap()
}

fn example() -> Containers {
    let (web, job) = (
        format!("/system.slice/docker-{WEB}.scope"),
        format!("/kubepods.slice/kubepods-pod0a1b2c3d_4e5f.slice/cri-containerd-{JOB}.scope"),
    );
    machine(&[
        (1, 0, "", 1, 1, "/init.scope"),
        (100, 1, "", 1, 1, "/system.slice/containerd.service"),
        (200, 100, "\t1", 2, 2, &web),
        (207, 200, "\t7", 2, 2, &web),
        // It has made a PID namespace of its own inside.
        (230, 207, "\t30\t1", 3, 2, &web),
        (300, 100, "\t1", 4, 4, &job),
        (307, 300, "\t7", 4, 4, &job),
        // A container that shares our PID namespace, and one made by unshare alone.
        (400, 1, "", 1, 1, "/lxc.payload.old-box/init"),
        (900, 1, "\t1", 9, 9, "/user.slice"),
    ])
}

fn pids(found: &[ContainerProcess]) -> Vec<(Pid, Pid)> {
    found.iter().map(|one| (one.pid, one.inside)).collect()
}

#[test]
fn containers_are_found_by_all_their_names() {
    let machine = example();
    let web = [(200, 1), (207, 7), (230, 30)];
    let job = [(300, 1), (307, 7)];
    for (name, expected) in [
        (WEB, &web[..]),
        (&WEB[..12], &web),
        ("3F2A", &web),
        ("docker://3f2a9c0b5d7e", &web),
        ("host-200", &web),
        ("HOST-200", &web),
        // By our pid of a process in it, not by the pid inside.
        ("207", &web),
        ("230", &[(230, 1)]),
        ("300", &job),
        ("0a1b2c3d-4e5f", &job),
        ("3f2", &[web[0], web[1], web[2], job[0], job[1]]),
        ("3f", &[]),
        ("old-box", &[(400, 400)]),
        ("400", &[(400, 400)]),
        ("900", &[(900, 1)]),
        ("7", &[]),
        ("", &[]),
        ("containerd.service", &[]),
    ] {
        assert_eq!(pids(&machine.processes_in(name)), expected, "{name}");
    }
    // A process in no container: the processes in our own PID namespace.
    let ours = [(1, 1), (100, 100), (400, 400)];
    assert_eq!(pids(&machine.processes_in("100")), ours);
}

#[test]
fn a_list_of_containers() {
    let list = example().list();
    let shown: Vec<_> = list
        .iter()
        .map(|one| (one.first, one.processes, one.label()))
        .collect();
    let expected = [
        (200, 2, "3f2a9c0b5d7e (host-200)"),
        (230, 1, "3f2a9c0b5d7e (host-200)"),
        (300, 2, "3f2bbbbb5d7e (host-300)"),
        (400, 1, "old-box"),
        (900, 1, "900"),
    ];
    assert_eq!(shown, expected.map(|(a, b, c)| (a, b, c.to_owned())));
    let one = example().container_of(207).unwrap();
    assert_eq!((one.first, one.processes), (200, 2));
    assert_eq!(example().container_of(100), None);
}

#[test]
fn runtimes_name_control_groups() {
    let id = Some(WEB.to_owned());
    for (group, expected) in [
        (format!("/docker/{WEB}"), id.clone()),
        (format!("/kubepods/burstable/pod12/{WEB}"), id.clone()),
        (
            format!("/machine.slice/libpod-{WEB}.scope/container"),
            id.clone(),
        ),
        (format!("/machine.slice/libpod-conmon-{WEB}.scope"), None),
        (format!("/docker/{JOB}/docker/{WEB}/init"), id),
        (
            "/machine.slice/machine-deb.scope/payload".to_owned(),
            Some("deb".to_owned()),
        ),
        ("/lxc.payload.box".to_owned(), Some("box".to_owned())),
        ("/machine-learning".to_owned(), None),
        ("/".to_owned(), None),
        (format!("/{}", "g".repeat(64)), None),
    ] {
        assert_eq!(container_name(&group), expected, "{group}");
    }
}

#[test]
fn the_host_name_is_that_of_its_namespace() {
    let ours = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    // Without permission to enter even our own, none is known.
    if let Some(name) = host_name(std::process::id().cast_signed()) {
        assert_eq!(name, ours.trim_end());
    }
    assert_eq!(host_name(0), None);
}
