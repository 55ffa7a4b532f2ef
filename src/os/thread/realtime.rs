//! [`RealtimeGuard`]: the calling thread before all ordinary ones, for work of microseconds that others wait
//! for.

use std::io;
use std::marker::PhantomData;

use nix::libc;

/// The least of the real-time priorities: whoever has one for good reasons comes first.
const LEAST: libc::c_int = 1;

/// While this lives, the calling thread gets a CPU as soon as it wants one (`SCHED_RR`, sched(7)).
/// Threads and processes that it starts do not inherit that.
#[derive(Debug)]
pub struct RealtimeGuard {
    /// It is the thread's, so it stays there.
    _bound_to_thread: PhantomData<*const ()>,
}

impl RealtimeGuard {
    /// Makes the calling thread urgent.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_NICE` and where the resource limit `RLIMIT_RTPRIO` is 0,
    /// as both mostly are for ordinary users and in containers; `Other` when somebody chose another
    /// way of scheduling for us.
    pub fn request() -> io::Result<RealtimeGuard> {
        // SAFETY: it takes a thread, here ours, and no memory.
        let policy = unsafe { libc::sched_getscheduler(0) };
        if policy & !libc::SCHED_RESET_ON_FORK != libc::SCHED_OTHER {
            return Err(io::Error::other("we are scheduled in another way already"));
        }
        schedule(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, LEAST)?;
        Ok(RealtimeGuard {
            _bound_to_thread: PhantomData,
        })
    }
}

impl Drop for RealtimeGuard {
    fn drop(&mut self) {
        // Nobody needs a permission to be less. (Without one the flag that was set has to stay.)
        let _ = schedule(libc::SCHED_OTHER, 0)
            .or_else(|_| schedule(libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0));
    }
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `parameters` lives for the whole call, which only reads it.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::process::Command;

    /// The policy of a thread: the 41st field of its stat (`proc_pid_stat(5)`).
    fn policy(stat: &str) -> i32 {
        let after_name = stat.rsplit(')').next().unwrap();
        after_name
            .split_whitespace()
            .nth(38)
            .unwrap()
            .parse()
            .unwrap()
    }

    fn own() -> i32 {
        policy(&std::fs::read_to_string("/proc/thread-self/stat").unwrap())
    }

    #[test]
    fn a_thread_is_urgent_for_a_while_and_its_children_never() {
        assert_eq!(own(), libc::SCHED_OTHER);
        match RealtimeGuard::request() {
            Ok(urgent) => {
                assert_eq!(own(), libc::SCHED_RR);
                assert!(RealtimeGuard::request().is_err());
                assert_eq!(std::thread::spawn(own).join().unwrap(), libc::SCHED_OTHER);
                let child = Command::new("cat").arg("/proc/self/stat").output().unwrap();
                let stat = String::from_utf8(child.stdout).unwrap();
                assert_eq!(policy(&stat), libc::SCHED_OTHER);
                drop(urgent);
                assert_eq!(own(), libc::SCHED_OTHER);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
