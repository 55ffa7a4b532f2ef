//! A thread as the kernel shows it: its state, its page faults, its scheduling.

pub mod activity;
pub mod fd_budget;
pub mod page_faults;
pub mod realtime;
pub mod state;
