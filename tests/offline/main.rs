//! What needs no Python, no root and no network, and takes less than a minute: `cargo test-offline`.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use test_support as support;

mod bounded;
mod cli;
mod golden;
mod known_stacks;
mod layers;
mod mutated_tapes;
mod tapes;
