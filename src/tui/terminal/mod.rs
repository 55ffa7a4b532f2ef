//! The terminal: raw mode, keys, resizing, Ctrl-Z.

pub mod input;
pub mod screen;
pub mod suspend;
pub mod term;
