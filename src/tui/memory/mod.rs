//! The live view of memory.

pub mod sparkline;
pub mod state;
pub mod view;
