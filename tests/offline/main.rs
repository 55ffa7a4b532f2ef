//! What needs no Python, no root and no network, and takes less than a minute: `cargo test-offline`.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use pyspy_rs::{
    Frame, FrameId, FrameTable, Pid, ProcessSample, RssChange, Sample, StackTrace, ThreadInfo, Tid,
};
use test_support as support;

#[path = "../../src/testing.rs"]
mod testing;

mod bounded;
mod bpf_program;
mod cli;
mod from_py_spy;
mod golden;
mod known_stacks;
mod layers;
mod mutated_tapes;
mod tapes;
