//! One run from attach to file: what a command does, without clap.

pub mod advice;
pub mod attach;
pub mod errors;
pub mod launch;
pub mod options;
pub mod signals;
pub mod sources;
