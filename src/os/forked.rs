//! What a helper process of ours does first: it gives up the files, the terminal and the signals of the process
//! that it was forked from.
//!
//! That process may have threads, which may have held any lock at that moment. So only system calls are made
//! here, of those that are safe then (signal-safety(7)).

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;

use nix::libc;

/// The most descriptors that are closed one by one where the kernel has no close_range (before 5.9).
const MAX_DESCRIPTORS: libc::c_int = 1 << 16;

/// Closes inherited files: our own standard output, for instance, must not stay open when this process is
/// abandoned, or who reads it would wait for ever.
///
/// # Safety
/// Only for a process that was just forked and uses no other file. `kept` has at least one.
pub unsafe fn close_all_but(kept: RangeInclusive<RawFd>) {
    let (first, last) = (kept.start().cast_unsigned(), kept.end().cast_unsigned());
    // SAFETY: as the caller promises. The ranges are those below and above `kept`.
    unsafe {
        let below = first == 0 || libc::syscall(libc::SYS_close_range, 0, first - 1, 0) == 0;
        let above = libc::syscall(libc::SYS_close_range, last + 1, libc::c_uint::MAX, 0) == 0;
        if below && above {
            return;
        }
        for fd in (0..MAX_DESCRIPTORS).filter(|fd| !kept.contains(fd)) {
            libc::close(fd);
        }
    }
}

/// Makes it independent of the terminal and of the working directory, and lets it die with its parent. `name` is
/// what `ps` shows, of at most 15 bytes.
///
/// # Safety
/// Only for a process that was just forked, by `parent`.
pub unsafe fn detach(parent: libc::pid_t, name: &CStr) {
    // SAFETY: these calls take numbers and strings that end in a NUL. An ignored signal has no handler that
    // could run code of the parent.
    unsafe {
        // A session of its own: Ctrl-C and Ctrl-Z of the terminal do not reach it.
        libc::setsid();
        for signal in [
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGTSTP,
            libc::SIGPIPE,
            libc::SIGWINCH,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::chdir(c"/".as_ptr());
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            exit();
        }
    }
}

/// Ends this process without the exit handlers of the program it was forked from.
pub fn exit() -> ! {
    // SAFETY: it takes a number, and does not return.
    unsafe { libc::_exit(0) }
}
