//! Tests of [`super::TargetProcess`] on real processes, deleted and replaced programs among them.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::*;
use crate::os::test_support::Cat;
use crate::text::secrets::Secrets;
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

fn own_pid() -> Pid {
    std::process::id().cast_signed()
}

#[test]
fn facts_about_a_child() {
    let child = Cat::start(Command::new("cat").args(["-", "a b", "", "-"]));
    let target = child.open();
    let command = target.command_line();
    assert_eq!(*command.words(Secrets::Shown), ["cat", "-", "a b", "", "-"]);
    assert!(target.exe_path().is_absolute());
    let exe = target.open_exe().unwrap().metadata().unwrap();
    assert_eq!(exe.ino(), fs::metadata(target.exe_path()).unwrap().ino());
    assert_eq!(target.thread_ids().unwrap(), [target.pid()]);
    assert_eq!(target.namespace_tid(target.pid()).unwrap(), target.pid());
    assert!(!target.is_in_other_pid_namespace());
    assert!(target.rss().unwrap() > 0);
    assert_eq!(target.memory_usage().unwrap().threads, 1);
    assert_eq!(target.children(), []);
    assert!(target.is_same_process());
    assert!(target.age().unwrap() <= TargetProcess::open(own_pid()).unwrap().age().unwrap());
    assert!(target.root_path(Path::new("/proc")).is_dir());
    let image = maps::images(&target.maps(Deadline::NEVER).unwrap())
        .into_iter()
        .next()
        .unwrap();
    assert_eq!(*image.path, *target.exe_path());

    drop(child);
    assert!(!target.is_same_process());
    assert!(target.rss().is_err() && target.maps(Deadline::NEVER).is_err());
    assert!(target.command_line().words(Secrets::Shown).is_empty());
    assert!(matches!(
        TargetProcess::open(target.pid()),
        Err(OpenError::NoSuchProcess(_))
    ));
}

#[test]
fn ids_that_no_process_has() {
    for pid in [0, -1, i32::MIN, i32::MAX] {
        assert!(matches!(
            TargetProcess::open(pid),
            Err(OpenError::NoSuchProcess(_))
        ));
    }
}

#[test]
fn a_zombie_has_ended() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().cast_signed();
    while !ProcStat::of_process(pid).unwrap().has_ended() {}
    let own = std::process::id().cast_signed();
    assert!(matches!(
        TargetProcess::open(pid),
        Err(OpenError::Ended { parent, .. }) if parent == own
    ));
    child.wait().unwrap();
}

#[test]
fn descendants_are_found_over_generations() {
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "sh -c 'sleep 1000 & sleep 1001 & echo ready; wait' & wait",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let target = TargetProcess::open(shell.id().cast_signed()).unwrap();
    let found = target.children();
    for child in &found {
        let _ = kill(nix::unistd::Pid::from_raw(child.pid), Signal::SIGKILL);
    }
    shell.wait().unwrap();
    let [inner, one, two] = &found[..] else {
        unreachable!("{found:?}")
    };
    assert_eq!(inner.parent, target.pid());
    assert_eq!((one.parent, two.parent), (inner.pid, inner.pid));
    assert_eq!(target.children(), []);
}

#[test]
fn a_deleted_and_a_replaced_program_are_still_opened() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("cat (copy)");
    fs::copy("/bin/cat", &program).unwrap();
    let inode = fs::metadata(&program).unwrap().ino();
    let child = Cat::start(&mut Command::new(&program));
    let target = child.open();
    assert_eq!(target.exe_path(), program);
    let check = || {
        let images = maps::images(&target.maps(Deadline::NEVER).unwrap());
        let image = images.iter().find(|image| *image.path == *program);
        let image = image.unwrap_or_else(|| unreachable!("{images:?} {:?}", target.exe_path()));
        for mapping in &image.mappings {
            let file = target.open_mapped(mapping).unwrap();
            assert_eq!(file.metadata().unwrap().ino(), inode);
        }
        assert_eq!(target.open_exe().unwrap().metadata().unwrap().ino(), inode);
        assert_eq!(target.exe_path(), program);
        image.deleted
    };
    assert!(!check());
    // Another file of that name.
    fs::copy("/bin/sh", folder.path().join("new")).unwrap();
    fs::rename(folder.path().join("new"), &program).unwrap();
    assert!(check());
    fs::remove_file(&program).unwrap();
    assert!(check());
    // And something that must not be opened.
    nix::unistd::mkfifo(&program, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(check());
}

#[test]
fn ids_in_another_pid_namespace() {
    let unshare = Command::new("unshare")
        .args(["--pid", "--fork", "sh", "-c", "echo ready; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut unshare) = unshare else {
        eprintln!("SKIPPED: there is no unshare program");
        return;
    };
    let mut line = String::new();
    BufReader::new(unshare.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    if line != "ready\n" {
        eprintln!("SKIPPED: we may not make a PID namespace");
        unshare.wait().unwrap();
        return;
    }
    let outer = TargetProcess::open(unshare.id().cast_signed()).unwrap();
    let inner = TargetProcess::open(outer.children().first().unwrap().pid).unwrap();
    assert!(inner.is_in_other_pid_namespace());
    assert_eq!(inner.namespace_tid(inner.pid()).unwrap(), 1);
    drop(unshare.stdin.take());
    unshare.wait().unwrap();
}

#[test]
fn we_see_our_own_threads() {
    let target = TargetProcess::open(own_pid()).unwrap();
    let tid = nix::unistd::gettid().as_raw();
    assert!(target.thread_ids().unwrap().contains(&tid));
    assert_eq!(target.run_state(tid).unwrap(), RunState::Running);
}
