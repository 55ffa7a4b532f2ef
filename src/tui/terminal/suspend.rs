//! Ctrl-Z and continuation under a shell's job control.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;

use super::term::Terminal;
use crate::os::procfs::stat::ProcStat;

/// Most ancestors that are searched for the shell.
const MAX_ANCESTORS: usize = 64;

/// Whether a process of this session, which started this process group, can continue us. Without one (a
/// terminal emulator or `docker run -t` without a shell) Ctrl-Z would stop us forever; the kernel ignores it,
/// too, in such an orphaned process group (POSIX 3.264).
pub fn can_be_continued() -> bool {
    let mut parent = getppid();
    for _ in 0..MAX_ANCESTORS {
        if getpgid(Some(parent)) != Ok(getpgrp()) {
            return getsid(Some(parent)).is_ok() && getsid(Some(parent)) == getsid(None);
        }
        // A parent in the same process group, such as sudo.
        match ProcStat::of_process(parent.as_raw()) {
            Ok(stat) => parent = Pid::from_raw(stat.parent),
            Err(_) => return false,
        }
    }
    false
}

/// Stops this process until it is continued in the foreground or must end; a live view in the background
/// is useless. Must be called only while no thread of the target is paused.
pub fn stop_until_foreground(terminal: &Terminal, end: &AtomicBool) {
    while emulate_default_handler(SIGTSTP).is_ok() {
        if end.load(Ordering::SeqCst) || terminal.is_foreground() {
            return;
        }
    }
}
