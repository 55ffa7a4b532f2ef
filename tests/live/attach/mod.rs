//! What can be attached to: processes, builds and containers of every kind, and as which user.

mod containers;
mod control_groups;
mod debug_builds;
mod embedded;
mod free_threaded;
mod frozen;
mod hostile_files;
mod odd;
mod permissions;
mod processes;
mod stripped;
