//! [`FdPermit`]: permission to hold descriptors open, from a budget shared by the whole program.
//!
//! Reading the same kernel file repeatedly is several times faster through an open descriptor, but
//! can be done without: the file is opened for each read then. All such readers share one budget,
//! so that a target with many threads never takes the descriptors that are indispensable, such as
//! the memory of a process or the output file of a recording.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Cap on the descriptors held open: enough for several thousand threads.
const MAX_OPEN: u64 = 20_000;
/// Reserved for all others: three for each [view](crate::os::container::fs_view::FileView) of a
/// file system, two or three for each sampled process, ELF files, the output.
const RESERVED: u64 = 424;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A number of descriptors, returned to the budget on drop.
#[derive(Debug)]
pub struct FdPermit(usize);

impl FdPermit {
    /// Takes `count` descriptors, if as many are left.
    pub fn take(count: usize) -> Option<FdPermit> {
        FdPermit::take_of(&TAKEN, budget(), count).then_some(FdPermit(count))
    }

    fn take_of(taken: &AtomicUsize, budget: usize, count: usize) -> bool {
        let more = |taken: usize| taken.checked_add(count).filter(|all| *all <= budget);
        let order = Ordering::Relaxed;
        taken.fetch_update(order, order, more).is_ok()
    }
}

impl Drop for FdPermit {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Raises the limit of descriptors. No program may be launched after that.
pub fn raise_limit() {
    budget();
}

/// The number of descriptors that may be held open under the resource limit.
///
/// The soft limit is usually 1024, for programs that use `select`, and may be raised without
/// privileges. We do not use `select`, but a launched program may, so it must have been started
/// before the first call of this.
fn budget() -> usize {
    static BUDGET: OnceLock<usize> = OnceLock::new();
    *BUDGET.get_or_init(|| {
        let limit = raise(RESERVED + MAX_OPEN).unwrap_or(0);
        usize::try_from(limit.saturating_sub(RESERVED).min(MAX_OPEN)).unwrap_or(0)
    })
}

/// Raises the soft limit to `wanted` or to the hard limit; returns the limit then in force.
fn raise(wanted: u64) -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let allowed = wanted.min(hard);
    if allowed <= soft || setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).is_err() {
        return Some(soft);
    }
    Some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_limited_by_the_budget_and_returned_to_it() {
        let taken = AtomicUsize::new(0);
        let take = |count| FdPermit::take_of(&taken, 5, count);
        assert!(take(2) && take(2));
        assert!(!take(2), "only one is left");
        assert!(take(1));
        assert!(!take(1) && !take(usize::MAX));
        taken.fetch_sub(2, Ordering::Relaxed);
        assert!(take(2) && !take(1));
    }

    #[test]
    fn the_reserve_is_never_taken() {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).map_or((0, 0), |limits| limits);
        let most = u64::try_from(budget()).map_or(u64::MAX, |most| most);
        // The call above has raised the limit.
        let (now, _) = getrlimit(Resource::RLIMIT_NOFILE).map_or((0, 0), |limits| limits);
        assert!(
            soft <= now && (most == 0 || most + RESERVED <= now),
            "{most} of {now}"
        );
        assert!(FdPermit::take(usize::MAX).is_none());
        // Other tests of this process take some, but never all.
        assert!(most == 0 || FdPermit::take(1).is_some());
    }
}
