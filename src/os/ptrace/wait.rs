//! Waiting for children and traced threads with raw signal numbers: the safe wrappers do not know
//! real-time signals, and would lose both such a signal and the event that came with it.

use std::io;
use std::mem::MaybeUninit;

use nix::libc;

use crate::os::{Pid, Tid};

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Nothing,
    /// It stopped for its tracer: the signal, and the ptrace event (0 for a signal about to be
    /// delivered).
    Stopped {
        signal: i32,
        event: i32,
    },
    Exited(i32),
    Killed(i32),
    /// There is no such child or traced thread of ours, or it has ended and the wait was not for
    /// that.
    Unknown,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A stop of a thread that we trace. It is consumed; the thread stays stopped.
    Stop,
    /// The end, without consuming it.
    PeekEnd,
    /// The end, consuming it: after that the id is free.
    End,
}

/// Checks without blocking.
pub fn poll(tid: Tid, what: WaitFor) -> Event {
    wait_id(tid, what, libc::WNOHANG)
}

/// Blocks until a child ends. Stops of a traced child are left to its tracer.
pub fn wait_for_end(pid: Pid) -> Event {
    wait_id(pid, WaitFor::End, 0)
}

fn wait_id(tid: Tid, what: WaitFor, extra: i32) -> Event {
    let kind = match what {
        WaitFor::Stop => libc::WSTOPPED,
        WaitFor::PeekEnd => libc::WEXITED | libc::WNOWAIT,
        WaitFor::End => libc::WEXITED,
    };
    let Ok(id) = libc::id_t::try_from(tid) else {
        return Event::Unknown;
    };
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // __WALL: a thread that is not the main thread counts as a "clone" child.
        let options = kind | extra | libc::__WALL;
        // SAFETY: `info` is a valid place for one siginfo_t for the whole call.
        let result = unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options) };
        if result != 0 {
            match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => continue,
                _ => return Event::Unknown,
            }
        }
        // SAFETY: it was zeroed, which is a valid siginfo_t, and the kernel may have filled it in.
        let info = unsafe { info.assume_init() };
        // SAFETY: waitid fills in the fields of a SIGCHLD or, with nothing to report, leaves zeros.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        return match info.si_code {
            _ if pid == 0 => Event::Nothing,
            libc::CLD_EXITED => Event::Exited(status),
            libc::CLD_KILLED | libc::CLD_DUMPED => Event::Killed(status),
            _ => Event::Stopped {
                signal: status & 0xff,
                event: status >> 8,
            },
        };
    }
}

/// Resumes and detaches a stopped thread that we trace, with a signal to deliver or 0.
///
/// # Errors
/// `ESRCH` when the thread is not stopped any more, because it was killed.
pub fn detach(tid: Tid, signal: i32) -> io::Result<()> {
    // SAFETY: PTRACE_DETACH takes the thread and a number; no memory of ours is involved.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_DETACH,
            tid,
            std::ptr::null_mut::<libc::c_void>(),
            libc::c_long::from(signal),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
