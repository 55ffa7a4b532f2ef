//! Tests on paths that try to escape from the root.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::os::test_support::Cat;

/// A view of a directory as if it were a root, from a working directory inside.
fn view_of(root: &Path, working: &Path) -> FileView {
    FileView {
        root: Arc::new(open_dir(root).unwrap()),
        working: Some(Arc::new(open_dir(working).unwrap())),
        _mounts: None,
        names: Default::default(),
        permissions: Permissions { limited_to: None },
        may_block: false,
        started: None,
    }
}

/// `root/srv/app/a.py` and, beside the root, `outside.py`.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("srv/app")).unwrap();
    fs::create_dir_all(root.join("lib")).unwrap();
    fs::write(root.join("srv/app/a.py"), "inside\n").unwrap();
    fs::write(root.join("lib/b.py"), "library\n").unwrap();
    fs::write(folder.path().join("outside.py"), "secret\n").unwrap();
    (folder, root)
}

fn text(view: &FileView, path: &str) -> Result<String, String> {
    match view.read(Path::new(path), 1_000) {
        Ok(contents) => Ok(String::from_utf8(contents.bytes).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn paths_resolve_as_for_the_process() {
    let (_folder, root) = tree();
    let app = root.join("srv/app");
    symlink("/lib", app.join("absolute")).unwrap();
    symlink("../../lib/b.py", app.join("relative.py")).unwrap();
    let view = view_of(&root, &app);
    for (path, expected) in [
        ("/srv/app/a.py", "inside\n"),
        ("/srv/./app//../app/a.py", "inside\n"),
        ("a.py", "inside\n"),
        ("../app/a.py", "inside\n"),
        ("../../lib/b.py", "library\n"),
        ("/srv/app/absolute/b.py", "library\n"),
        ("relative.py", "library\n"),
        ("absolute/../srv/app/a.py", "inside\n"),
    ] {
        assert_eq!(text(&view, path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn no_path_escapes_from_the_root() {
    let (folder, root) = tree();
    let outside = folder.path().join("outside.py");
    let app = root.join("srv/app");
    symlink(&outside, app.join("absolute.py")).unwrap();
    symlink("../../../outside.py", app.join("up.py")).unwrap();
    symlink(folder.path(), app.join("folder")).unwrap();
    let own = format!("/proc/{}/root", std::process::id());
    symlink(&own, app.join("magic")).unwrap();
    fs::hard_link(&outside, root.join("linked.py")).unwrap();
    let view = view_of(&root, &app);
    for path in [
        outside.to_str().unwrap(),
        "/../outside.py",
        "../../../outside.py",
        "../../../../../../outside.py",
        "absolute.py",
        "up.py",
        "folder/outside.py",
        &format!("magic{}", outside.display()),
        &format!("/srv/app/magic{}", outside.display()),
    ] {
        let found = text(&view, path);
        assert!(found.is_err(), "{path}: {found:?}");
    }
    // The same file through a link that is inside the root.
    assert_eq!(text(&view, "/linked.py").as_deref(), Ok("secret\n"));

    let elsewhere = view_of(&app, &root);
    let refused = text(&elsewhere, "lib/b.py").unwrap_err();
    assert!(refused.contains("not below the root"), "{refused}");
}

#[test]
fn other_than_regular_files_are_refused_without_blocking() {
    let (_folder, root) = tree();
    nix::unistd::mkfifo(&root.join("fifo.py"), Mode::S_IRWXU).unwrap();
    symlink("loop.py", root.join("loop.py")).unwrap();
    fs::write(root.join("large.py"), vec![b'#'; 1_001]).unwrap();
    fs::write(root.join("empty.py"), "").unwrap();
    let view = view_of(&root, &root);
    for (path, expected) in [
        ("/fifo.py", "not a regular file"),
        ("/loop.py", "too many symbolic links"),
        ("/srv", "a directory"),
        ("/", "a directory"),
        ("", "a directory"),
        ("/srv/app/a.py/x", "not a directory"),
        ("/srv/app/none.py", "No such file"),
        ("/large.py", "too large"),
        ("/nul\0.py", ""),
    ] {
        let error = text(&view, path).unwrap_err();
        assert!(error.contains(expected), "{path}: {error}");
    }
    assert_eq!(text(&view, "/empty.py").as_deref(), Ok(""));

    let whole = FileView::of(std::process::id().cast_signed()).unwrap();
    for path in [
        "/dev/zero",
        "/dev/tty",
        "/proc/self/maps",
        "/proc/kmsg",
        "/sys/kernel/profiling",
    ] {
        assert!(text(&whole, path).is_err(), "{path}");
    }
}

#[test]
fn a_file_that_the_process_may_not_read_is_refused() {
    let (_folder, root) = tree();
    let file = root.join("srv/app/a.py");
    let owner = fs::metadata(&file).unwrap();
    let mut view = view_of(&root, &root);
    let mut readable = |uid: u32, groups: &[u32], mode: u32, folder_mode: u32| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let folder = fs::Permissions::from_mode(folder_mode);
        fs::set_permissions(root.join("srv"), folder).unwrap();
        view.permissions.limited_to = Some((uid, groups.to_vec()));
        let found = text(&view, "/srv/app/a.py").is_ok();
        fs::set_permissions(root.join("srv"), fs::Permissions::from_mode(0o755)).unwrap();
        found
    };
    let (uid, gid) = (owner.uid(), owner.gid());
    assert!(readable(uid, &[], 0o600, 0o755));
    assert!(!readable(uid + 1, &[], 0o600, 0o755));
    assert!(readable(uid + 1, &[7, gid], 0o640, 0o755));
    assert!(!readable(uid + 1, &[gid], 0o604, 0o755));
    assert!(readable(uid + 1, &[], 0o604, 0o755));
    assert!(!readable(uid + 1, &[], 0o644, 0o700));
}

#[test]
fn a_file_changed_after_the_start_is_newer() {
    let (_folder, root) = tree();
    let mut view = view_of(&root, &root);
    let mut is_newer = |started| {
        view.started = started;
        view.read(Path::new("/lib/b.py"), 1_000).unwrap().is_newer
    };
    let now = SystemTime::now();
    assert!(!is_newer(Some(now)));
    assert!(is_newer(now.checked_sub(Duration::from_secs(60))));
    assert!(!is_newer(None));
    // A file created later with an older modification time.
    let old = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    File::options()
        .write(true)
        .open(root.join("lib/b.py"))
        .unwrap()
        .set_times(old)
        .unwrap();
    let knows_births = fs::metadata(root.join("lib/b.py"))
        .unwrap()
        .created()
        .is_ok();
    assert_eq!(
        is_newer(now.checked_sub(Duration::from_secs(60))),
        knows_births
    );
}

#[test]
fn files_can_be_read_after_the_process_has_ended() {
    let (_folder, root) = tree();
    let cat = Cat::start(std::process::Command::new("cat").current_dir(root.join("srv/app")));
    let view = FileView::of(cat.pid()).unwrap();
    assert!(view.shows_the_same_as(&FileView::of(cat.pid()).unwrap()));
    let own = FileView::of(std::process::id().cast_signed()).unwrap();
    assert!(!view.shows_the_same_as(&own));
    drop(cat);
    assert_eq!(text(&view, "a.py").as_deref(), Ok("inside\n"));
    let whole = root.join("srv/app/a.py");
    assert_eq!(
        text(&view, whole.to_str().unwrap()).as_deref(),
        Ok("inside\n")
    );
    assert!(!view.read(&whole, 1_000).unwrap().is_newer);
}
