//! Why a process can or cannot be read: facts about it and about us, for `doctor` and for error messages.

pub mod facts;
pub mod probe;
pub mod stopped;
