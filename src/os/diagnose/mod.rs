//! Why a process can or cannot be read: facts about it and about us, for `doctor` and for errors.

pub mod facts;
pub mod probe;
pub mod stopped;
