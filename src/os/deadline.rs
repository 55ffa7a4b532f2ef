//! [`Deadline`]: when work on a target must be done, whatever the target holds.
//!
//! Whoever starts the work sets one deadline, and the loops over the target's data ask it. A loop that asks
//! costs 20 to 40 ns each time (a `clock_gettime` of the vDSO), so a loop with short steps asks every so
//! many steps.

use std::time::{Duration, Instant};

/// A point in time by which work on a target must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// `None`: never.
    at: Option<Instant>,
}

impl Deadline {
    /// For work that is bounded in another way, such as that on a core file of our own.
    pub const NEVER: Deadline = Deadline { at: None };

    /// The deadline that is over when `limit` has passed from now on.
    pub fn after(limit: Duration) -> Deadline {
        Deadline {
            at: Instant::now().checked_add(limit),
        }
    }

    /// Whether it has passed.
    pub fn is_over(self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// The time that is left; `None` without a limit.
    pub fn left(self) -> Option<Duration> {
        self.at
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The earlier one of two.
    pub fn or_earlier(self, other: Deadline) -> Deadline {
        Deadline {
            at: match (self.at, other.at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_over_when_its_limit_has_passed() {
        let over = Deadline::after(Duration::ZERO);
        let later = Deadline::after(Duration::from_secs(3600));
        assert!(over.is_over() && over.left() == Some(Duration::ZERO));
        assert!(!later.is_over() && later.left() > Some(Duration::from_secs(3000)));
        assert!(!Deadline::NEVER.is_over() && Deadline::NEVER.left().is_none());
        assert!(!Deadline::after(Duration::MAX).is_over());
    }

    #[test]
    fn the_earlier_one_of_two_counts() {
        let over = Deadline::after(Duration::ZERO);
        let later = Deadline::after(Duration::from_secs(3600));
        for (one, other, expected) in [
            (over, later, over),
            (later, over, over),
            (Deadline::NEVER, later, later),
            (later, Deadline::NEVER, later),
            (Deadline::NEVER, Deadline::NEVER, Deadline::NEVER),
        ] {
            assert_eq!(one.or_earlier(other), expected);
        }
    }
}
