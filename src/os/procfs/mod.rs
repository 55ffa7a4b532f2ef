//! The files of `/proc/PID` and of cgroups: one parser each.

pub mod cgroup;
pub mod maps;
pub mod mm_layout;
pub mod mounts;
pub mod pagemap;
pub mod paths;
pub mod read;
pub mod schedstat;
pub mod smaps;
pub mod stat;
pub mod statm;
pub mod status;
pub mod suspicion;
pub mod tasks;
