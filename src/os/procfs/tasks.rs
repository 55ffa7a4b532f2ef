//! The ids listed in /proc: processes, and the threads of one.

use std::fs;
use std::io;
use std::path::Path;

use crate::os::{Pid, Tid};

/// The threads of a process, in the kernel's order: oldest first. Needs no permission.
///
/// # Errors
/// When the process has ended.
pub fn thread_ids(pid: Pid) -> io::Result<Vec<Tid>> {
    let process = remoteprocess::Process::new(pid).map_err(io::Error::other)?;
    let threads = process.threads().map_err(io::Error::other)?;
    // On Linux a thread always has its id.
    Ok(threads
        .iter()
        .filter_map(|thread| thread.id().ok())
        .collect())
}

/// The processes in a /proc file system, in no order.
///
/// # Errors
/// When it cannot be read.
pub fn process_ids(proc_root: &Path) -> io::Result<impl Iterator<Item = Pid> + use<>> {
    let entries = fs::read_dir(proc_root)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}
