//! What attaches to running programs, on every CPython that this machine has.
//!
//! One test program, so that it is built once, finds the interpreters once, and no CPU is idle while
//! the last test of one program ends and the next has not started. `slow` is what takes minutes:
//! `cargo test-slow`.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use test_support as support;

mod attach;
mod doctor;
mod dump;
mod kernel;
mod memory;
mod record;
mod slow;
mod soak;
mod top;
mod tree;
