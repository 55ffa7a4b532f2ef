//! [`resume_wait`]: a wait that only our pause has ended goes on.
//!
//! The kernel restarts most system calls that a pause interrupts, but some end with `EINTR` (signal(7)):
//! a thread that fell asleep in one of them between our last look and its pause would notice us. While
//! it is stopped, that result is still in its register, and the kernel has not decided yet how to go
//! on (`arch_do_signal_or_restart` in its arch/x86/kernel/signal.c). With `ERESTARTNOHAND` there
//! instead, it starts the call again; or, if a handler is to run first after all, returns `EINTR`. The
//! wait begins anew then, a few microseconds after it first did.
//!
//! This register is the only thing in a target that is ever changed.

use crate::os::Tid;

/// Calls that end with `EINTR` when their thread is stopped, and lose nothing when they begin again, by
/// their numbers on x86-64: epoll_wait, epoll_pwait, epoll_pwait2, rt_sigtimedwait, semop, semtimedop,
/// io_getevents, io_pgetevents, and with a time limit set for the socket recvfrom, recvmsg, accept,
/// accept4.
#[cfg(target_arch = "x86_64")]
const WAITS: [i64; 12] = [232, 281, 441, 128, 65, 220, 208, 333, 45, 47, 43, 288];

/// Lets a stopped thread's system call begin again if the stop has ended it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn resume_wait(tid: Tid) {
    use nix::libc::{self, user_regs_struct};
    use nix::sys::ptrace::{read_user, write_user};
    use std::mem::offset_of;

    /// The kernel's own: restart unless a handler is called (include/linux/errno.h).
    const ERESTARTNOHAND: i64 = 514;
    // `struct user` begins with the registers.
    let result = offset_of!(user_regs_struct, rax) as libc::c_long;
    let number = offset_of!(user_regs_struct, orig_rax) as libc::c_long;
    let pid = nix::unistd::Pid::from_raw(tid);
    let read = |offset| read_user(pid, offset as _).unwrap_or(0);
    if read(result) == -i64::from(libc::EINTR) && WAITS.contains(&read(number)) {
        // It fails only when the thread has been killed since.
        let _ = write_user(pid, result as _, -ERESTARTNOHAND);
    }
}

/// Not known for this architecture: such a wait ends early.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn resume_wait(_: Tid) {}
