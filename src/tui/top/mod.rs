//! The live view of functions.

pub mod help;
pub mod state;
pub mod view;
