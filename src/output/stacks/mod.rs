//! Formats that show stack traces.

pub mod chrometrace;
pub mod flamegraph;
pub mod folded;
pub mod speedscope;
