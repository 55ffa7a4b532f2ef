//! Output files on a real file system.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::fs::{self, Permissions};
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

pub fn put(path: &Path, text: &str) {
    let mut file = OutputFile::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.commit().unwrap();
}

/// Whether the file system has files without a name.
fn has_unnamed_files(folder: &Path) -> bool {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(OFlag::O_TMPFILE.bits());
    options.open(folder).is_ok()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn nothing_exists_before_the_commit_or_after_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.svg");
    let mut file = OutputFile::create(&path).unwrap();
    file.write_all(b"half").unwrap();
    file.flush().unwrap();
    assert!(!path.exists());
    // A kill left `.out.svg.XXXXXX.tmp` behind.
    if has_unnamed_files(folder.path()) {
        assert!(names(folder.path()).is_empty());
    }
    drop(file);
    assert!(names(folder.path()).is_empty());
    put(&path, "whole");
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    assert_eq!(names(folder.path()), ["out.svg"]);
}

#[test]
fn a_new_file_is_private_until_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::find(&folder.path().join("out"), &Us::current()).unwrap();
    let temporary = Temporary::create(&place.directory, &place.name).unwrap();
    assert_eq!(temporary.mode().unwrap(), 0o600);
}

#[test]
fn an_existing_file_is_unchanged_until_the_commit_and_retains_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.svg");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let mut file = OutputFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    file.commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(mode(&path), 0o640);
}

#[test]
fn a_new_file_has_the_usual_mode() {
    let folder = tempfile::tempdir().unwrap();
    let (created, ordinary) = (folder.path().join("ours"), folder.path().join("ordinary"));
    put(&created, "");
    fs::write(&ordinary, "").unwrap();
    assert_eq!(mode(&created), mode(&ordinary));
}

#[test]
fn a_path_that_cannot_be_written_is_an_error_that_contains_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/out.svg");
    let error = OutputFile::create(&missing).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write '{}': No such file or directory",
            missing.display()
        )
    );

    let error = OutputFile::create(folder.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    assert!(error.to_string().contains("is a directory"), "{error}");
    assert!(OutputFile::create(&folder.path().join("new/")).is_err());
    assert!(OutputFile::create(Path::new("")).is_err());

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = OutputFile::create(&file.join("out.svg")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn a_symbolic_link_stays_and_its_target_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (link, second) = (folder.path().join("link"), folder.path().join("second"));
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("second", &link).unwrap();
    symlink("real/out.svg", &second).unwrap();
    for text in ["to a file that is not there yet", "to one that is"] {
        put(&link, text);
        assert!(link.is_symlink() && second.is_symlink());
        assert_eq!(
            fs::read_to_string(folder.path().join("real/out.svg")).unwrap(),
            text
        );
    }
    assert_eq!(names(&folder.path().join("real")), ["out.svg"]);
    symlink("loop", folder.path().join("loop")).unwrap();
    assert!(OutputFile::create(&folder.path().join("loop")).is_err());
}

#[test]
fn devices_are_written_directly_and_a_full_one_is_an_error() {
    put(Path::new("/dev/null"), "gone");
    assert!(!Path::new("/dev/null").is_file());
    let mut full = OutputFile::create(Path::new("/dev/full")).unwrap();
    let result = full.write_all(&[0; 100_000]).and_then(|()| full.commit());
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
}

/// A pipe and its reader.
fn pipe(path: &Path) -> File {
    mkfifo(path, Mode::S_IRWXU).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let reader = options.open(path).unwrap();
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    reader
}

#[test]
fn a_pipe_is_written_directly_and_waits_for_its_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let mut reader = pipe(&path);
    // More than a pipe holds.
    let text = "through".repeat(100_000);
    let writer = std::thread::spawn({
        let (path, text) = (path.clone(), text.clone());
        move || put(&path, &text)
    });
    let mut first = [0; 7];
    // A pipe that has no writer yet appears to have ended.
    while reader.read(&mut first).unwrap() == 0 {}
    let mut read = String::from_utf8(first.to_vec()).unwrap();
    reader.read_to_string(&mut read).unwrap();
    writer.join().unwrap();
    assert!(read == text, "{} bytes of {}", read.len(), text.len());
    assert_eq!(names(folder.path()), ["pipe"]);
}

/// `record -o PIPE` waited for a reader, without a word, before it looked at anything else.
#[test]
fn a_pipe_that_nobody_reads_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let reader = pipe(&path);
    let mut file = OutputFile::create(&path).unwrap();
    drop(reader);
    let error = OutputFile::create(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(error.to_string().contains("no program reads"), "{error}");
    // Its reader has gone meanwhile.
    file.write_all(b"text").unwrap();
    let error = file.commit().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(error.to_string().contains("has ended"), "{error}");
}

#[test]
fn open_files_are_written_directly() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tempfile::NamedTempFile::new_in(&folder).unwrap();
    file.write_all(b"first ").unwrap();
    let name = format!("/dev/fd/{}", file.as_file().as_raw_fd());
    put(Path::new(&name), "second");
    // One without a name, as that of a shell's `3<<<`.
    let path = file.path().to_owned();
    let (file, kept) = file.keep().unwrap();
    fs::rename(kept, folder.path().join("moved")).unwrap();
    put(Path::new(&name), " third");
    assert!(!path.exists());
    drop(file);
    assert_eq!(
        fs::read_to_string(folder.path().join("moved")).unwrap(),
        "first second third"
    );
    let (mut reader, writer) = io::pipe().unwrap();
    put(
        Path::new(&format!("/proc/self/fd/{}", writer.as_raw_fd())),
        "piped",
    );
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "piped");
}

#[test]
fn each_name_of_standard_output_is_recognised() {
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        assert!(
            OutputFile::create(Path::new(name)).unwrap().is_stdout(),
            "{name}"
        );
    }
}

/// As in some container images: a log file that is a link to standard output.
#[test]
fn a_link_to_standard_output_is_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("out.log");
    symlink("/dev/stdout", &link).unwrap();
    assert!(OutputFile::create(&link).unwrap().is_stdout());
    let other = tempfile::tempfile().unwrap();
    let name = format!("/proc/self/fd/{}", other.as_raw_fd());
    symlink(name, folder.path().join("err.log")).unwrap();
    let file = OutputFile::create(&folder.path().join("err.log")).unwrap();
    assert!(matches!(file.target, Target::Stream(_)), "{file:?}");
}

/// Python's `NamedTemporaryFile` stayed empty: the file was replaced by another one.
#[test]
fn a_file_that_is_open_elsewhere_gets_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let mut open = tempfile::NamedTempFile::new_in(&folder).unwrap();
    for text in ["a long first text", "short"] {
        put(open.path(), text);
        let mut read = String::new();
        open.rewind().unwrap();
        open.read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }
}

#[test]
fn a_file_that_is_moved_away_or_removed_meanwhile_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let kept = folder.path().join("kept");
    for is_moved in [true, false] {
        fs::write(&path, "old").unwrap();
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        match is_moved {
            true => fs::rename(&path, &kept).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "old");
    }
    assert_eq!(names(folder.path()), ["kept", "out"]);
}

#[test]
fn a_name_that_appears_meanwhile_is_replaced_and_not_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("out"), folder.path().join("other"));
    fs::write(&other, "other").unwrap();
    for make in [fs::hard_link::<&Path, &Path>, |to, at| symlink(to, at)] {
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        make(&other, &path).unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
        assert!(path.is_file() && !path.is_symlink());
        fs::remove_file(&path).unwrap();
    }
    let file = OutputFile::create(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(file.commit().is_err());
    assert_eq!(names(folder.path()), ["other", "out"]);
}

#[test]
fn hard_links_stay_unless_other_users_could_have_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("out"), folder.path().join("other"));
    fs::write(&path, "old").unwrap();
    fs::hard_link(&path, &other).unwrap();
    put(&path, "in place");
    assert_eq!(fs::read_to_string(&other).unwrap(), "in place");

    fs::set_permissions(&other, Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    put(&path, "replaced");
    assert_eq!(fs::read_to_string(&path).unwrap(), "replaced");
    assert_eq!(fs::read_to_string(&other).unwrap(), "in place");
    assert_eq!((mode(&path), mode(&other)), (0o640, 0o640));
    assert_eq!(names(folder.path()), ["other", "out"]);
}

#[test]
fn file_systems_without_unnamed_files_get_temporary_names() {
    let folder = tempfile::tempdir().unwrap();
    let handle = File::open(&folder).unwrap();
    let destination = OsString::from("я".repeat(127));
    let path = folder.path().join(&destination);
    fs::write(&path, "old").unwrap();
    let make = || Temporary::named(&handle, &destination, 0o600).unwrap();
    let mut file = make();
    file.write_all(b"new").unwrap();
    let others: Vec<String> = names(folder.path());
    let [temporary, _] = others.as_slice() else {
        panic!("{others:?}")
    };
    assert!(temporary.starts_with(".я") && temporary.ends_with(".tmp"));
    assert_eq!(mode(&folder.path().join(temporary)), 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    file.hand_over(None, 0o644);
    file.publish(&destination).unwrap();
    drop(make());
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(mode(&path), 0o644);
    assert_eq!(names(folder.path()), [destination.to_str().unwrap()]);
}

#[test]
fn long_names_leave_room_for_the_temporary_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("я".repeat(127));
    put(&path, "long");
    assert_eq!(fs::read_to_string(&path).unwrap(), "long");
}
