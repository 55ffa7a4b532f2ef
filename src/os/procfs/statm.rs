//! [`RssReader`] and [`Memory`]: the resident memory of a process.

use std::fs::File;
use std::io;

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

    /// Resident memory in bytes. The kernel counts per CPU and sums up lazily, so this can be off
    /// by some pages (64 per CPU at most).
    ///
    /// # Errors
    /// `NotFound` when the process has ended, a zombie included.
    pub fn rss_bytes(&self) -> io::Result<u64> {
        // Seven numbers of at most 20 digits.
        let mut line = [0u8; 160];
        let line = reread(&self.statm, &mut line)?;
        let numbers = std::str::from_utf8(line).ok().and_then(|line| {
            // The first number is the size of the address space, 0 once the process has released
            // it; the second counts resident pages (proc_pid_statm(5)).
            let mut words = line.split_ascii_whitespace();
            let size: u64 = words.next()?.parse().ok()?;
            let resident: u64 = words.next()?.parse().ok()?;
            Some((size, resident))
        });
        match numbers {
            Some((0, _)) => Err(io::ErrorKind::NotFound.into()),
            Some((_, pages)) => Ok(pages.saturating_mul(self.page_size)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
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
