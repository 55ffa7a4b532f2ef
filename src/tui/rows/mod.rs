//! The rows of the live table and what is counted for them.

pub mod counter;
pub mod growth;
pub mod row;
