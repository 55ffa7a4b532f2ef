//! [`Checkpoints`]: the growth of each stack at earlier moments of the recording.

use std::time::Duration;

use crate::rss::attribution::Growth;

/// Time of the first checkpoint; each next one is twice as late as the one before.
const FIRST_CHECKPOINT: Duration = Duration::from_secs(4);

/// The growth of each stack at two moments, the later one twice as late: at the end of the recording, the
/// earlier one is between a quarter and a half.
#[derive(Debug, Default)]
pub struct Checkpoints {
    earlier: Checkpoint,
    later: Checkpoint,
}

/// The growth of each stack at one moment.
#[derive(Debug, Default)]
pub struct Checkpoint {
    pub at: Duration,
    /// By [`StackId::index`](crate::profile::tables::ids::StackId::index).
    pub growth: Vec<Growth>,
}

impl Checkpoints {
    /// Whether it is time for the next checkpoint.
    pub fn is_due(&self, elapsed: Duration) -> bool {
        elapsed >= FIRST_CHECKPOINT.max(self.later.at.saturating_mul(2))
    }

    /// Sets a checkpoint.
    pub fn set(&mut self, at: Duration, growth: Vec<Growth>) {
        self.earlier = std::mem::replace(&mut self.later, Checkpoint { at, growth });
    }

    /// The earlier and the later checkpoint; `None` before the first one.
    pub fn pair(&self) -> Option<(&Checkpoint, &Checkpoint)> {
        (!self.later.at.is_zero()).then_some((&self.earlier, &self.later))
    }

    /// The growth at the earlier checkpoint or, if `since` is after it, at the later one.
    pub fn after(&self, since: Duration) -> &[Growth] {
        let checkpoint = if since > self.earlier.at {
            &self.later
        } else {
            &self.earlier
        };
        &checkpoint.growth
    }
}
