//! When to sample, and at which scheduling priority.

pub mod priority;
pub mod timer;
