//! Threads as the kernel shows them: state, page faults, scheduling.

pub mod activity;
pub mod busy;
pub mod fd_budget;
pub mod page_faults;
pub mod realtime;
pub mod start;
pub mod state;
