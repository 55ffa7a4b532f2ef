//! [`PauseGuard`]: pauses threads of a target while they are read.
//!
//! A thread is paused with `PTRACE_SEIZE` and `PTRACE_INTERRUPT`: no signal is sent, and an
//! interrupted system call is restarted. The special cases:
//!
//! - The thread sleeps in one of the few calls that end early with `EINTR` instead (`epoll_wait`,
//!   `sigtimedwait` and others, signal(7)). Callers pause running threads only; for a thread that
//!   falls asleep just then the call is restarted as well (`syscall_restart.rs`).
//! - A signal arrives meanwhile. The thread then stops before its delivery; it is resumed with that
//!   signal, which is delivered as if it had not been paused.
//! - The target is stopped (Ctrl-Z). It stays so when it is detached.
//! - The thread ends, is killed, or another thread of its process calls exec. Then it is not
//!   paused, but a traced thread that ended must be reaped by its tracer before its process can
//!   end, so that is done.
//! - The thread is in a disk wait or a vfork, where nothing can stop it. Such threads are left
//!   alone. If a thread gets there just when it is to stop, it is given up after [`PAUSE_LIMIT`]; a
//!   thread that only lacks a CPU, after three times that, and if others are paused meanwhile, after
//!   [`GROUP_LIMIT`]. It cannot be detached before it has
//!   stopped, so it is remembered and detached as soon as it has, at the next use of a guard or by
//!   [`PauseGuard::settle`].
//! - We die. The kernel resumes all threads of a dead tracer.
//! - We are to be stopped (Ctrl-Z). That waits until nothing is paused (`hold.rs`).
//!
//! The kernel binds a traced thread to the OS thread that seized it, so a guard is neither `Send`
//! nor `Sync`, and an OS thread that ends resumes its threads.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;

use super::syscall_restart;
use super::wait::{self, Event, WaitFor};
use crate::os::deadline::Deadline;
use crate::os::hold::Hold;
use crate::os::permission::PermissionProblem;
use crate::os::procfs::stat::ProcStat;
use crate::os::thread::state::RunState;
use crate::os::{Pid, Tid};

/// The maximum wait for all threads to stop, once one has been seen in a disk wait.
pub const PAUSE_LIMIT: Duration = Duration::from_millis(50);
/// The same for several threads at once: those that have stopped wait for the others.
const GROUP_LIMIT: Duration = Duration::from_millis(20);
/// The factor by which the limit is longer for threads that only lack a CPU.
const CONTENDED_FACTOR: u32 = 3;
/// The bounds of the sleep between two checks whether a thread has stopped.
const MIN_SLEEP: Duration = Duration::from_micros(20);
const MAX_SLEEP: Duration = Duration::from_millis(1);
/// How long to wait before other work for threads that could not be detached yet.
pub const SETTLE_LIMIT: Duration = Duration::from_millis(200);
/// The maximum wait of a dropped guard for threads that are being killed.
const EXIT_LIMIT: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// Not permitted, perhaps because another tracer has the process.
    #[error("{0}")]
    PermissionDenied(PermissionProblem),
    #[error("cannot pause thread {tid}: {cause}")]
    Io { tid: Tid, cause: std::io::Error },
}

/// Why a requested thread is not paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPaused {
    Gone,
    /// It is where nothing can stop it, as in a disk wait.
    Uninterruptible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Traced {
    pid: Pid,
    tid: Tid,
}

#[derive(Debug)]
struct Paused {
    thread: Traced,
    /// The signal to resume it with, or 0.
    signal: i32,
    /// When its stop was requested.
    since: Instant,
    hold: Hold,
}

thread_local! {
    /// Threads that this OS thread traces and could not detach yet.
    static STRAGGLERS: RefCell<Vec<(Traced, Hold)>> = const { RefCell::new(Vec::new()) };
}

/// Threads that are paused until this is dropped.
#[derive(Debug)]
pub struct PauseGuard {
    paused: Vec<Paused>,
    not_paused: Vec<(Tid, NotPaused)>,
    /// ptrace binds to the OS thread: a raw pointer makes this neither `Send` nor `Sync`.
    _bound_to_thread: PhantomData<*const ()>,
}

impl PauseGuard {
    /// Pauses some threads of a process, and no others. Takes some microseconds per thread, and
    /// 150 ms at most when the CPUs are contended. Threads that cannot be paused now are in
    /// [`PauseGuard::not_paused`].
    ///
    /// # Errors
    /// When not permitted; then no thread stays paused.
    #[cfg(test)]
    pub fn pause(pid: Pid, tids: &[Tid]) -> Result<PauseGuard, PauseError> {
        let mut not_paused = Vec::new();
        let mut stoppable = Vec::with_capacity(tids.len());
        for &tid in tids {
            match ProcStat::of_thread(pid, tid) {
                Ok(stat) if stat.state == b'D' => {
                    not_paused.push((tid, NotPaused::Uninterruptible));
                }
                Ok(stat) if !stat.has_ended() => stoppable.push(tid),
                _ => not_paused.push((tid, NotPaused::Gone)),
            }
        }
        let mut guard = PauseGuard::pause_running(pid, &stoppable)?;
        guard.not_paused.extend(not_paused);
        Ok(guard)
    }

    /// As `pause`, for threads that were just seen on a CPU, without reading their states again.
    pub fn pause_running(pid: Pid, tids: &[Tid]) -> Result<PauseGuard, PauseError> {
        PauseGuard::settle();
        let threads: Vec<Traced> = tids.iter().map(|&tid| Traced { pid, tid }).collect();
        PauseGuard::seize(&threads, PAUSE_LIMIT)
    }

    pub fn paused(&self) -> impl Iterator<Item = Tid> {
        self.paused.iter().map(|paused| paused.thread.tid)
    }

    /// Resumes one of the threads before the others. Returns the maximum time for which it was
    /// paused; `None` when it is not paused by this guard.
    pub fn resume(&mut self, tid: Tid) -> Option<Duration> {
        let mut paused = self.paused.iter();
        let index = paused.position(|paused| paused.thread.tid == tid)?;
        let paused = self.paused.swap_remove(index);
        let since = paused.since;
        drop(PauseGuard {
            paused: vec![paused],
            not_paused: Vec::new(),
            _bound_to_thread: PhantomData,
        });
        Some(since.elapsed())
    }

    /// The requested threads that are not paused.
    #[cfg(test)]
    pub fn not_paused(&self) -> &[(Tid, NotPaused)] {
        &self.not_paused
    }

    /// Whether a thread did not stop in time.
    pub fn is_incomplete(&self) -> bool {
        let mut not_paused = self.not_paused.iter();
        not_paused.any(|(_, why)| *why == NotPaused::Uninterruptible)
    }

    /// Detaches threads that could not be detached before, and returns whether none is left. Cheap
    /// when there are none; to be called before this OS thread waits for long, and while it waits
    /// for a launched program to end.
    pub fn settle() -> bool {
        STRAGGLERS.with_borrow_mut(|stragglers| {
            stragglers.retain(|(thread, _)| !thread.try_detach());
            stragglers.is_empty()
        })
    }

    /// As [`settle`](PauseGuard::settle), and waits for so long at most until none is left: before work
    /// during which that is not called again. A thread that only lacks a CPU stops, and is detached,
    /// as soon as it gets one.
    pub fn settle_within(limit: Duration) {
        let deadline = Deadline::after(limit);
        while !PauseGuard::settle() && !deadline.is_over() {
            std::thread::sleep(MAX_SLEEP);
        }
    }

    /// Seizes all first, so that they stop at the same time, then waits for each.
    fn seize(threads: &[Traced], limit: Duration) -> Result<PauseGuard, PauseError> {
        // Until every thread has one of its own, or is resumed.
        let hold = Hold::begin();
        let mut guard = PauseGuard {
            paused: Vec::with_capacity(threads.len()),
            not_paused: Vec::new(),
            _bound_to_thread: PhantomData,
        };
        let mut stopping = Vec::with_capacity(threads.len());
        let mut failure = None;
        for thread in threads {
            match thread.seize() {
                Ok(None) => stopping.push((*thread, Instant::now())),
                Ok(Some(why)) => guard.not_paused.push((thread.tid, why)),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let until = match stopping.len() {
            0 | 1 => Deadline::NEVER,
            _ => Deadline::after(GROUP_LIMIT),
        };
        for (thread, since) in stopping {
            match thread.wait_for_stop(since, limit, until) {
                Stop::Stopped { signal } => guard.paused.push(Paused {
                    thread,
                    signal,
                    since,
                    hold: hold.clone(),
                }),
                Stop::Gone => guard.not_paused.push((thread.tid, NotPaused::Gone)),
                Stop::TimedOut => {
                    STRAGGLERS
                        .with_borrow_mut(|stragglers| stragglers.push((thread, hold.clone())));
                    let why = NotPaused::Uninterruptible;
                    guard.not_paused.push((thread.tid, why));
                }
            }
        }
        failure.map_or(Ok(guard), Err)
    }
}

impl Drop for PauseGuard {
    fn drop(&mut self) {
        let mut ending = Vec::new();
        for paused in self.paused.drain(..) {
            let thread = paused.thread;
            // A thread that is not stopped any more has been killed and is ending.
            if wait::detach(thread.tid, paused.signal).is_err() && !thread.try_detach() {
                ending.push((thread, paused.hold));
            }
        }
        if ending.is_empty() {
            return;
        }
        let since = Instant::now();
        let mut backoff = Backoff::default();
        while !ending.is_empty() && since.elapsed() < EXIT_LIMIT {
            backoff.wait(since.elapsed());
            ending.retain(|(thread, _)| !thread.try_detach());
        }
        STRAGGLERS.with_borrow_mut(|stragglers| stragglers.extend(ending));
    }
}

/// The result of waiting for a stop.
enum Stop {
    Stopped { signal: i32 },
    Gone,
    TimedOut,
}

impl Traced {
    /// Seizes it and requests a stop. `Some` when there is no need to wait for that.
    fn seize(self) -> Result<Option<NotPaused>, PauseError> {
        let tid = nix::unistd::Pid::from_raw(self.tid);
        let result = ptrace::seize(tid, ptrace::Options::empty());
        match result {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(Some(NotPaused::Gone)),
            Err(Errno::EPERM) if self.is_straggler() => {
                return Ok(Some(NotPaused::Uninterruptible));
            }
            // The kernel returns this for a thread that is ending, too.
            Err(Errno::EPERM) if self.has_ended() => return Ok(Some(NotPaused::Gone)),
            // Some seccomp filters pretend that there is no such call.
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
                let problem = PermissionProblem::diagnose_trace(self.pid, self.tid);
                return Err(PauseError::PermissionDenied(problem));
            }
            Err(error) => {
                return Err(PauseError::Io {
                    tid: self.tid,
                    cause: error.into(),
                });
            }
        }
        // This fails only when the thread has been killed meanwhile, which the wait finds out.
        let _ = ptrace::interrupt(tid);
        Ok(None)
    }

    /// Waits for `limit`, for longer if it only lacks a CPU, but never beyond `until`.
    fn wait_for_stop(self, started: Instant, limit: Duration, until: Deadline) -> Stop {
        let mut backoff = Backoff::default();
        loop {
            match wait::poll(self.tid, WaitFor::Stop) {
                Event::Stopped { signal, event } => {
                    return Stop::Stopped {
                        signal: self.stopped(signal, event),
                    };
                }
                // It usually stops within microseconds; whether it has ended instead is checked
                // rarely.
                _ if backoff.is_long() && self.collect_end() => return Stop::Gone,
                _ => {}
            }
            if until.is_over() {
                return Stop::TimedOut;
            }
            let waited = started.elapsed();
            if waited < limit || (waited < limit * CONTENDED_FACTOR && !self.is_uninterruptible()) {
                backoff.wait(waited);
            } else {
                return Stop::TimedOut;
            }
        }
    }

    /// Handles a stop; returns the signal to resume the thread with.
    fn stopped(&self, signal: i32, event: i32) -> i32 {
        // With the event it is our interruption, or a stop of the target. Without, this signal is
        // about to be delivered. Only a traced thread stops for a signal that is ignored, and its
        // call has ended for that, too.
        if event != libc::PTRACE_EVENT_STOP {
            syscall_restart::restart_wait(self.tid);
            return signal;
        }
        if signal == libc::SIGTRAP {
            syscall_restart::restart_wait(self.tid);
        }
        0
    }

    /// Detaches it if it has stopped or ended by now; returns whether it did.
    fn try_detach(&self) -> bool {
        match wait::poll(self.tid, WaitFor::Stop) {
            Event::Stopped { signal, event } => {
                let signal = self.stopped(signal, event);
                wait::detach(self.tid, signal).is_ok()
            }
            _ => self.collect_end(),
        }
    }

    /// Whether it has ended. If so, the end is consumed, as the kernel requires of a tracer, unless
    /// another part of this program has to.
    fn collect_end(&self) -> bool {
        // Peek first: a wait for the end of a traced thread also consumes its stop, if that comes
        // first.
        let ended = |event| matches!(event, Event::Exited(_) | Event::Killed(_) | Event::Unknown);
        if !ended(wait::poll(self.tid, WaitFor::PeekEnd)) {
            return false;
        }
        self.is_own_child() || ended(wait::poll(self.tid, WaitFor::End))
    }

    /// Whether another part of this program reaps it: it is the main thread of a process that we
    /// launched.
    fn is_own_child(&self) -> bool {
        let own_pid = nix::unistd::getpid().as_raw();
        self.tid == self.pid
            && ProcStat::of_thread(self.pid, self.tid).is_ok_and(|stat| stat.parent == own_pid)
    }

    fn is_uninterruptible(&self) -> bool {
        RunState::of_thread(self.pid, self.tid).is_ok_and(|state| state == RunState::DiskWait)
    }

    fn is_straggler(&self) -> bool {
        STRAGGLERS.with_borrow(|stragglers| stragglers.iter().any(|(thread, _)| thread == self))
    }

    fn has_ended(&self) -> bool {
        ProcStat::of_thread(self.pid, self.tid).map_or(true, |stat| stat.has_ended())
    }
}

/// Pauses between checks: none at first, as a stop takes microseconds, then growing ones.
#[derive(Default)]
struct Backoff {
    checks: u32,
}

impl Backoff {
    /// Whether a thread that can stop would have by now.
    fn is_long(&self) -> bool {
        self.checks >= 24
    }

    /// `waited`: the time so far.
    fn wait(&mut self, waited: Duration) {
        self.checks = self.checks.saturating_add(1);
        if self.checks < 20 {
            // A check takes a third of a microsecond, a stop about five.
            return std::hint::spin_loop();
        }
        // It needs a CPU to be able to stop, and that may be ours. The longer it has waited for
        // one, the less it matters when exactly it is resumed.
        std::thread::sleep((waited / 16).clamp(MIN_SLEEP, MAX_SLEEP));
    }
}

#[cfg(test)]
mod tests;
