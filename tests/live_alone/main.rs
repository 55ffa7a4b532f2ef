//! What attaches to running programs and must have the CPUs, or its process, for itself: shares of time,
//! and memory that is used.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use test_support as support;

mod accuracy;
mod core_changed;
mod py_spy_suite;
mod split;
