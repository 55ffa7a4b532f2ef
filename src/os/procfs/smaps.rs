//! [`MemoryFootprint`]: PSS, USS and swap of a process, from `/proc/PID/smaps_rollup`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::suspicion::read_answering;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::expendable;

/// A rollup has one line for each of about 25 sums.
const MAX_ROLLUP: u64 = 1 << 14;
/// The time for reading it: enough for some hundred GiB.
const ROLLUP_LIMIT: Duration = Duration::from_secs(3);

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
    /// Freed by `MADV_FREE` and still resident, in bytes: the kernel takes such pages when it needs to.
    pub lazy_free_bytes: u64,
    /// Written pages that are mapped by no other process, in bytes.
    pub private_dirty_bytes: u64,
    /// Written pages that other processes map, too, in bytes: those of before a fork, and shared memory.
    pub shared_dirty_bytes: u64,
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
        let text = read_answering(pid, "smaps_rollup", MAX_ROLLUP, ROLLUP_LIMIT)?;
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
                    if key == "Private_Dirty" {
                        footprint.private_dirty_bytes = bytes()?;
                    }
                }
                "Shared_Dirty" => footprint.shared_dirty_bytes = bytes()?,
                "LazyFree" => footprint.lazy_free_bytes = bytes()?,
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

/// Cap on the file, in bytes: some 25 lines for each mapping.
const MAX_SMAPS: u64 = 256 << 20;

/// The mappings whose page faults a userfaultfd serves, as (first address, first address after it): those with
/// one of the `VmFlags` `um` (missing pages), `uw` (write-protected) and `ui` (minor faults), see
/// fs/proc/task_mmu.c.
///
/// The kernel visits every resident page for this file, which takes some ten milliseconds per GiB, so it is
/// read only with a reason. It is read by the expendable child, as `maps` is.
///
/// # Errors
/// When there is no such process, or no reply by the deadline.
pub fn userfault_ranges(pid: Pid, deadline: Deadline) -> io::Result<Vec<(u64, u64)>> {
    let path = PathBuf::from(format!("/proc/{pid}/smaps"));
    Ok(parse_userfault(&expendable::read_file(
        &path, MAX_SMAPS, deadline,
    )??))
}

fn parse_userfault(text: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut range = None;
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            let mut flags = flags.split(|&byte| byte == b' ');
            if flags.any(|flag| [&b"um"[..], b"uw", b"ui"].contains(&flag)) {
                found.extend(range);
            }
        } else if let Some(header) = parse_range(line) {
            range = Some(header);
        }
    }
    found
}

/// The addresses at the start of a line such as `7f00-7f10 r--p ...`.
fn parse_range(line: &[u8]) -> Option<(u64, u64)> {
    let range = std::str::from_utf8(line.split(|&byte| byte == b' ').next()?).ok()?;
    let (start, end) = range.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    Some((parse(start)?, parse(end)?))
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
            Shared_Dirty:         24 kB\nLazyFree:             16 kB\nPrivate_Hugetlb:    2048 kB\nSwap:                  8 kB\nSwapPss:               4 kB\n";
        assert_eq!(
            MemoryFootprint::parse(text),
            Some(MemoryFootprint {
                pss_bytes: 220 << 10,
                uss_bytes: 152 << 10,
                swap_bytes: 8 << 10,
                lazy_free_bytes: 16 << 10,
                private_dirty_bytes: 112 << 10,
                shared_dirty_bytes: 24 << 10,
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

    #[test]
    fn ranges_of_a_userfaultfd_are_found_by_their_flags() {
        let text = b"7f00-7f10 rw-p 00000000 00:00 0 \nSize: 4 kB\nVmFlags: rd wr mr mw me um \n\
            7f10-7f20 rw-p 00000000 00:00 0 [um]\nVmFlags: rd wr mr\n\
            7f20-7f30 rw-p 00000000 00:00 0\nVmFlags: rd uw\n\
            7f30-7f40 rw-p 00000000 00:00 0\nVmFlags: ui\nVmFlags:";
        let expected = [(0x7f00, 0x7f10), (0x7f20, 0x7f30), (0x7f30, 0x7f40)];
        assert_eq!(parse_userfault(text), expected);
        assert_eq!(parse_userfault(b"VmFlags: um\n-\n-1-2 \n"), []);
    }
}
