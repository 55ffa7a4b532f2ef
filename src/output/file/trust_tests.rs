//! Output files in reach of other users, who set traps. All need root, to be several users.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chroot, gettid, mkfifo};
use tempfile::TempDir;

use super::*;

const NOBODY: u32 = 65534;
const SOMEBODY: u32 = 12345;

fn is_root() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

fn root() -> Us {
    Us {
        user: Uid::from_raw(0),
        caller: None,
    }
}

fn sudo_of_nobody() -> Us {
    Us {
        caller: Some((Uid::from_raw(NOBODY), Gid::from_raw(NOBODY - 1))),
        ..root()
    }
}

/// A directory of this owner and mode.
fn folder(owner: u32, mode: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(owner), None).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    folder
}

fn put(path: &Path, text: &str, us: Us) -> io::Result<()> {
    let mut file = OutputFile::create_for(path, us)?;
    file.write_all(text.as_bytes())?;
    file.commit()
}

fn write_as(path: &Path, text: &str, owner: u32) {
    fs::write(path, text).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

fn link_as(to: &Path, at: &Path, owner: u32) {
    symlink(to, at).unwrap();
    lchown(at, Some(owner), Some(owner)).unwrap();
}

fn owners(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn assert_refused(path: &Path, us: Us, why: &str) {
    let error = OutputFile::create_for(path, us).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn what_another_user_puts_into_a_sticky_directory_is_refused() {
    if !is_root() {
        return;
    }
    for mode in [0o1777, 0o1770] {
        let folder = folder(0, mode);
        let path = |name: &str| folder.path().join(name);
        write_as(&path("file"), "old", NOBODY);
        assert_refused(&path("file"), root(), "belongs to user 65534");
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "old");
        mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        chown(path("pipe"), Some(NOBODY), None).unwrap();
        assert_refused(&path("pipe"), root(), "belongs to user 65534");
        // Even to files of the same user, even if that user has called sudo: the kernel's rule.
        link_as(&path("file"), &path("link"), NOBODY);
        assert_refused(&path("link"), root(), "symbolic link 'link' belongs to");
        assert_refused(&path("link"), sudo_of_nobody(), "symbolic link 'link'");
        // Our own, those of the directory's owner, and of the caller of sudo.
        put(&path("file"), "new", sudo_of_nobody()).unwrap();
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "new");
        put(&path("ours"), "", root()).unwrap();
        link_as(&path("ours"), &path("our link"), 0);
        put(&path("our link"), "through", root()).unwrap();
        assert_eq!(fs::read_to_string(path("ours")).unwrap(), "through");
        chown(folder.path(), Some(NOBODY), None).unwrap();
        put(&path("file"), "of the directory's owner", root()).unwrap();
        put(&path("link"), "and a link", root()).unwrap();
        assert_eq!(owners(&path("file")), (NOBODY, NOBODY));
    }
}

#[test]
fn a_link_of_another_user_leads_to_that_users_files_only() {
    if !is_root() {
        return;
    }
    let ours = folder(0, 0o755);
    let theirs = folder(NOBODY, 0o755);
    let (secret, own) = (ours.path().join("secret"), theirs.path().join("own"));
    fs::write(&secret, "secret").unwrap();
    write_as(&own, "old", NOBODY);
    let at = |name: &str| theirs.path().join(name);
    for (name, to) in [
        ("file", secret.as_path()),
        ("directory", ours.path()),
        ("missing", &ours.path().join("new")),
        ("null", Path::new("/dev/null")),
        ("own", &own),
        ("own missing", &at("new")),
        ("second", Path::new("file")),
    ] {
        let link = at(&format!("to {name}"));
        link_as(to, &link, NOBODY);
    }
    link_as(Path::new("to file"), &at("chain"), NOBODY);
    for path in ["to file", "chain", "to missing", "to null"] {
        assert_refused(&at(path), root(), "leads to a file or directory of user 0");
    }
    assert_refused(&at("to directory/new"), root(), "of user 65534 leads to");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    put(&at("to own"), "new", root()).unwrap();
    assert_eq!(fs::read_to_string(&own).unwrap(), "new");
    assert_eq!(owners(&own), (NOBODY, NOBODY));
    put(&at("to own missing"), "new", root()).unwrap();
    assert_eq!(fs::read_to_string(at("new")).unwrap(), "new");
    // The caller of sudo could have named the file.
    put(&at("to missing"), "new", sudo_of_nobody()).unwrap();
    assert_eq!(fs::read_to_string(ours.path().join("new")).unwrap(), "new");
}

#[test]
fn a_hard_link_to_a_file_of_another_user_is_replaced() {
    if !is_root() {
        return;
    }
    let (ours, theirs) = (folder(0, 0o755), folder(NOBODY, 0o755));
    for owner in [0, NOBODY, SOMEBODY] {
        let (secret, path) = (ours.path().join("secret"), theirs.path().join("out"));
        write_as(&secret, "secret", owner);
        fs::hard_link(&secret, &path).unwrap();
        put(&path, "new", root()).unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        // It is given to the owner of the directory, and to nobody else.
        let expected = if owner == NOBODY { NOBODY } else { 0 };
        assert_eq!(owners(&path), (expected, expected));
        fs::remove_file(&path).unwrap();
        fs::remove_file(&secret).unwrap();
    }
}

#[test]
fn a_new_file_is_given_to_the_caller_of_sudo_where_no_other_user_is() {
    if !is_root() {
        return;
    }
    let caller = (NOBODY, NOBODY - 1);
    for (owner, mode, expected) in [
        (0, 0o755, caller),
        (NOBODY, 0o755, caller),
        (NOBODY, 0o775, caller),
        (NOBODY, 0o777, (0, 0)),
        (0, 0o1777, (0, 0)),
        (0, 0o1775, (0, 0)),
        (SOMEBODY, 0o755, (0, 0)),
    ] {
        let folder = folder(owner, mode);
        let path = folder.path().join("out");
        put(&path, "", sudo_of_nobody()).unwrap();
        assert_eq!(owners(&path), expected, "{owner} {mode:o}");
        put(&folder.path().join("roots"), "", root()).unwrap();
        assert_eq!(owners(&folder.path().join("roots")), (0, 0));
    }
    let folder = folder(NOBODY, 0o755);
    chown(folder.path(), None, Some(SOMEBODY)).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o2755)).unwrap();
    let path = folder.path().join("out");
    put(&path, "", sudo_of_nobody()).unwrap();
    assert_eq!(owners(&path), (NOBODY, SOMEBODY));
}

/// Exchanges two names until it is told to stop.
fn exchange(one: &Path, other: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let at = AT_FDCWD.as_fd();
        // One may be missing for a moment.
        let _ = renameat2(at, one, at, other, RenameFlags::RENAME_EXCHANGE);
    }
}

/// The path was looked at several times, and root gave the file behind the link to the owner of the file beside it:
/// 281 of 1,500 recordings.
#[test]
fn a_path_that_is_exchanged_all_the_time_leads_to_no_other_users_file() {
    if !is_root() {
        return;
    }
    let ours = folder(0, 0o700);
    let victim = ours.path().join("victim");
    fs::write(&victim, "secret").unwrap();
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    let theirs = folder(NOBODY, 0o755);
    // Either the file is exchanged with a link, or its directory.
    for (at_first, path) in [("out", "out"), ("directory", "directory/out")] {
        let at_first = theirs.path().join(at_first);
        let path = theirs.path().join(path);
        let other = theirs.path().join("other");
        let set = || {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(&other);
            if at_first == path {
                write_as(&path, "theirs", NOBODY);
                link_as(&victim, &other, NOBODY);
            } else {
                let _ = fs::remove_dir_all(&at_first);
                let _ = fs::remove_dir_all(&other);
                fs::create_dir(&at_first).unwrap();
                chown(&at_first, Some(NOBODY), None).unwrap();
                write_as(&path, "theirs", NOBODY);
                link_as(ours.path(), &other, NOBODY);
            }
        };
        let (mut written, mut refused) = (0, 0);
        let mut rounds = 0;
        while rounds < 20 || written == 0 || refused == 0 {
            rounds += 1;
            assert!(rounds < 20_000, "{written} written, {refused} refused");
            set();
            let stop = AtomicBool::new(false);
            let results: Vec<_> = thread::scope(|scope| {
                scope.spawn(|| exchange(&at_first, &other, &stop));
                let results = (0..10).map(|_| put(&path, "new", root())).collect();
                stop.store(true, Ordering::Relaxed);
                results
            });
            for result in results {
                match result {
                    Ok(()) => written += 1,
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            let meta = fs::metadata(&victim).unwrap();
            assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o600));
            assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
            assert_eq!(fs::read_dir(&ours).unwrap().count(), 1);
        }
    }
}

/// `/proc/PID/root/tmp/x` led out of the container if /tmp was an absolute link there.
#[test]
fn links_in_the_root_of_another_process_stay_below_it() {
    if !is_root() {
        return;
    }
    let jail = folder(0, 0o755);
    fs::create_dir(jail.path().join("real")).unwrap();
    symlink("/real", jail.path().join("absolute")).unwrap();
    symlink("../../../../real", jail.path().join("upwards")).unwrap();
    let (tell, hear) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    let path = jail.path().to_owned();
    let prisoner = thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS).unwrap();
        chroot(&path).unwrap();
        tell.send(gettid()).unwrap();
        let _ = finished.recv();
    });
    let process = PathBuf::from(format!("/proc/self/task/{}/root", hear.recv().unwrap()));
    for link in ["absolute", "upwards"] {
        put(&process.join(link).join(link), "inside", root()).unwrap();
        let inside = jail.path().join("real").join(link);
        assert_eq!(fs::read_to_string(inside).unwrap(), "inside");
    }
    drop(finish);
    prisoner.join().unwrap();
}
