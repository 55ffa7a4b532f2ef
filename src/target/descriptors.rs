//! How many descriptors may be kept open to ask about threads.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What all else may need at a time: memory, maps, ELF files, the faults of threads, output.
const OTHERS: u64 = 424;
/// Enough for 10,000 threads.
const MOST: u64 = 20_000;

/// The most descriptors that may stay open to ask what threads do.
///
/// A process may mostly have 1024 descriptors, and as many as it likes if it says so: the low limit is
/// for programs that use `select`. We do not; but what we launch may, so it must have been started
/// before this is asked for the first time.
pub fn for_activity() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let limit = raise(OTHERS + MOST).unwrap_or(1024);
        usize::try_from(limit.saturating_sub(OTHERS).min(MOST)).unwrap_or(0)
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
    #![allow(clippy::unwrap_used)] // A test fails by panicking.
    use super::*;

    #[test]
    fn the_limit_is_in_force_and_leaves_room_for_others() {
        let most = u64::try_from(for_activity()).unwrap();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(most == 0 || most + OTHERS <= soft, "{most} of {soft}");
    }
}
