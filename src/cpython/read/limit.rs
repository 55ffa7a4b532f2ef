//! [`Limit`]: when reading a target has to end, whatever the target holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::os::deadline::Deadline;

/// A deadline, and a flag that ends the reading before it.
#[derive(Clone, Debug)]
pub struct Limit {
    deadline: Deadline,
    /// Set from outside: by a signal, or by a key of a live view.
    stop: Option<Arc<AtomicBool>>,
}

impl Limit {
    /// No limit.
    pub const NONE: Limit = Limit::until(Deadline::NEVER);

    /// Only a deadline.
    pub const fn until(deadline: Deadline) -> Limit {
        Limit {
            deadline,
            stop: None,
        }
    }

    /// Replaces the deadline. The flag stays.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Replaces the flag.
    pub fn set_stop(&mut self, stop: Arc<AtomicBool>) {
        self.stop = Some(stop);
    }

    /// Whether the flag is set.
    pub fn is_stopped(&self) -> bool {
        let stop = self.stop.as_ref();
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Whether no more is to be read.
    pub fn is_reached(&self) -> bool {
        self.is_stopped() || self.deadline.is_over()
    }
}
