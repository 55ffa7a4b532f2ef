//! What is reported of a program's memory: how much there is, by which stacks it was added, how it goes on.

mod claims;
mod details;
pub mod growth;
mod live;
mod timeline;
