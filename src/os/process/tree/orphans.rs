//! Orphans: the processes that a launched program leaves behind when it ends, such as a daemon that has forked
//! twice.
//!
//! The kernel gives the children of a process that has ended to the nearest of its ancestors that is a subreaper
//! (`PR_SET_CHILD_SUBREAPER` in prctl(2)), else to process 1, where nothing shows any more whose children they were.

use super::children;
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

/// The adopted orphans that have not ended.
pub fn living() -> Vec<Pid> {
    with_state(|stat| !stat.has_ended())
}

/// Reaps the adopted orphans that have ended, which stay as zombies until then.
pub fn reap() {
    for pid in with_state(|stat| stat.state == b'Z') {
        // If it is traced by another thread of ours, that one reaps it first.
        wait::poll(pid, WaitFor::End);
    }
}

fn with_state(is_wanted: impl Fn(&ProcStat) -> bool) -> Vec<Pid> {
    if !are_adopted() {
        return Vec::new();
    }
    let mut found = own_children::others(|| children(std::process::id().cast_signed()));
    found.retain(|pid| ProcStat::of_process(*pid).is_ok_and(|stat| is_wanted(&stat)));
    found
}
