//! The live plot of memory.

pub mod sparkline;
pub mod state;
pub mod view;
