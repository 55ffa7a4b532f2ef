//! Text from outside made safe to print, and numbers made readable. Imports nothing of this crate.

pub mod align;
pub mod escape;
pub mod sanitize;
pub mod secrets;
pub mod units;
