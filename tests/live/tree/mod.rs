//! Processes that fork, run other programs and end, and their trees.

mod children;
mod exec;
mod recordings;
mod vfork;
