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
/// io_getevents, io_pgetevents.
#[cfg(target_arch = "x86_64")]
const WAITS: [i64; 8] = [232, 281, 441, 128, 65, 220, 208, 333];

/// The same for calls on sockets with a time limit (SO_RCVTIMEO, SO_SNDTIMEO): `sock_intr_errno` in
/// include/net/sock.h makes `EINTR` of what is restarted without a limit. recvfrom, recvmsg,
/// recvmmsg, sendto, sendmsg, sendmmsg, accept, accept4, connect. Those that had transferred
/// something when they were interrupted return its length, not `EINTR`. A connect that is restarted
/// waits on for the connection that it has begun.
#[cfg(target_arch = "x86_64")]
const SOCKET_CALLS: [i64; 9] = [45, 47, 299, 44, 46, 307, 43, 288, 42];

/// Calls that may be on such a socket: read, write, readv, writev. What `EINTR` means of another
/// file is up to its driver or, with FUSE, to a program.
#[cfg(target_arch = "x86_64")]
const FILE_CALLS: [i64; 4] = [0, 1, 19, 20];

/// Makes a stopped thread's system call restart if the stop has ended it.
///
/// It may be called for every stop. If a signal with a handler is pending or about to be delivered,
/// the kernel returns `EINTR` after all; so it would have without us. If the signal has no handler
/// the call would not have ended without us.
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
    let first_argument = offset_of!(user_regs_struct, rdi) as libc::c_long;
    let pid = nix::unistd::Pid::from_raw(tid);
    let read = |offset| read_user(pid, offset as _).unwrap_or(0);
    if read(result) != -i64::from(libc::EINTR) {
        return;
    }
    let call = read(number);
    if WAITS.contains(&call)
        || SOCKET_CALLS.contains(&call)
        || FILE_CALLS.contains(&call) && is_socket(tid, read(first_argument))
    {
        // It fails only when the thread has been killed meanwhile.
        let _ = write_user(pid, result as _, -ERESTARTNOHAND);
    }
}

/// Whether a file descriptor of a thread is a socket. The kernel uses the lower half of the register.
#[cfg(target_arch = "x86_64")]
fn is_socket(tid: Tid, descriptor: i64) -> bool {
    use std::os::unix::ffi::OsStrExt;

    let descriptor = descriptor as u32;
    std::fs::read_link(format!("/proc/{tid}/fd/{descriptor}"))
        .is_ok_and(|link| link.as_os_str().as_bytes().starts_with(b"socket:"))
}

/// Not implemented for this architecture: such a wait ends early.
#[cfg(not(target_arch = "x86_64"))]
pub fn restart_wait(_: Tid) {}
