//! What a process uses, beyond the RSS of every sample: for a look now and then.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use super::TargetProcess;
use crate::os::Pid;
use crate::os::procfs::cgroup::MemoryLimit;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::statm::Memory;

/// The most open files that are counted one by one.
const MAX_OPEN_FILES: usize = 1 << 20;
/// Of the list of limits, in bytes: sixteen lines of 80.
const MAX_LIMITS: u64 = 1 << 14;

/// How often memory had to be brought in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFaults {
    /// Without a disk: memory that is touched for the first time, mostly.
    pub minor: u64,
    /// From a disk: a file's pages, or swapped ones.
    pub major: u64,
}

impl TargetProcess {
    /// Its resident and swapped memory, the peak, and its number of threads.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory_usage(&self) -> io::Result<Memory> {
        Memory::read(self.view)
    }

    /// How much of its memory is its own: some ten milliseconds for each GiB, see [`MemoryFootprint::read`].
    ///
    /// # Errors
    /// When it has ended, or the kernel (before 4.14) does not tell.
    pub fn memory_shares(&self) -> io::Result<MemoryFootprint> {
        MemoryFootprint::read(self.view)
    }

    /// Its page faults since it started, those of threads that have ended too.
    ///
    /// # Errors
    /// When it has ended and was collected.
    pub fn page_faults(&self) -> io::Result<PageFaults> {
        ProcStat::of_process(self.pid).map(|stat| PageFaults {
            minor: stat.minor_faults,
            major: stat.major_faults,
        })
    }

    /// How many file descriptors it has open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn open_files(&self) -> io::Result<u64> {
        let folder = format!("/proc/{}/fd", self.view);
        // From Linux 6.2 on this folder's size is their number.
        match fs::metadata(&folder)?.size() {
            0 => Ok(fs::read_dir(&folder)?.take(MAX_OPEN_FILES).count() as u64),
            count => Ok(count),
        }
    }

    /// How many it may have open (`ulimit -n`); `None` when there is no limit, or it is unknown.
    pub fn max_open_files(&self) -> Option<u64> {
        max_open_files(self.view)
    }

    /// The tightest limit that its control groups set to its memory; `None` when there is none to be
    /// seen.
    pub fn memory_limit(&self) -> Option<MemoryLimit> {
        MemoryLimit::of_process(self.view)
    }
}

fn max_open_files(pid: Pid) -> Option<u64> {
    let mut text = String::new();
    fs::File::open(format!("/proc/{pid}/limits"))
        .and_then(|file| file.take(MAX_LIMITS).read_to_string(&mut text))
        .ok()?;
    // The soft limit comes first (proc_pid_limits(5)).
    text.lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|limits| limits.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn our_own_usage() {
        let own = TargetProcess::open(std::process::id().cast_signed()).unwrap();
        let before = own.open_files().unwrap();
        // Other tests open and close files meanwhile, but not this many.
        let files: Vec<_> = (0..300)
            .map(|_| fs::File::open("/proc/self/stat").unwrap())
            .collect();
        let after = own.open_files().unwrap();
        assert!(after > before + 150, "{before} {after}");
        assert!(own.max_open_files().is_none_or(|max| max >= after));
        drop(files);

        let before = own.page_faults().unwrap();
        let touched = std::hint::black_box(vec![1u8; 32 << 20]);
        let after = own.page_faults().unwrap();
        // Huge pages would take 16; they are not for a vector of one's own in most systems.
        assert!(after.minor > before.minor + 8, "{before:?} {after:?}");
        assert!(own.memory_shares().unwrap().uss_bytes >= touched.len() as u64);
        assert!(own.memory_usage().unwrap().rss_bytes >= touched.len() as u64);
    }
}
