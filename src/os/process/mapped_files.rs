//! Opening the files that a target has mapped: under another root, deleted, or replaced.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::os::Pid;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::procfs::maps::Mapping;

/// How much of a file is compared with the memory that it should be mapped in.
const COMPARED_BYTES: usize = 4096;

/// Opens a file for reading if it is a regular one.
///
/// The path comes from a target that may be hostile: opening a FIFO would wait for a writer, and
/// opening a device can have effects. So it is looked at before it is opened.
///
/// # Errors
/// When it cannot be opened; `InvalidInput` when it is no regular file.
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
            "a folder"
        } else {
            "a device or socket"
        };
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is {name}, not a regular file"),
        ));
    }
    // This name leads to what was looked at, whatever has happened to the path since.
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// A path as the target sees it, as a path that we can use: through its root, or through the folder
/// that it works in.
pub fn root_path(pid: Pid, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(inside) => Path::new(&format!("/proc/{pid}/root")).join(inside),
        Err(_) => Path::new(&format!("/proc/{pid}/cwd")).join(path),
    }
}

/// Opens the file that a mapping is of: this very file, never another that has its name by now.
///
/// Four ways are tried: the path under the target's root and under ours, if device and inode are
/// the mapping's; `/proc/PID/map_files`, which works for deleted files but needs a privilege;
/// `/proc/PID/exe`, for the program itself; and the path once more, if the file begins as
/// the memory does, because some file systems (btrfs, overlays) report other numbers in `stat`.
///
/// # Errors
/// The error of the first way, when none leads there.
pub fn open_mapped(pid: Pid, mapping: &Mapping, memory: &dyn RemoteMemory) -> io::Result<File> {
    let path = mapping
        .file_path()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let is_it = |file: &File| file.metadata().is_ok_and(|meta| is_same(&meta, mapping));

    let mut candidates = Vec::new();
    let mut first_error = None;
    for path in [root_path(pid, path), path.to_path_buf()] {
        match open_regular(&path) {
            Ok(file) if is_it(&file) => return Ok(file),
            Ok(file) => candidates.push(file),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let range = format!("{:x}-{:x}", mapping.start, mapping.end);
    if let Ok(file) = open_regular(Path::new(&format!("/proc/{pid}/map_files/{range}"))) {
        return Ok(file);
    }
    if let Ok(file) = open_regular(Path::new(&format!("/proc/{pid}/exe"))) {
        if is_it(&file) {
            return Ok(file);
        }
        candidates.push(file);
    }
    candidates
        .into_iter()
        .find(|file| looks_like(file, mapping, memory))
        .ok_or_else(|| first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn is_same(meta: &Metadata, mapping: &Mapping) -> bool {
    let dev = (
        u64::from(nix::libc::major(meta.dev())),
        u64::from(nix::libc::minor(meta.dev())),
    );
    meta.ino() == mapping.inode && dev == mapping.dev
}

/// Whether a file has the bytes that the mapping has, which in an ELF file's first page include the
/// sizes of all its parts and mostly its build id. Tells nothing of a writable mapping.
fn looks_like(file: &File, mapping: &Mapping, memory: &dyn RemoteMemory) -> bool {
    if mapping.writable {
        return false;
    }
    let mut in_file = vec![0u8; COMPARED_BYTES];
    let mut in_memory = vec![0u8; COMPARED_BYTES];
    file.read_exact_at(&mut in_file, mapping.offset).is_ok()
        && memory
            .read(RemoteAddr(mapping.start), &mut in_memory)
            .is_ok()
        && in_file == in_memory
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::memory::live::LiveMemory;
    use crate::os::procfs::maps;

    fn own_pid() -> Pid {
        std::process::id() as Pid
    }

    #[test]
    fn fifos_and_devices_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/zero"), folder.path()] {
            let error = open_regular(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
        assert!(open_regular(Path::new("/proc/self/exe")).is_ok());
    }

    #[test]
    fn our_mapped_files_open_by_identity_and_by_content() {
        let memory = LiveMemory::open(own_pid()).unwrap();
        let mappings = maps::read_mappings(own_pid()).unwrap();
        let images = maps::images(&mappings);
        assert!(images.len() >= 2);
        for image in &images {
            let base = image.base().unwrap();
            let file = open_mapped(own_pid(), base, &memory).unwrap();
            assert_eq!(file.metadata().unwrap().ino(), base.inode);
            assert!(looks_like(&file, base, &memory));
        }
        let [first, second, ..] = &images[..] else {
            unreachable!()
        };
        let other = File::open(&second.path).unwrap();
        assert!(!looks_like(&other, first.base().unwrap(), &memory));
    }
}
