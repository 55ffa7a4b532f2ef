//! When to look, at whom, and how to be sure.

pub mod sample;

pub use sample::{ProcessSample, Sample};
