//! What a dump and the doctor show of programs of every kind, wherever the interpreter hides, live or in a core file.
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

mod attach;
mod attach_odd;
mod attach_stripped;
mod code_counters;
mod containers;
mod core;
mod debug_builds;
mod doctor;
mod doctor_refusals;
mod embedded;
mod free_threaded;
mod frozen;
mod hostile_memory;
mod known_stacks;
mod locals;
mod objects;
mod permissions;
mod stacks;
mod tapes;
mod threads;
mod variants;
