//! A process as the operating system shows it: memory, mappings, ELF files, threads, RSS. Nothing
//! here knows Python.

pub mod activity;
pub mod address;
pub mod cgroup;
pub mod container;
mod descriptors;
pub mod elf;
pub mod faults;
pub mod file_view;
pub mod files;
pub mod launch;
pub mod live;
pub mod maps;
pub mod memory;
pub mod pause;
pub mod permission;
pub mod priority;
pub mod process;
pub mod processes;
pub mod read_ahead;
mod restart;
pub mod rss;
pub mod smaps;
pub mod stat;
pub mod status;
pub mod tape;
#[cfg(test)]
mod test_support;
pub mod threads;
mod wait;

pub use activity::{Activity, ActivityReader, RunCount};
pub use address::RemoteAddr;
pub use cgroup::MemoryLimit;
pub use elf::{ElfError, ElfFile, VirtualRange};
pub use faults::FaultReader;
pub use file_view::{Contents, FileView};
pub use launch::{Exit, LaunchError, Launched};
pub use live::LiveMemory;
pub use maps::{Image, Mapping, images};
pub use memory::{MemoryError, RemoteMemory};
pub use pause::{NotPaused, PauseError, PauseGuard};
pub use permission::PermissionProblem;
pub use priority::Urgent;
pub use process::{Child, OpenError, PageFaults, TargetProcess};
pub use processes::{ProcessSummary, all_processes};
pub use read_ahead::{Ahead, ReadAhead, Shape};
pub use rss::{Memory, RssReader};
pub use smaps::Shares;
pub use tape::{RecordingMemory, Tape, TapeError};
pub use threads::RunState;

/// A process id, in our own PID namespace.
pub type Pid = i32;
/// An OS thread id, in our own PID namespace.
pub type Tid = i32;

/// The system's page size in bytes, a power of two.
pub fn page_size() -> u64 {
    sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .filter(|size| size.is_power_of_two())
        .unwrap_or(4096)
}

/// Clock ticks per second, the unit of times in `/proc/PID/stat`.
pub(crate) fn ticks_per_second() -> u64 {
    sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

fn sysconf(name: nix::unistd::SysconfVar) -> Option<u64> {
    u64::try_from(nix::unistd::sysconf(name).ok()??).ok()
}

/// A text from outside with its control characters replaced, so that it can be put on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
