//! A run from attach to file, independent of the command line.

pub mod advice;
pub mod attach;
pub mod errors;
pub mod files;
pub mod job_control;
pub mod launch;
pub mod options;
pub mod program_output;
pub mod recording;
pub mod run;
pub mod signals;
pub mod sources;
