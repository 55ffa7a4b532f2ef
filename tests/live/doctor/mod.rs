//! What `doctor` reports of a process, and of one that refuses.

mod refusals;
mod report;
