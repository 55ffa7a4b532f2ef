//! Output files on a real file system.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::os::unix::fs::symlink;

use super::*;

fn put(path: &Path, text: &str) {
    let mut file = OutputFile::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.commit().unwrap();
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
    drop(file);
    assert!(names(folder.path()).is_empty());
    put(&path, "whole");
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    assert_eq!(names(folder.path()), ["out.svg"]);
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

#[test]
fn a_pipe_is_written_directly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = std::thread::spawn({
        let path = path.clone();
        move || fs::read_to_string(path).unwrap()
    });
    put(&path, "through");
    assert_eq!(reader.join().unwrap(), "through");
    assert_eq!(names(folder.path()), ["pipe"]);
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

#[test]
fn overwriting_truncates_a_longer_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "much longer than before").unwrap();
    let destination = OpenOptions::new().write(true).open(&path).unwrap();
    let mut spool = BufWriter::new(tempfile::tempfile().unwrap());
    spool.write_all(b"short").unwrap();
    Target::Overwrite { spool, destination }.commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "short");
}

#[test]
fn long_names_leave_room_for_the_temporary_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("я".repeat(127));
    put(&path, "long");
    assert_eq!(fs::read_to_string(&path).unwrap(), "long");
}
