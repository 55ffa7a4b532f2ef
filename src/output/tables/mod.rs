//! Tables of functions and of their lines, as text or as CSV.

pub mod csv;
pub mod functions;
pub mod lines;
pub mod view;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod roots_tests;
#[cfg(test)]
mod tests;
