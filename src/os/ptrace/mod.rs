//! Pausing threads by ptrace, and resuming them in all cases.

pub mod pause;
pub mod syscall_restart;
pub mod wait;
