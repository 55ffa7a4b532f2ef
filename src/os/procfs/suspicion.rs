//! [`may_block`]: whether an access to a process may block for ever, so that the expendable child has to do it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::mounts::Mounts;
use super::read::read_capped;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::expendable::{self, NoReply};

/// For how long it is remembered whether a mount namespace has a mount that may block.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Cap on the namespaces that are remembered.
const MAX_KNOWN: usize = 256;

/// What is known of a mount namespace.
#[derive(Debug)]
struct Known {
    /// The kernel's name for it.
    namespace: OsString,
    at: Instant,
    is_served: bool,
}

static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// Whether a file, or a page fault of a process, may never be answered: it sees a mount that somebody serves,
/// or we do (an overlay may consist of directories that only we see), or something did not answer before.
///
/// Only such a page fault holds the lock of a process's memory map: one of a userfaultfd is given up by a
/// kernel that holds it (`handle_userfault` of fs/userfaultfd.c, v6.12, without `FAULT_FLAG_ALLOW_RETRY`).
pub fn may_block(pid: Pid) -> bool {
    let own = std::process::id().cast_signed();
    expendable::has_blocked() || is_served(own) || is_served(pid)
}

fn is_served(pid: Pid) -> bool {
    // Where this is refused, the memory and files of the process are, too.
    let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else {
        return false;
    };
    let namespace = namespace.into_os_string();
    let now = Instant::now();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|one| now.saturating_duration_since(one.at) < MAX_AGE);
    if let Some(one) = known.iter().find(|one| one.namespace == namespace) {
        return one.is_served;
    }
    drop(known);
    let is_served = Mounts::of(pid).is_ok_and(|mounts| mounts.is_any_served());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() < MAX_KNOWN {
        known.push(Known {
            namespace,
            at: now,
            is_served,
        });
    }
    is_served
}

/// Reads a file of /proc/PID that the kernel makes under the lock of the memory map, at most `max` bytes of
/// it; by the expendable child, and for so long, if that may block.
///
/// # Errors
/// `NotFound` when the process has ended; `TimedOut` when there is no answer.
pub fn read_answering(pid: Pid, name: &str, max: u64, limit: Duration) -> io::Result<Vec<u8>> {
    let path = format!("/proc/{pid}/{name}");
    if may_block(pid) {
        match expendable::read_file(Path::new(&path), max, Deadline::after(limit)) {
            Ok(bytes) => return bytes,
            Err(NoReply::CannotStart) => {}
            Err(why) => {
                log::info!("{path} cannot be read: {why}");
                return Err(why.into());
            }
        }
    }
    read_capped(path, max)
}
