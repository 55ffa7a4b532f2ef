//! What is said of a program's memory: how much there is, whose it is, how it goes on.
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

mod claims;
mod details;
mod growth;
mod live;
mod timeline;
