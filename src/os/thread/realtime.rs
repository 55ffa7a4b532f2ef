//! [`RealtimeGuard`]: real-time priority for the calling thread, for work of microseconds that
//! others wait for. Work that turns out to take longer calls [`leave`] in its middle.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

use nix::libc;

/// The lowest real-time priority, so that threads that have one for good reasons come first.
const LOWEST: libc::c_int = 1;

thread_local! {
    /// Whether this thread has the priority of a [`RealtimeGuard`].
    static IS_RAISED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread has the priority of a [`RealtimeGuard`].
pub fn is_raised() -> bool {
    IS_RAISED.get()
}

/// Ends the priority of the calling thread's [`RealtimeGuard`], if there is one, before the guard itself: a
/// thread that computes for longer would take a CPU away from all other threads (the kernel lets it have
/// 95 % of one, `sched_rt_runtime_us`).
pub fn leave() {
    if !IS_RAISED.replace(false) {
        return;
    }
    // Lowering the priority needs no permission. (Without one the reset-on-fork flag cannot be cleared.)
    let _ = schedule(libc::SCHED_OTHER, 0)
        .or_else(|_| schedule(libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0));
}

/// While this lives, and until [`leave`], the calling thread is scheduled before all ordinary threads
/// (`SCHED_RR`, sched(7)). Threads and processes that it starts do not inherit this.
#[derive(Debug)]
pub struct RealtimeGuard {
    /// The priority is the thread's, so the guard must not move to another.
    _bound_to_thread: PhantomData<*const ()>,
}

impl RealtimeGuard {
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_NICE` and with the resource limit `RLIMIT_RTPRIO` at 0,
    /// the usual case for ordinary users and in containers; `Other` when we run under another
    /// policy already.
    pub fn request() -> io::Result<RealtimeGuard> {
        // SAFETY: it takes a thread, here ours, and no memory.
        let policy = unsafe { libc::sched_getscheduler(0) };
        if policy & !libc::SCHED_RESET_ON_FORK != libc::SCHED_OTHER {
            return Err(io::Error::other("another scheduling policy is set already"));
        }
        schedule(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, LOWEST)?;
        IS_RAISED.set(true);
        Ok(RealtimeGuard {
            _bound_to_thread: PhantomData,
        })
    }
}

impl Drop for RealtimeGuard {
    fn drop(&mut self) {
        leave();
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

    /// The policy of a thread: field 41 of its `stat` (proc_pid_stat(5)).
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
    fn the_policy_is_set_while_the_guard_lives_and_not_inherited() {
        assert_eq!(own(), libc::SCHED_OTHER);
        match RealtimeGuard::request() {
            Ok(guard) => {
                assert_eq!(own(), libc::SCHED_RR);
                assert!(RealtimeGuard::request().is_err());
                assert_eq!(std::thread::spawn(own).join().unwrap(), libc::SCHED_OTHER);
                let child = Command::new("cat").arg("/proc/self/stat").output().unwrap();
                let stat = String::from_utf8(child.stdout).unwrap();
                assert_eq!(policy(&stat), libc::SCHED_OTHER);
                drop(guard);
                assert_eq!(own(), libc::SCHED_OTHER);
                let guard = RealtimeGuard::request().unwrap();
                assert!(is_raised() && own() == libc::SCHED_RR);
                leave();
                assert!(!is_raised() && own() == libc::SCHED_OTHER);
                let again = RealtimeGuard::request().unwrap();
                assert_eq!(own(), libc::SCHED_RR);
                drop((guard, again));
                assert_eq!(own(), libc::SCHED_OTHER);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
