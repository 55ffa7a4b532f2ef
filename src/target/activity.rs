//! [`Activity`]: what the kernel says a thread does, and how often it has run so far.

use std::io;

use super::threads::RunState;
use super::{Pid, Tid};

/// What the kernel says of a thread. Two that are equal, of a thread that sleeps, mean that it did
/// not run in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// What it does.
    pub state: RunState,
    /// How often it got a CPU; `None` where the kernel does not count (`CONFIG_SCHED_INFO`).
    pub timeslices: Option<u64>,
}

impl Activity {
    /// Whether it is on a CPU or waits for one.
    pub fn runs(&self) -> bool {
        self.state == RunState::Running
    }

    /// Asks about one thread of a process.
    ///
    /// # Errors
    /// `NotFound` when there is no such thread (any more).
    pub fn of_thread(pid: Pid, tid: Tid) -> io::Result<Activity> {
        // The count first: a thread that wakes between the two reads shows as running then.
        let timeslices = timeslices(pid, tid);
        Ok(Activity {
            state: RunState::of_thread(pid, tid)?,
            timeslices,
        })
    }
}

/// The third number of a thread's `schedstat` (Documentation/scheduler/sched-stats.rst).
fn timeslices(pid: Pid, tid: Tid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    text.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicI32, Ordering};

    #[test]
    fn a_thread_that_slept_is_the_same_and_one_that_ran_is_not() {
        let own = std::process::id() as Pid;
        let told = AtomicI32::new(0);
        let (mut woken, mut wake) = std::io::pipe().unwrap();
        let (mut answered, mut answer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            let sleeper_tid = &told;
            // It sleeps nowhere but in these reads: a channel's or a lock's sleep would count too.
            scope.spawn(move || {
                sleeper_tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
                let mut byte = [0];
                while woken.read(&mut byte).unwrap() == 1 {
                    answer.write_all(&byte).unwrap();
                }
            });
            while told.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let asleep = || loop {
                let activity = Activity::of_thread(own, told.load(Ordering::Acquire)).unwrap();
                if activity.state == RunState::Sleeping {
                    return activity;
                }
                std::thread::yield_now();
            };
            let before = asleep();
            assert_eq!(asleep(), before);
            wake.write_all(&[1]).unwrap();
            answered.read_exact(&mut [0]).unwrap();
            assert_ne!(asleep(), before);
            drop(wake);
        });
    }
}
