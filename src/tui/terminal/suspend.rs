//! Being stopped by Ctrl-Z and continued, as a shell's job control expects it.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;

use super::term::Terminal;
use crate::os::procfs::stat::ProcStat;

/// Parents that are looked at in search of the shell.
const MAX_ANCESTORS: usize = 64;

/// Whether somebody is there to continue us: a process of our session that started our process
/// group. Else (a terminal emulator or `docker run -t` without a shell) Ctrl-Z would stop us for
/// good; the kernel does not let it either (an orphaned process group, POSIX 3.264).
pub fn can_be_continued() -> bool {
    let mut parent = getppid();
    for _ in 0..MAX_ANCESTORS {
        if getpgid(Some(parent)) != Ok(getpgrp()) {
            return getsid(Some(parent)).is_ok() && getsid(Some(parent)) == getsid(None);
        }
        // One that was started with us, such as sudo.
        match ProcStat::of_process(parent.as_raw()) {
            Ok(stat) => parent = Pid::from_raw(stat.parent),
            Err(_) => return false,
        }
    }
    false
}

/// Stops this process, until it is continued in the foreground (a live view has nothing to do in
/// the background) or told to end. To be called only while no thread of the target is held.
pub fn stop_until_foreground(terminal: &Terminal, end: &AtomicBool) {
    while emulate_default_handler(SIGTSTP).is_ok() {
        if end.load(Ordering::SeqCst) || terminal.is_foreground() {
            return;
        }
    }
}
