//! [`PauseGuard`]: threads of a target that stand still while we read them.
//!
//! A thread is paused with `PTRACE_SEIZE` and `PTRACE_INTERRUPT`: no signal is sent, and a system
//! call that gets interrupted is restarted. What can go wrong, and what is done:
//!
//! - The thread sleeps in one of the few calls that end early with `EINTR` instead (`epoll_wait`,
//!   `sigtimedwait` and others, signal(7)). Callers pause only threads that run; for one that falls
//!   asleep just then the call is restarted all the same (`restart.rs`).
//! - A signal arrives meanwhile. The thread then stops in front of its delivery; it is let go with
//!   that signal, which it receives as if we weren't there.
//! - The target is stopped (Ctrl-Z). It stays so when it is let go.
//! - The thread ends, is killed, or another thread of its process executes a program. Then it is not
//!   paused, but a traced thread that ended must be collected by its tracer before its process can
//!   end, so that is done.
//! - The thread waits for a disk or a vfork, where nothing can stop it. Such threads are left alone.
//!   If one gets there just when it is to stop, it is given up after [`PAUSE_LIMIT`]; a thread that
//!   merely doesn't get a CPU, after ten times that. It can't be
//!   let go before it has stopped, so it is remembered and let go as soon as it has, at the next use
//!   of a guard or by [`PauseGuard::settle`].
//! - We die. The kernel lets go whatever a dead tracer traced.
//!
//! The kernel ties a traced thread to the OS thread that seized it, so a guard is neither `Send` nor
//! `Sync`, and an OS thread that ends lets its threads go.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;

use super::syscall_restart;
use super::wait::{self, Event, For};
use crate::os::permission::PermissionProblem;
use crate::os::procfs::stat::ProcStat;
use crate::os::thread::state::RunState;
use crate::os::{Pid, Tid};

/// How long at most we wait for all threads to stop, once one has been seen to wait for a disk.
pub const PAUSE_LIMIT: Duration = Duration::from_millis(100);
/// How many times as long we wait for threads that only need their turn on a crowded machine.
const CROWDED: u32 = 10;
/// How long we sleep between two looks whether a thread has stopped.
const SHORTEST_REST: Duration = Duration::from_micros(20);
const LONGEST_REST: Duration = Duration::from_millis(1);
/// How long a guard that is dropped waits at most for threads that are being killed.
const FAREWELL_LIMIT: Duration = Duration::from_millis(10);

/// Why threads could not be paused.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The system doesn't let us, perhaps because somebody else traces the process.
    #[error("{0}")]
    PermissionDenied(PermissionProblem),
    /// Something else went wrong.
    #[error("cannot pause thread {tid}: {cause}")]
    Io {
        /// The thread.
        tid: Tid,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// Why one thread isn't paused though it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPaused {
    /// It has ended.
    Gone,
    /// It waits where nothing can stop it, such as for a disk.
    Uninterruptible,
}

/// A thread that we trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Traced {
    pid: Pid,
    tid: Tid,
}

/// A thread that stands still.
#[derive(Debug)]
struct Paused {
    thread: Traced,
    /// What it is to be let go with, or 0.
    signal: i32,
    /// When it was asked to stop.
    since: Instant,
}

thread_local! {
    /// Threads that this OS thread traces and couldn't let go yet.
    static STRAGGLERS: RefCell<Vec<Traced>> = const { RefCell::new(Vec::new()) };
}

/// Threads that stand still until this is dropped.
#[derive(Debug)]
pub struct PauseGuard {
    paused: Vec<Paused>,
    not_paused: Vec<(Tid, NotPaused)>,
    /// ptrace binds to the OS thread: a raw pointer makes this neither `Send` nor `Sync`.
    _bound_to_thread: PhantomData<*const ()>,
}

impl PauseGuard {
    /// Pauses some threads of a process, and no others. Takes some microseconds for each thread, on a
    /// crowded machine a second at most. Those that can't be paused now are named by
    /// [`PauseGuard::not_paused`].
    ///
    /// # Errors
    /// When we may not; then no thread stays paused.
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

    /// The same for threads that were just seen on a CPU, without another look at them.
    ///
    /// # Errors
    /// As [`PauseGuard::pause`].
    pub fn pause_running(pid: Pid, tids: &[Tid]) -> Result<PauseGuard, PauseError> {
        PauseGuard::settle();
        let threads: Vec<Traced> = tids.iter().map(|&tid| Traced { pid, tid }).collect();
        PauseGuard::seize(&threads, PAUSE_LIMIT)
    }

    /// The threads that do stand still.
    pub fn paused(&self) -> impl Iterator<Item = Tid> {
        self.paused.iter().map(|paused| paused.thread.tid)
    }

    /// Lets one of its threads go before the others. For how long it was held up, at most; `None`
    /// when it is not paused by this guard.
    pub fn release(&mut self, tid: Tid) -> Option<Duration> {
        let mut paused = self.paused.iter();
        let place = paused.position(|paused| paused.thread.tid == tid)?;
        let paused = self.paused.swap_remove(place);
        let since = paused.since;
        drop(PauseGuard {
            paused: vec![paused],
            not_paused: Vec::new(),
            _bound_to_thread: PhantomData,
        });
        Some(since.elapsed())
    }

    /// The threads that were asked for but don't.
    #[cfg(test)]
    pub fn not_paused(&self) -> &[(Tid, NotPaused)] {
        &self.not_paused
    }

    /// Lets go what this OS thread couldn't let go before, and says whether nothing is left. Cheap
    /// when nothing is; to be called before this OS thread waits for long, and while it waits for a
    /// launched program to end.
    pub fn settle() -> bool {
        STRAGGLERS.with_borrow_mut(|stragglers| {
            stragglers.retain(|thread| !thread.try_release());
            stragglers.is_empty()
        })
    }

    /// Seizes all first, so that they stop at the same time, then waits for each.
    fn seize(threads: &[Traced], limit: Duration) -> Result<PauseGuard, PauseError> {
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
        for (thread, since) in stopping {
            match thread.wait_for_stop(since, limit) {
                Stop::Stopped { signal } => guard.paused.push(Paused {
                    thread,
                    signal,
                    since,
                }),
                Stop::Gone => guard.not_paused.push((thread.tid, NotPaused::Gone)),
                Stop::TimedOut => {
                    STRAGGLERS.with_borrow_mut(|stragglers| stragglers.push(thread));
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
        let mut leaving = Vec::new();
        for Paused { thread, signal, .. } in self.paused.drain(..) {
            // A thread that doesn't stand still any more has been killed and is ending.
            if wait::detach(thread.tid, signal).is_err() && !thread.try_release() {
                leaving.push(thread);
            }
        }
        if leaving.is_empty() {
            return;
        }
        let since = Instant::now();
        let mut pace = Pace::default();
        while !leaving.is_empty() && since.elapsed() < FAREWELL_LIMIT {
            pace.rest(since.elapsed());
            leaving.retain(|thread| !thread.try_release());
        }
        STRAGGLERS.with_borrow_mut(|stragglers| stragglers.extend(leaving));
    }
}

/// How waiting for a stop ended.
enum Stop {
    Stopped { signal: i32 },
    Gone,
    TimedOut,
}

impl Traced {
    /// Seizes it and asks it to stop. `Some` when there is no need to wait for that.
    fn seize(self) -> Result<Option<NotPaused>, PauseError> {
        let tid = nix::unistd::Pid::from_raw(self.tid);
        let result = ptrace::seize(tid, ptrace::Options::empty());
        match result {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(Some(NotPaused::Gone)),
            Err(Errno::EPERM) if self.is_straggler() => {
                return Ok(Some(NotPaused::Uninterruptible));
            }
            // The kernel says so of a thread that is ending, too.
            Err(Errno::EPERM) if self.has_ended() => return Ok(Some(NotPaused::Gone)),
            // Some filters of system calls pretend that there is no such call.
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
        // This fails only when the thread has been killed since, which the wait finds out.
        let _ = ptrace::interrupt(tid);
        Ok(None)
    }

    fn wait_for_stop(self, started: Instant, limit: Duration) -> Stop {
        let mut pace = Pace::default();
        loop {
            match wait::poll(self.tid, For::Stop) {
                Event::Stopped { signal, event } => {
                    return Stop::Stopped {
                        signal: self.stopped(signal, event),
                    };
                }
                // Mostly it stops within microseconds; whether it has ended instead is asked rarely.
                _ if pace.is_long() && self.collect_end() => return Stop::Gone,
                _ => {}
            }
            let waited = started.elapsed();
            if waited < limit || (waited < limit * CROWDED && !self.is_uninterruptible()) {
                pace.rest(waited);
            } else {
                return Stop::TimedOut;
            }
        }
    }

    /// Takes note of a stop: the signal to let the thread go with.
    fn stopped(&self, signal: i32, event: i32) -> i32 {
        // With the event it is our interruption, or the target's being stopped. Without, it is about to
        // receive this signal.
        if event != libc::PTRACE_EVENT_STOP {
            return signal;
        }
        if signal == libc::SIGTRAP {
            syscall_restart::resume_wait(self.tid);
        }
        0
    }

    /// Lets it go if that can be done by now; whether it has been.
    fn try_release(&self) -> bool {
        match wait::poll(self.tid, For::Stop) {
            Event::Stopped { signal, event } => {
                let signal = self.stopped(signal, event);
                wait::detach(self.tid, signal).is_ok()
            }
            _ => self.collect_end(),
        }
    }

    /// Whether it has ended. If it has, that is taken note of, as the kernel wants its tracer to,
    /// unless somebody else in this program is to be told of it.
    fn collect_end(&self) -> bool {
        // Peek first: a wait for the end of a traced thread takes its stop, too, if that comes first.
        let ended = |event| matches!(event, Event::Exited(_) | Event::Killed(_) | Event::Unknown);
        if !ended(wait::poll(self.tid, For::PeekEnd)) {
            return false;
        }
        self.is_own_child() || ended(wait::poll(self.tid, For::End))
    }

    /// Whether its end is for somebody else in this program to collect: it is the main thread of a
    /// process that we launched.
    fn is_own_child(&self) -> bool {
        let own_pid = nix::unistd::getpid().as_raw();
        self.tid == self.pid
            && ProcStat::of_thread(self.pid, self.tid).is_ok_and(|stat| stat.parent == own_pid)
    }

    fn is_uninterruptible(&self) -> bool {
        RunState::of_thread(self.pid, self.tid).is_ok_and(|state| state == RunState::DiskWait)
    }

    fn is_straggler(&self) -> bool {
        STRAGGLERS.with_borrow(|stragglers| stragglers.contains(self))
    }

    fn has_ended(&self) -> bool {
        ProcStat::of_thread(self.pid, self.tid).map_or(true, |stat| stat.has_ended())
    }
}

/// Rests between looks: at first none, as a stop takes microseconds, then longer and longer.
#[derive(Default)]
struct Pace {
    looks: u32,
}

impl Pace {
    /// Whether a thread that can stop would have by now.
    fn is_long(&self) -> bool {
        self.looks >= 24
    }

    /// `waited`: for how long so far.
    fn rest(&mut self, waited: Duration) {
        self.looks = self.looks.saturating_add(1);
        if self.looks < 20 {
            // A look takes a third of a microsecond, a stop some five.
            return std::hint::spin_loop();
        }
        // It needs a CPU to be able to stop, and that may be ours. The longer it has waited for one, the
        // less it matters when exactly it may go on.
        std::thread::sleep((waited / 16).clamp(SHORTEST_REST, LONGEST_REST));
    }
}

#[cfg(test)]
mod tests;
