//! The times of samples, and the scheduling priority of the sampler.

pub mod priority;
pub mod timer;
