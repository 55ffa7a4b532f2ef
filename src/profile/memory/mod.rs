//! Memory growth in a profile: per stack, per function over time, and what may leak.

pub mod suspects;
pub mod timeline;
pub mod weights;
