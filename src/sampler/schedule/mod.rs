//! The times of samples, the scheduling priority of the sampler, and limits of its CPU time.

pub mod priority;
pub mod throttle;
pub mod timer;
