//! Opening the files that a target has mapped: under another root, deleted, or replaced.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::files::open_if_it_answers;
use crate::os::Pid;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::procfs::maps::Mapping;
use crate::os::procfs::paths::{open_regular, root_path};
use crate::os::procfs::suspicion::may_block;

/// How much of a file is compared with the memory it should be mapped in.
const COMPARED_BYTES: usize = 4096;

/// Opens the file of a mapping: that very file, never another that has its name by now.
///
/// Four ways are tried: the path under the target's root and under ours, if device and inode are
/// those of the mapping; `/proc/PID/map_files`, which works for deleted files but needs a
/// privilege; `/proc/PID/exe`, for the program itself; and the path again, if the file's content
/// equals the memory, because some file systems (btrfs, overlays) report other numbers in `stat`.
///
/// # Errors
/// The error of the first way, when none succeeds; `TimedOut` when its file system does not answer.
pub fn open_mapped(pid: Pid, mapping: &Mapping, memory: &dyn RemoteMemory) -> io::Result<File> {
    let path = mapping
        .file_path()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let is_it = |file: &File| file.metadata().is_ok_and(|meta| is_same(&meta, mapping));

    let mut candidates = Vec::new();
    let mut first_error = None;
    // A path may lead anywhere by now, and the file itself may be on a file system that does not answer.
    let may_block = may_block(pid);
    let open = |path: &Path| match may_block {
        true => open_if_it_answers(path),
        false => open_regular(path),
    };
    for path in [root_path(pid, path), path.to_path_buf()] {
        match open(&path) {
            Ok(file) if is_it(&file) => return Ok(file),
            Ok(file) => candidates.push(file),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let range = format!("{:x}-{:x}", mapping.start, mapping.end);
    if let Ok(file) = open(Path::new(&format!("/proc/{pid}/map_files/{range}"))) {
        return Ok(file);
    }
    if let Ok(file) = open(Path::new(&format!("/proc/{pid}/exe"))) {
        if is_it(&file) {
            return Ok(file);
        }
        candidates.push(file);
    }
    candidates
        .into_iter()
        .find(|file| has_same_content(file, mapping, memory))
        .ok_or_else(|| first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn is_same(meta: &Metadata, mapping: &Mapping) -> bool {
    let dev = (
        u64::from(nix::libc::major(meta.dev())),
        u64::from(nix::libc::minor(meta.dev())),
    );
    meta.ino() == mapping.inode && dev == mapping.dev
}

/// Whether the start of the mapping equals the file. In an ELF file the first page includes the
/// sizes of all parts and usually the build id. Says nothing about a writable mapping.
fn has_same_content(file: &File, mapping: &Mapping, memory: &dyn RemoteMemory) -> bool {
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
    use crate::os::deadline::Deadline;
    use crate::os::memory::live::LiveMemory;
    use crate::os::procfs::maps;

    fn own_pid() -> Pid {
        std::process::id() as Pid
    }

    #[test]
    fn our_mapped_files_open_by_identity_and_by_content() {
        let memory = LiveMemory::open(own_pid()).unwrap();
        let mappings = maps::read_mappings(own_pid(), Deadline::NEVER).unwrap();
        let images = maps::images(&mappings);
        assert!(images.len() >= 2);
        for image in &images {
            let base = image.base().unwrap();
            let file = open_mapped(own_pid(), base, &memory).unwrap();
            assert_eq!(file.metadata().unwrap().ino(), base.inode);
            assert!(has_same_content(&file, base, &memory));
        }
        let [first, second, ..] = &images[..] else {
            unreachable!()
        };
        let other = File::open(&second.path).unwrap();
        assert!(!has_same_content(&other, first.base().unwrap(), &memory));
    }
}
