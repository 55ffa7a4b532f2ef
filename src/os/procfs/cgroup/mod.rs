//! Control groups (v1 and v2): which ones a process is in, and what they limit.

pub mod cpu;
pub mod freezer;
pub mod hierarchy;
pub mod memory;
pub mod pids;
