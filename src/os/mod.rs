//! A process as Linux shows it: memory, mappings, ELF files, threads, RSS. Nothing here knows
//! Python.

pub mod bpf;
pub mod container;
pub mod core_file;
pub mod deadline;
pub mod diagnose;
pub mod elf;
pub mod expendable;
pub mod forked;
pub mod hold;
pub mod memory;
pub mod memory_budget;
pub mod own_children;
pub mod permission;
pub mod process;
pub mod procfs;
pub mod ptrace;
pub mod thread;
pub mod work_budget;

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
pub fn ticks_per_second() -> u64 {
    sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

fn sysconf(name: nix::unistd::SysconfVar) -> Option<u64> {
    u64::try_from(nix::unistd::sysconf(name).ok()??).ok()
}

#[cfg(test)]
mod test_support;
