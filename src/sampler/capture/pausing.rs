//! [`ThreadControl`]: pausing and resuming threads of the target.

use std::time::Duration;

use nix::libc::ESRCH;

use crate::cpython::read::error::SampleError;
use crate::os::ptrace::pause::{PauseError, PauseGuard};
use crate::os::{Pid, Tid};

/// Pauses and resumes threads.
pub trait ThreadControl {
    /// Pauses these threads, except those that have ended.
    ///
    /// # Errors
    /// When that is not permitted.
    fn pause(&mut self, tids: &[Tid]) -> Result<(), SampleError>;

    fn is_paused(&self, tid: Tid) -> bool;

    /// Resumes a thread if it is paused.
    fn resume(&mut self, tid: Tid);

    /// Lets a resumed thread run for a while.
    fn wait(&mut self, time: Duration);
}

/// The threads of one process that are paused by ptrace during one sample.
pub struct PtracePauses {
    pid: Pid,
    guards: Vec<PauseGuard>,
    /// How long each thread that was resumed had been paused, at most.
    durations: Vec<Duration>,
}

impl PtracePauses {
    pub fn new(pid: Pid) -> PtracePauses {
        PtracePauses {
            pid,
            guards: Vec::new(),
            durations: Vec::new(),
        }
    }

    /// Resumes all threads. Returns how long each had been paused.
    pub fn finish(mut self) -> Vec<Duration> {
        for mut guard in self.guards.drain(..) {
            let left: Vec<Tid> = guard.paused().collect();
            for tid in left {
                self.durations.extend(guard.resume(tid));
            }
        }
        self.durations
    }
}

impl ThreadControl for PtracePauses {
    fn pause(&mut self, tids: &[Tid]) -> Result<(), SampleError> {
        if tids.is_empty() {
            return Ok(());
        }
        match PauseGuard::pause_running(self.pid, tids) {
            Ok(guard) => {
                self.guards.push(guard);
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

    fn resume(&mut self, tid: Tid) {
        for guard in &mut self.guards {
            self.durations.extend(guard.resume(tid));
        }
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}
