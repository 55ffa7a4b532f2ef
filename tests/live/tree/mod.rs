//! Processes that fork, run other programs and end, and their trees.

mod children;
mod exec;
mod recordings;
mod slow_examination;
mod vfork;
