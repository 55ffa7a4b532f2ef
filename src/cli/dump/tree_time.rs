//! [`TreeTime`]: how long the processes of a tree may take, one after the other.

use std::time::Duration;

/// How long a process of the tree may always take. An ordinary one takes 1 to 30 ms.
const ORDINARY: Duration = Duration::from_millis(250);

/// How long the attachments and samples of all processes together may take beyond what is ordinary: a tree of
/// many processes that each take as long as one may would be dumped for minutes.
const SLOW: Duration = Duration::from_secs(20);

/// What is left of the time of a tree. It takes at most [`SLOW`], and [`ORDINARY`] for each attachment and each
/// sample.
#[derive(Debug)]
pub struct TreeTime {
    slow: Duration,
}

impl TreeTime {
    pub fn new() -> TreeTime {
        TreeTime { slow: SLOW }
    }

    /// How long the next step may take, if it may take `limit` by itself.
    pub fn limit(&self, limit: Duration) -> Duration {
        limit.min(ORDINARY.saturating_add(self.slow))
    }

    /// Subtracts the time that a step took beyond what is ordinary.
    pub fn spend(&mut self, took: Duration) {
        self.slow = self.slow.saturating_sub(took.saturating_sub(ORDINARY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(5);

    #[test]
    fn a_tree_of_ordinary_processes_has_no_limit() {
        let mut time = TreeTime::new();
        for _ in 0..10_000 {
            time.spend(Duration::from_millis(30));
        }
        assert_eq!(time.limit(STEP), STEP);
    }

    /// A dump of twenty hostile processes took up to 143 s.
    #[test]
    fn slow_processes_share_twenty_seconds() {
        let mut time = TreeTime::new();
        let mut total = Duration::ZERO;
        for _ in 0..40 {
            let took = time.limit(STEP);
            time.spend(took);
            total += took;
        }
        assert_eq!(total, SLOW + ORDINARY * 40);
        assert_eq!(time.limit(STEP), ORDINARY);
        assert_eq!(time.limit(ORDINARY / 2), ORDINARY / 2);
    }
}
