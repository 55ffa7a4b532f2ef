//! From a thread state to its frames, and whether they are consistent.

pub mod copy;
pub mod data_stack;
pub mod evidence;
pub mod frame_cache;
pub mod trace;
pub mod walk;
