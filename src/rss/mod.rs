//! Resident memory over time: series, the leak verdict, and the attribution of growth to stacks. Pure:
//! reads no process.

pub mod attribution;
pub mod leak;
pub mod process_series;
pub mod series;
pub mod thinned;
