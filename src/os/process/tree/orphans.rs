//! Orphans: the processes that a launched program leaves behind when it ends, such as a daemon that has forked
//! twice.
//!
//! The kernel gives the children of a process that has ended to the nearest of its ancestors that is a subreaper
//! (`PR_SET_CHILD_SUBREAPER` in prctl(2)), else to process 1, where nothing shows any more whose children they were.

use super::{all_children, children};
use crate::os::Pid;
use crate::os::own_children;
use crate::os::procfs::stat::ProcStat;
use crate::os::ptrace::wait::{self, WaitFor};

/// From now on the orphans below our children become ours.
pub fn adopt() {
    // A kernel before 3.4 cannot: then they are lost as they are to everybody else.
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        log::info!("orphans of the program are not followed: {error}");
    }
}

/// Whether orphans become our children.
pub fn are_adopted() -> bool {
    nix::sys::prctl::get_child_subreaper().unwrap_or(false)
}

/// The adopted orphans, also those that have ended and were not reaped.
///
/// This is for the question whether any is left. One that has ended may have left a child of its own after the list was
/// begun, as a daemon's parent does: only an empty list shows that none is. The parents of all processes are read,
/// since the kernel's lists of children can lack some while others end (proc(5)).
pub fn left() -> Vec<Pid> {
    if !are_adopted() {
        return Vec::new();
    }
    own_children::others(|| all_children().remove(&own_pid()).unwrap_or_default())
}

fn adopted() -> Vec<Pid> {
    if !are_adopted() {
        return Vec::new();
    }
    own_children::others(|| children(own_pid()))
}

fn own_pid() -> Pid {
    std::process::id().cast_signed()
}

/// The adopted orphans that have not ended.
pub fn living() -> Vec<Pid> {
    let mut found = adopted();
    found.retain(|pid| ProcStat::of_process(*pid).is_ok_and(|stat| !stat.has_ended()));
    found
}

/// Reaps the adopted orphans that have ended, which stay as zombies until then.
pub fn reap() {
    for pid in adopted() {
        if ProcStat::of_process(pid).is_ok_and(|stat| stat.state == b'Z') {
            // If it is traced by another thread of ours, that one reaps it first.
            wait::poll(pid, WaitFor::End);
        }
    }
}
