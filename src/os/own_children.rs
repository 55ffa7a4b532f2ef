//! The children that we started ourselves. All others are orphans that the kernel has given to us; see
//! [`orphans`](super::process::tree::orphans).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::Pid;

static STARTED: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

/// Starts a child and notes its pid, which `start` returns with what else it has. Nobody takes it for an orphan
/// meanwhile.
///
/// # Errors
/// Those of `start`.
pub fn start<T, E>(start: impl FnOnce() -> Result<(Pid, T), E>) -> Result<T, E> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let (pid, result) = start()?;
    started.insert(pid);
    Ok(result)
}

/// Forgets a child that was reaped: its pid may be that of another process by now.
pub fn forget(pid: Pid) {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    started.remove(&pid);
}

/// Those of `list` that we did not start; it is called while no child is started.
pub fn others(list: impl FnOnce() -> Vec<Pid>) -> Vec<Pid> {
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut children = list();
    children.retain(|pid| !started.contains(pid));
    children
}
