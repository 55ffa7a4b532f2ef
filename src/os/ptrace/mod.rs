//! Pausing threads by ptrace, and resuming them whatever happens.

pub mod pause;
pub mod syscall_restart;
pub mod wait;
