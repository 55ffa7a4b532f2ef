//! What is recorded of programs of every kind, and how a recording starts and ends.
//!
//! One program, as each takes its time to build and to look for interpreters, and at its end waits for
//! its last test.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../support/mod.rs"]
mod support;

mod children;
mod churn;
mod concurrency;
mod exec;
mod harmless;
mod launch;
mod nonblocking;
mod process_trees;
mod record;
mod record_pid;
mod sampling;
mod signals;
mod tables;
mod top;
mod weights;
