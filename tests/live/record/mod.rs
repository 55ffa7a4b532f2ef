//! What is recorded of programs of every kind, and how a recording starts and ends.

pub mod churn;
pub mod concurrency;
mod deadlines;
mod habits;
mod harmless;
mod job_control;
mod launch;
pub mod nonblocking;
mod running;
mod sampling;
mod signals;
mod tables;
mod truth;
mod weights;
