//! [`ThreadControl`]: pausing and resuming threads of the target.

use std::time::Duration;

use nix::libc::ESRCH;

use crate::cpython::read::error::SampleError;
use crate::os::deadline::Deadline;
use crate::os::ptrace::pause::{PauseError, PauseGuard};
use crate::os::thread::realtime;
use crate::os::{Pid, Tid};

/// How long frames may be inspected while a thread is paused. It is to be paused for 20 ms at most, of which
/// the rest is for what comes before and after.
const INSPECTION_LIMIT: Duration = Duration::from_millis(15);
/// How long a sample may take under real-time priority, without waits. Most take some 20 µs.
pub const REALTIME_LIMIT: Duration = Duration::from_millis(1);

/// Pauses and resumes threads.
pub trait ThreadControl {
    /// Pauses these threads, except those that have ended.
    ///
    /// # Errors
    /// When that is not permitted.
    fn pause(&mut self, tids: &[Tid]) -> Result<(), SampleError>;

    fn is_paused(&self, tid: Tid) -> bool;

    /// Until when frames may be inspected: without limit while no thread is paused.
    fn inspection_deadline(&self) -> Deadline;

    /// Resumes a thread if it is paused.
    fn resume(&mut self, tid: Tid);

    /// Lets a resumed thread run for a while.
    fn wait(&mut self, time: Duration);

    /// When all threads must be resumed, and a real-time priority be left: never while there is neither.
    fn deadline(&self) -> Deadline;

    /// Resumes all threads, then leaves a real-time priority. Returns whether there was either.
    fn end_pausing(&mut self) -> bool;
}

/// The threads of one process that are paused by ptrace during one sample.
pub struct PtracePauses {
    pid: Pid,
    guards: Vec<PauseGuard>,
    /// Of the threads that are paused.
    inspection_deadline: Deadline,
    /// How long each thread that was resumed had been paused, at most.
    durations: Vec<Duration>,
    /// For how long threads may still be paused in this sample.
    left: Duration,
    /// When those that are paused now must be resumed.
    paused_until: Deadline,
    /// When a real-time priority must be left.
    realtime_until: Deadline,
    /// Whether a thread did not stop in time, or had to be resumed before its stack was read.
    fell_short: bool,
}

/// The pauses of one sample.
pub struct Pauses {
    /// How long each thread that was resumed had been paused, at most.
    pub durations: Vec<Duration>,
    /// Whether a thread was read without the pause that it needed: it did not stop in time, or pausing had
    /// taken as long as it may.
    pub fell_short: bool,
}

impl PtracePauses {
    /// No thread is paused. `limit`: for how long threads may be paused in this sample.
    pub fn new(pid: Pid, limit: Duration) -> PtracePauses {
        PtracePauses {
            pid,
            guards: Vec::new(),
            inspection_deadline: Deadline::NEVER,
            durations: Vec::new(),
            left: limit,
            paused_until: Deadline::NEVER,
            realtime_until: match realtime::is_raised() {
                true => Deadline::after(REALTIME_LIMIT),
                false => Deadline::NEVER,
            },
            fell_short: false,
        }
    }

    /// Resumes all threads.
    pub fn finish(mut self) -> Pauses {
        self.resume_all();
        Pauses {
            durations: self.durations,
            fell_short: self.fell_short,
        }
    }

    /// Resumes all threads.
    pub fn resume_all(&mut self) {
        for mut guard in self.guards.drain(..) {
            let left: Vec<Tid> = guard.paused().collect();
            for tid in left {
                self.durations.extend(guard.resume(tid));
            }
        }
        // A thread that did not stop in time may have stopped since.
        PauseGuard::settle();
        self.stop_clock();
    }

    fn is_any_paused(&self) -> bool {
        self.guards.iter().any(|guard| guard.paused().count() > 0)
    }

    /// Nothing is paused any more.
    fn stop_clock(&mut self) {
        if let Some(left) = self.paused_until.left() {
            self.left = left;
            self.paused_until = Deadline::NEVER;
        }
    }
}

impl ThreadControl for PtracePauses {
    fn pause(&mut self, tids: &[Tid]) -> Result<(), SampleError> {
        if tids.is_empty() {
            return Ok(());
        }
        let inspection_deadline = Deadline::after(INSPECTION_LIMIT);
        // A thread that lacks a CPU stops late. We sleep meanwhile, and it is not paused yet.
        let realtime_left = self.realtime_until.left();
        let paused = PauseGuard::pause_running(self.pid, tids);
        if let Some(left) = realtime_left {
            self.realtime_until = Deadline::after(left);
        }
        match paused {
            Ok(guard) => {
                self.inspection_deadline =
                    self.inspection_deadline().or_earlier(inspection_deadline);
                self.fell_short |= guard.is_incomplete();
                self.guards.push(guard);
                if self.paused_until == Deadline::NEVER && self.is_any_paused() {
                    self.paused_until = Deadline::after(self.left);
                }
                Ok(())
            }
            Err(PauseError::Io { cause, .. }) if cause.raw_os_error() == Some(ESRCH) => Ok(()),
            Err(error) => Err(SampleError::CannotPause(error.to_string())),
        }
    }

    fn is_paused(&self, tid: Tid) -> bool {
        let mut paused = self.guards.iter().flat_map(PauseGuard::paused);
        paused.any(|paused| paused == tid)
    }

    fn inspection_deadline(&self) -> Deadline {
        match self.is_any_paused() {
            true => self.inspection_deadline.or_earlier(self.deadline()),
            false => Deadline::NEVER,
        }
    }

    fn resume(&mut self, tid: Tid) {
        for guard in &mut self.guards {
            self.durations.extend(guard.resume(tid));
        }
        if !self.is_any_paused() {
            self.stop_clock();
        }
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn deadline(&self) -> Deadline {
        self.paused_until.or_earlier(self.realtime_until)
    }

    fn end_pausing(&mut self) -> bool {
        let holds = self.is_any_paused() || self.realtime_until != Deadline::NEVER;
        self.fell_short |= holds;
        self.resume_all();
        realtime::leave();
        self.realtime_until = Deadline::NEVER;
        holds
    }
}
