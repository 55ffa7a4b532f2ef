//! [`WorkBudget`]: how much time and how many bytes the examination of one process may take.
//!
//! A process decides what is in its files and in its memory, so it decides how much there is to search.
//! One budget is for all searches of one attempt together: many small ones cost no more than a large one.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

use super::deadline::Deadline;

/// How long attaching to one process that the user gave may take.
pub const ATTACH: Duration = Duration::from_secs(5);
/// The same for one that only may be a Python process: in a list of candidates, or a child of another. An
/// ordinary one takes 1 to 10 ms.
pub const EXAMINE: Duration = Duration::from_millis(500);
/// How many bytes of memory all searches together read: more data than several CPythons have.
const MAX_BYTES: u64 = 256 << 20;

/// See the [module](self).
#[derive(Debug)]
pub struct WorkBudget {
    deadline: Deadline,
    /// How long it lasts, for messages.
    limit: Duration,
    bytes: Cell<u64>,
    doing: RefCell<String>,
}

/// The work that was not finished in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// What was being done.
    pub doing: String,
    /// How long it was allowed to take.
    pub limit: Duration,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit.as_millis();
        match limit.is_multiple_of(1000) {
            true => write!(f, "gave up after {} s", limit / 1000)?,
            false => write!(f, "gave up after {limit} ms")?,
        }
        write!(f, ", {}", self.doing)
    }
}

impl WorkBudget {
    /// A budget of so much time from now on.
    pub fn within(limit: Duration) -> WorkBudget {
        WorkBudget::new(Deadline::after(limit), limit)
    }

    /// As [`within`](WorkBudget::within), but also over when `deadline` is.
    pub fn within_and_by(limit: Duration, deadline: Deadline) -> WorkBudget {
        WorkBudget::new(Deadline::after(limit).or_earlier(deadline), limit)
    }

    /// Without a time limit: for a core file, whose reader can be interrupted without harm.
    pub fn without_deadline() -> WorkBudget {
        WorkBudget::new(Deadline::NEVER, Duration::MAX)
    }

    fn new(deadline: Deadline, limit: Duration) -> WorkBudget {
        WorkBudget {
            deadline,
            limit,
            bytes: Cell::new(MAX_BYTES),
            doing: RefCell::default(),
        }
    }

    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    pub fn is_over(&self) -> bool {
        self.deadline.is_over()
    }

    /// Spends bytes of memory to be searched. `false`, and nothing is spent, if there are not so many
    /// left, or no time.
    pub fn spend(&self, bytes: u64) -> bool {
        let left = self.bytes.get().checked_sub(bytes);
        match left.filter(|_| !self.is_over()) {
            Some(left) => {
                self.bytes.set(left);
                true
            }
            None => false,
        }
    }

    /// Notes what is being done from now on, for the message when time is over.
    pub fn begin(&self, doing: impl Into<String>) {
        self.doing.replace(doing.into());
    }

    /// What was being done, if the time is over.
    pub fn gave_up(&self) -> Option<GaveUp> {
        self.is_over().then(|| GaveUp {
            doing: self.doing.borrow().clone(),
            limit: self.limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_budget_is_for_all_searches_together() {
        let budget = WorkBudget::without_deadline();
        assert!(budget.spend(MAX_BYTES - 10) && !budget.spend(11) && budget.spend(10));
        assert!(!budget.spend(1) && budget.spend(0));
        assert_eq!(budget.gave_up(), None);
    }

    #[test]
    fn after_its_time_a_budget_names_the_work_in_progress() {
        let budget = WorkBudget::within_and_by(ATTACH, Deadline::after(Duration::ZERO));
        budget.begin("reading its mappings");
        budget.begin("searching the data of /bin/x");
        assert!(budget.is_over() && !budget.spend(0));
        let text = budget.gave_up().map(|gave_up| gave_up.to_string());
        let expected = "gave up after 5 s, searching the data of /bin/x";
        assert_eq!(text.as_deref(), Some(expected));
        let examine = GaveUp {
            doing: "reading its mappings".into(),
            limit: EXAMINE,
        };
        let expected = "gave up after 500 ms, reading its mappings";
        assert_eq!(examine.to_string(), expected);
    }
}
