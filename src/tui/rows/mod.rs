//! The rows of the live views.

pub mod counter;
pub mod row;
