//! Records of the target's memory: decoding, limits, errors.

pub mod budget;
pub mod error;
pub mod limit;
pub mod record;
