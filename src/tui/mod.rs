//! The live views: a table of the functions that use time (`top`), and a plot of memory (`memory`).
//!
//! [`app::run`] samples on the calling thread, because only the thread that attached to the target may
//! pause it. A second thread owns the terminal. They exchange [snapshots](model::Model::Snapshot), so that
//! a slow terminal never delays a sample. Where stdout is no terminal, [`plain::print`] prints frames of text.

pub mod app;
pub mod cells;
pub mod memory;
pub mod model;
pub mod plain;
pub mod rows;
pub mod terminal;
pub mod top;
