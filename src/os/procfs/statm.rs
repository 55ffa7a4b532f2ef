//! [`RssReader`], [`Resident`] and [`Memory`]: the resident memory of a process.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use memmap2::MmapOptions;
use nix::unistd::{SysconfVar, sysconf};

use super::read::reread;
use super::status::Status;
use crate::os::{Pid, page_size};

/// Reads the resident set size repeatedly through an open descriptor: one system call per read.
#[derive(Debug)]
pub struct RssReader {
    statm: File,
    page_size: u64,
}

impl RssReader {
    pub fn open(pid: Pid) -> io::Result<RssReader> {
        Ok(RssReader {
            statm: File::open(format!("/proc/{pid}/statm"))?,
            page_size: page_size(),
        })
    }

    /// Resident memory in bytes, see [`RssReader::resident`].
    ///
    /// # Errors
    /// `NotFound` when the process has ended, a zombie included.
    pub fn rss_bytes(&self) -> io::Result<u64> {
        self.resident().map(|resident| resident.rss_bytes)
    }

    /// Resident memory. The kernel counts per CPU and sums up lazily, so this can be off by some pages, see
    /// [`counter_lag`].
    ///
    /// # Errors
    /// `NotFound` when the process has ended, a zombie included.
    pub fn resident(&self) -> io::Result<Resident> {
        // Seven numbers of at most 20 digits.
        let mut line = [0u8; 160];
        let line = reread(&self.statm, &mut line)?;
        let numbers = std::str::from_utf8(line).ok().and_then(|line| {
            // The first number is the size of the address space, 0 once the process has released it; the second
            // counts resident pages, the third those of files and of shared memory (proc_pid_statm(5)).
            let mut words = line.split_ascii_whitespace().map(str::parse::<u64>);
            let mut next = || words.next()?.ok();
            Some([next()?, next()?, next()?])
        });
        let bytes = |pages: u64| pages.saturating_mul(self.page_size);
        match numbers {
            Some([0, ..]) => Err(io::ErrorKind::NotFound.into()),
            Some([_, all, file]) => Ok(Resident {
                rss_bytes: bytes(all),
                file_bytes: bytes(file),
            }),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// By how many bytes the kernel's counters of resident memory may be behind what a process has, if its threads run on a
/// few CPUs: each of these may have so many pages that are not summed up (`percpu_counter_batch` of lib/percpu_counter.c;
/// up to Linux 6.1, `TASK_RSS_EVENTS_THRESH` of mm/memory.c). 0 where they are summed up when they are read (Linux 6.17).
pub fn counter_lag() -> u64 {
    const FEW: u64 = 4;
    static LAG: OnceLock<u64> = OnceLock::new();
    *LAG.get_or_init(|| {
        if are_counters_exact().unwrap_or(false) {
            return 0;
        }
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        let online = online.and_then(|count| u64::try_from(count).ok());
        let online = online.unwrap_or(1);
        let pages = online.saturating_mul(2).max(64);
        pages
            .saturating_mul(online.min(FEW))
            .saturating_mul(page_size())
    })
}

/// Whether one page more shows in our own memory. Counters that lag show none, or many.
fn are_counters_exact() -> Option<bool> {
    const TRIES: usize = 8;
    let own = RssReader::open(std::process::id().cast_signed()).ok()?;
    let page = usize::try_from(page_size()).ok()?;
    let memory = MmapOptions::new().len(TRIES * page).map_anon();
    let mut memory = memory.ok()?;
    let mut shows = |at: usize| {
        let before = own.rss_bytes().ok()?;
        *memory.get_mut(at * page)? = 1;
        Some(own.rss_bytes().ok()? == before + page_size())
    };
    // Other threads of ours may release something at the same time.
    Some((0..TRIES).filter_map(&mut shows).any(|shows| shows))
}

/// The resident memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it, in bytes.
    pub rss_bytes: u64,
    /// The part that is pages of mapped files and of shared memory, in bytes.
    pub file_bytes: u64,
}

impl Resident {
    /// The part that is of no file, in bytes.
    pub fn anonymous_bytes(self) -> u64 {
        self.rss_bytes.saturating_sub(self.file_bytes)
    }
}

/// Memory of a process, and its number of threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now, in bytes.
    pub rss_bytes: u64,
    /// The peak of the resident memory, in bytes.
    pub peak_rss_bytes: u64,
    /// Of mapped files, in bytes, without shared memory; `None` when the kernel (before 4.5) does not count it.
    pub file_bytes: Option<u64>,
    /// Of shared memory, in bytes; `None` as above.
    pub shmem_bytes: Option<u64>,
    /// Swapped out, in bytes; `None` when the kernel does not count it.
    pub swap_bytes: Option<u64>,
    pub threads: u64,
}

impl Memory {
    /// Read from `/proc/PID/status`. For a series use [`RssReader`], which is cheaper.
    ///
    /// # Errors
    /// When there is no such process, or it has no memory (a zombie, a kernel thread).
    pub fn read(pid: Pid) -> io::Result<Memory> {
        let status = Status::of_process(pid)?;
        let rss_bytes = status
            .rss_bytes
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Memory {
            rss_bytes,
            // The kernel counts the two separately, so they can differ by some pages.
            peak_rss_bytes: status.peak_rss_bytes.unwrap_or(0).max(rss_bytes),
            file_bytes: status.file_bytes,
            shmem_bytes: status.shmem_bytes,
            swap_bytes: status.swap_bytes,
            threads: status.threads.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;

    #[test]
    fn rss_grows_with_touched_memory_and_ends_with_the_process() {
        let own = RssReader::open(std::process::id().cast_signed()).unwrap();
        // Tests running in parallel in this process free memory, too: 30 MiB in between were seen. They do not
        // do so every time.
        let grows = || {
            let before = own.rss_bytes().unwrap();
            let touched = std::hint::black_box(vec![1u8; 32 << 20]);
            let after = own.rss_bytes().unwrap();
            (after > before + (16 << 20)).then_some(touched)
        };
        let touched = (0..100).find_map(|_| grows());
        assert!(touched.is_some());
        let memory = Memory::read(std::process::id().cast_signed()).unwrap();
        assert!(memory.peak_rss_bytes >= memory.rss_bytes && memory.rss_bytes > 16 << 20);
        assert!(memory.threads >= 1);
        drop(touched);

        let mut cat = Cat::start(&mut std::process::Command::new("cat"));
        let pid = cat.pid();
        let rss = RssReader::open(pid).unwrap();
        assert!(rss.rss_bytes().unwrap() > 0);
        cat.0.kill().unwrap();
        while rss.rss_bytes().is_ok() {}
        assert_eq!(rss.rss_bytes().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(Memory::read(pid).is_err());
        drop(cat);
        assert_eq!(rss.rss_bytes().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
