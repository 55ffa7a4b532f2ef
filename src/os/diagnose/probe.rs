//! Which ways of access to a process are open to us: reading its memory, tracing its threads. Each
//! is tried, since no rule predicts it reliably; no attempt stops the process.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};

use crate::os::hold::Hold;
use crate::os::memory::address::RemoteAddr;
use crate::os::permission::PermissionProblem;
use crate::os::procfs::status::Status;
use crate::os::ptrace::pause::PauseError;
use crate::os::thread::start::start;
use crate::os::{Pid, Tid};

/// How long the kernel may take to detach a thread from an ended tracer: it does so at once, unless
/// the CPUs are contended.
const DETACH_LIMIT: Duration = Duration::from_secs(5);

/// Reads a byte with `process_vm_readv`.
///
/// # Errors
/// `PermissionDenied` when not permitted; `Unsupported` on a kernel without it (`ENOSYS`).
pub fn try_process_vm_readv(pid: Pid, at: RemoteAddr) -> io::Result<()> {
    let mut byte = [0];
    let base = usize::try_from(at.0).map_err(|_| io::Error::from(Errno::EFAULT))?;
    let remote = [RemoteIoVec { base, len: 1 }];
    let pid = nix::unistd::Pid::from_raw(pid);
    process_vm_readv(pid, &mut [IoSliceMut::new(&mut byte)], &remote)?;
    Ok(())
}

/// Reads a byte of `/proc/PID/mem`.
///
/// # Errors
/// `PermissionDenied` when not permitted, `NotFound` when there is no such process.
pub fn try_proc_mem(pid: Pid, at: RemoteAddr) -> io::Result<()> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    match memory.read_at(&mut [0], at.0)? {
        // The process has released its memory.
        0 => Err(Errno::ESRCH.into()),
        _ => Ok(()),
    }
}

/// Whether a thread could be paused: it is seized (`PTRACE_SEIZE`, which does not stop it) by an OS
/// thread of ours that ends right away, at which the kernel detaches it. A detach by ourselves
/// would require a stop first.
///
/// # Errors
/// See [`PauseError`]; `PermissionDenied` also names a tracer that it already has.
pub fn try_seize(pid: Pid, tid: Tid) -> Result<(), PauseError> {
    let failed = |cause: io::Error| PauseError::Io { tid, cause };
    let tracer = start("try seize", move || {
        let _hold = Hold::begin();
        let result = ptrace::seize(nix::unistd::Pid::from_raw(tid), ptrace::Options::empty());
        (nix::unistd::gettid().as_raw(), result)
    })
    .map_err(|error| failed(io::Error::other(error)))?;
    let (tracer, result) = tracer
        .join()
        .map_err(|_| failed(io::ErrorKind::Other.into()))?;
    match result {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            return Err(PauseError::PermissionDenied(
                PermissionProblem::diagnose_trace(pid, tid),
            ));
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    // Joined does not mean ended: the kernel wakes us a little before it detaches.
    let since = Instant::now();
    while Status::of_thread(pid, tid).is_ok_and(|status| status.tracer == Some(tracer)) {
        if since.elapsed() > DETACH_LIMIT {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::deadline::Deadline;
    use crate::os::procfs::maps;
    use crate::os::test_support::Cat;
    use crate::os::thread::state::RunState;
    use nix::sys::signal::{Signal, kill};
    use std::process::Command;

    fn readable(pid: Pid) -> RemoteAddr {
        let mappings = maps::read_mappings(pid, Deadline::NEVER).unwrap();
        let mut mappings = mappings.iter().filter(|mapping| mapping.readable);
        RemoteAddr(mappings.next().unwrap().start)
    }

    fn state(pid: Pid) -> (RunState, Option<Pid>) {
        let tracer = Status::of_process(pid).unwrap().tracer;
        (RunState::of_thread(pid, pid).unwrap(), tracer)
    }

    fn becomes(pid: Pid, expected: RunState) {
        while state(pid).0 != expected {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_can_be_read_and_seized_and_runs_on() {
        let cat = Cat::start(&mut Command::new("cat"));
        let pid = cat.pid();
        becomes(pid, RunState::Sleeping);
        try_process_vm_readv(pid, readable(pid)).unwrap();
        try_proc_mem(pid, readable(pid)).unwrap();
        try_seize(pid, pid).unwrap();
        assert_eq!(state(pid), (RunState::Sleeping, None));
    }

    #[test]
    fn a_stopped_child_stays_stopped() {
        let cat = Cat::start(&mut Command::new("cat"));
        let pid = cat.pid();
        kill(nix::unistd::Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        becomes(pid, RunState::Stopped);
        try_seize(pid, pid).unwrap();
        becomes(pid, RunState::Stopped);
        assert_eq!(state(pid).1, None);
        kill(nix::unistd::Pid::from_raw(pid), Signal::SIGCONT).unwrap();
        becomes(pid, RunState::Sleeping);
    }

    #[test]
    fn the_tracer_of_a_traced_process_is_named() {
        let cat = Cat::start(&mut Command::new("cat"));
        let pid = cat.pid();
        ptrace::seize(nix::unistd::Pid::from_raw(pid), ptrace::Options::empty()).unwrap();
        let own = std::process::id().cast_signed();
        match try_seize(pid, pid) {
            Err(PauseError::PermissionDenied(PermissionProblem::AlreadyTraced {
                tracer, ..
            })) => assert_eq!(tracer, own),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_missing_process_is_an_error() {
        let gone = Pid::MAX;
        let at = RemoteAddr(4096);
        assert!(try_process_vm_readv(gone, at).is_err());
        let error = try_proc_mem(gone, at).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(matches!(try_seize(gone, gone), Err(PauseError::Io { .. })));
    }
}
