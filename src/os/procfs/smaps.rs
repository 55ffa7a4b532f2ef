//! [`MemoryFootprint`]: PSS, USS and swap of a process, from `/proc/PID/smaps_rollup`.

use std::io;

use super::read::read_capped;
use crate::os::Pid;

/// A rollup has one line for each of about 25 sums.
const MAX_ROLLUP: u64 = 1 << 14;

/// Parts of the resident memory, as defined by proc_pid_smaps(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFootprint {
    /// PSS in bytes: private pages, and 1/N of each page shared by N processes.
    pub pss_bytes: u64,
    /// USS in bytes: pages mapped by no other process, which its exit would free. Without those of
    /// hugetlbfs, which RSS and PSS do not count either.
    pub uss_bytes: u64,
    /// Anonymous memory that is swapped out, in bytes.
    pub swap_bytes: u64,
}

impl MemoryFootprint {
    /// For this the kernel visits every resident page, which takes some ten milliseconds per GiB,
    /// and holds the memory map's lock against changes (Linux 5.10+ lets other users in between).
    /// So read it at most once per second, not per sample.
    ///
    /// # Errors
    /// `NotFound` when there is no such process, or the kernel (before 4.14) has no such file;
    /// `InvalidData` for a process without memory, or a file that is not as documented.
    pub fn read(pid: Pid) -> io::Result<MemoryFootprint> {
        let text = read_capped(format!("/proc/{pid}/smaps_rollup"), MAX_ROLLUP)?;
        let text = String::from_utf8_lossy(&text);
        MemoryFootprint::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(text: &str) -> Option<MemoryFootprint> {
        let mut footprint = MemoryFootprint::default();
        let mut pss = None;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let Some(kilobytes) = value.split_ascii_whitespace().next() else {
                continue;
            };
            let bytes = || Some(kilobytes.parse::<u64>().ok()?.saturating_mul(1024));
            match key {
                "Pss" => pss = Some(bytes()?),
                "Private_Clean" | "Private_Dirty" => {
                    footprint.uss_bytes = footprint.uss_bytes.saturating_add(bytes()?);
                }
                "Swap" => footprint.swap_bytes = bytes()?,
                _ => {}
            }
        }
        Some(MemoryFootprint {
            pss_bytes: pss?,
            ..footprint
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn sums_are_parsed() {
        let text = "5560d0d55000-7ffc4e743000 ---p 00000000 00:00 0      [rollup]\n\
            Rss:                1760 kB\nPss:                 220 kB\nPss_Dirty:           112 kB\n\
            Shared_Clean:       1608 kB\nPrivate_Clean:        40 kB\nPrivate_Dirty:       112 kB\n\
            Private_Hugetlb:    2048 kB\nSwap:                  8 kB\nSwapPss:               4 kB\n";
        assert_eq!(
            MemoryFootprint::parse(text),
            Some(MemoryFootprint {
                pss_bytes: 220 << 10,
                uss_bytes: 152 << 10,
                swap_bytes: 8 << 10,
            })
        );
        assert_eq!(MemoryFootprint::parse(""), None);
        assert_eq!(MemoryFootprint::parse("Pss: many kB\n"), None);
        let huge = format!(
            "Pss: {0} kB\nPrivate_Dirty: {0} kB\nPrivate_Clean: {0} kB\n",
            u64::MAX
        );
        assert_eq!(MemoryFootprint::parse(&huge).unwrap().uss_bytes, u64::MAX);
    }

    #[test]
    fn touched_memory_counts_as_private() {
        let own = std::process::id().cast_signed();
        let touched = std::hint::black_box(vec![1u8; 32 << 20]);
        let footprint = MemoryFootprint::read(own).unwrap();
        assert!(footprint.uss_bytes >= 32 << 20, "{footprint:?}");
        assert!(footprint.pss_bytes >= footprint.uss_bytes, "{footprint:?}");
        drop(touched);
        assert_eq!(
            MemoryFootprint::read(0).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
