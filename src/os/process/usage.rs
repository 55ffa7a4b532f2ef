//! Resource usage of a process beyond the RSS in every sample, for occasional reads.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::TargetProcess;
use crate::os::Pid;
use crate::os::procfs::cgroup::memory::MemoryLimit;
use crate::os::procfs::read::read_capped;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::statm::Memory;

/// Cap on the open files counted one by one.
const MAX_OPEN_FILES: usize = 1 << 20;
/// Cap on the list of limits, in bytes: sixteen lines of 80.
const MAX_LIMITS: u64 = 1 << 14;

/// Page fault counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFaults {
    /// Without I/O, usually the first access to memory.
    pub minor: u64,
    /// With I/O: pages of a file, or swapped ones.
    pub major: u64,
}

impl TargetProcess {
    /// Resident and swapped memory, the peak, and the number of threads.
    pub fn memory_usage(&self) -> io::Result<Memory> {
        Memory::read(self.view)
    }

    /// PSS and USS; takes some ten milliseconds per GiB, see [`MemoryFootprint::read`].
    pub fn memory_footprint(&self) -> io::Result<MemoryFootprint> {
        MemoryFootprint::read(self.view)
    }

    /// Page faults since the start, including those of threads that have ended.
    ///
    /// # Errors
    /// When it has ended and was reaped.
    pub fn page_faults(&self) -> io::Result<PageFaults> {
        ProcStat::of_process(self.pid).map(|stat| PageFaults {
            minor: stat.minor_faults,
            major: stat.major_faults,
        })
    }

    /// The number of open file descriptors.
    pub fn open_files(&self) -> io::Result<u64> {
        let directory = format!("/proc/{}/fd", self.view);
        // On Linux 6.2+ the size of this directory is the number.
        match fs::metadata(&directory)?.size() {
            0 => Ok(fs::read_dir(&directory)?.take(MAX_OPEN_FILES).count() as u64),
            count => Ok(count),
        }
    }

    /// The limit on open descriptors (`ulimit -n`); `None` when there is none, or it is unknown.
    pub fn max_open_files(&self) -> Option<u64> {
        max_open_files(self.view)
    }

    /// The tightest memory limit of its control groups; `None` when there is none that we can see.
    pub fn memory_limit(&self) -> Option<MemoryLimit> {
        MemoryLimit::of_process(self.view)
    }
}

fn max_open_files(pid: Pid) -> Option<u64> {
    let text = read_capped(format!("/proc/{pid}/limits"), MAX_LIMITS).ok()?;
    let text = std::str::from_utf8(&text).ok()?;
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
        // Tests running in parallel open and close files, but not this many.
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
        // With huge pages this would be 16, but most systems do not use them for such an
        // allocation.
        assert!(after.minor > before.minor + 8, "{before:?} {after:?}");
        assert!(own.memory_footprint().unwrap().uss_bytes >= touched.len() as u64);
        assert!(own.memory_usage().unwrap().rss_bytes >= touched.len() as u64);
    }
}
