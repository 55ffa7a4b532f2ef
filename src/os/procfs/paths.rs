//! Paths of a target as paths for us, and opening them safely.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::os::Pid;

/// Opens a file for reading if it is a regular one.
///
/// The path comes from a target that may be hostile: opening a FIFO blocks until there is a writer,
/// and opening a device can have side effects. So its type is checked with `O_PATH` first.
///
/// # Errors
/// When it cannot be opened; `InvalidInput` when it is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH)
        .open(path)?;
    let kind = handle.metadata()?.file_type();
    if !kind.is_file() {
        let name = if kind.is_fifo() {
            "a FIFO"
        } else if kind.is_dir() {
            "a directory"
        } else {
            "a device or socket"
        };
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is {name}, not a regular file"),
        ));
    }
    // This path leads to the checked file, whatever has happened to the original path since.
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Translates a path of the target to one for us, through its root or its working directory.
pub fn root_path(pid: Pid, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(inside) => Path::new(&format!("/proc/{pid}/root")).join(inside),
        Err(_) => Path::new(&format!("/proc/{pid}/cwd")).join(path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn fifos_and_devices_are_refused_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/zero"), folder.path()] {
            let error = open_regular(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
        assert!(open_regular(Path::new("/proc/self/exe")).is_ok());
    }
}
