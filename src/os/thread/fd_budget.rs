//! [`FdPermit`]: leave to keep descriptors open, of which a process may only have so many.
//!
//! Whoever asks the kernel the same thing again and again is several times as fast through a file that
//! stays open, and can do without: it opens the file for each question then. So all of them share one
//! budget, and what a program of many threads makes us keep open never takes what nobody can do without,
//! such as the memory of a process or the file that a recording goes to.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most that are kept open in the whole program: enough for several thousand threads.
const MOST: u64 = 20_000;
/// What is left for all others: three for each [view](crate::os::container::fs_view::FileView) of the file system, two or three
/// for each process that is looked at, ELF files, the output.
const FOR_OTHERS: u64 = 424;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// So many descriptors of the budget. They are given back with this value.
#[derive(Debug)]
pub(crate) struct FdPermit(usize);

impl FdPermit {
    /// Takes so many, if there are as many left.
    pub fn take(count: usize) -> Option<FdPermit> {
        FdPermit::take_of(&KEPT, budget(), count).then_some(FdPermit(count))
    }

    fn take_of(kept: &AtomicUsize, budget: usize, count: usize) -> bool {
        let more = |kept: usize| kept.checked_add(count).filter(|all| *all <= budget);
        let order = Ordering::Relaxed;
        kept.fetch_update(order, order, more).is_ok()
    }
}

impl Drop for FdPermit {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// How many may be kept open, by what the system allows us.
///
/// Mostly that is 1024, and as many as we like if we say so: the low limit is there for programs that use
/// `select`. We do not; but a program that we launch may, so it must have been started before anyone
/// asks for this.
fn budget() -> usize {
    static BUDGET: OnceLock<usize> = OnceLock::new();
    *BUDGET.get_or_init(|| {
        let limit = raise(FOR_OTHERS + MOST).unwrap_or(0);
        usize::try_from(limit.saturating_sub(FOR_OTHERS).min(MOST)).unwrap_or(0)
    })
}

/// Raises the limit to `wanted`, as far as it may be; the limit that is in force then.
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
    fn nobody_gets_more_than_is_left_and_what_is_given_back_is_left_again() {
        let kept = AtomicUsize::new(0);
        let take = |count| FdPermit::take_of(&kept, 5, count);
        assert!(take(2) && take(2));
        assert!(!take(2), "only one is left");
        assert!(take(1));
        assert!(!take(1) && !take(usize::MAX));
        kept.fetch_sub(2, Ordering::Relaxed);
        assert!(take(2) && !take(1));
    }

    #[test]
    fn something_is_left_for_others() {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).map_or((0, 0), |limits| limits);
        let most = u64::try_from(budget()).map_or(u64::MAX, |most| most);
        // Asking has raised the limit.
        let (now, _) = getrlimit(Resource::RLIMIT_NOFILE).map_or((0, 0), |limits| limits);
        assert!(
            soft <= now && (most == 0 || most + FOR_OTHERS <= now),
            "{most} of {now}"
        );
        assert!(FdPermit::take(usize::MAX).is_none());
        // Other tests of this process take some too, but never all.
        assert!(most == 0 || FdPermit::take(1).is_some());
    }
}
