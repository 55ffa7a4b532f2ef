//! [`restart_wait`]: restarts a system call that a pause has ended early.
//!
//! The kernel restarts most system calls that a pause interrupts, but some end with `EINTR`
//! (signal(7)): a thread that entered one of them between the last read of its state and its pause
//! would notice us. While it is stopped, that result is still in its register, and the kernel has
//! not decided yet how to continue (`arch_do_signal_or_restart` in its arch/x86/kernel/signal.c).
//! With `ERESTARTNOHAND` there instead, it restarts the call; or, if a handler is to run first
//! after all, returns `EINTR`. The wait then begins again, a few microseconds later.
//!
//! This register is the only thing in a target that is ever changed.

use crate::os::Tid;

/// Calls that end with `EINTR` when their thread is stopped and can be restarted without loss, by
/// number on x86-64: epoll_wait, epoll_pwait, epoll_pwait2, rt_sigtimedwait, semop, semtimedop,
/// io_getevents, io_pgetevents, and with a timeout set on the socket recvfrom, recvmsg, accept,
/// accept4.
#[cfg(target_arch = "x86_64")]
const WAITS: [i64; 12] = [232, 281, 441, 128, 65, 220, 208, 333, 45, 47, 43, 288];

/// Makes a stopped thread's system call restart if the stop has ended it.
#[cfg(target_arch = "x86_64")]
pub fn restart_wait(tid: Tid) {
    use nix::libc::{self, user_regs_struct};
    use nix::sys::ptrace::{read_user, write_user};
    use std::mem::offset_of;

    /// Kernel-internal: restart unless a handler is called (include/linux/errno.h).
    const ERESTARTNOHAND: i64 = 514;
    // `struct user` begins with the registers.
    let result = offset_of!(user_regs_struct, rax) as libc::c_long;
    let number = offset_of!(user_regs_struct, orig_rax) as libc::c_long;
    let pid = nix::unistd::Pid::from_raw(tid);
    let read = |offset| read_user(pid, offset as _).unwrap_or(0);
    if read(result) == -i64::from(libc::EINTR) && WAITS.contains(&read(number)) {
        // It fails only when the thread has been killed meanwhile.
        let _ = write_user(pid, result as _, -ERESTARTNOHAND);
    }
}

/// Not implemented for this architecture: such a wait ends early.
#[cfg(not(target_arch = "x86_64"))]
pub fn restart_wait(_: Tid) {}
