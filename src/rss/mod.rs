//! Resident memory over time: curves, the leak verdict, and whose growth it was. Pure: reads no process.

pub mod attribution;
pub mod leak;
pub mod process_series;
pub mod series;
