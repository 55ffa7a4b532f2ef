//! [`PageMap`]: what the pages of a process are.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use nix::libc;

use crate::os::{Pid, page_size};

/// What a virtual page is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Nothing that is resident: it was released, or is swapped out, or is the page of zeros that all share.
    Absent,
    Anonymous,
    /// Of a file or of shared memory.
    File,
    /// Part of an anonymous huge page.
    Huge,
}

/// Tells what the pages of a process are, by `/proc/PID/pagemap`.
#[derive(Debug)]
pub struct PageMap {
    pagemap: File,
    page_size: u64,
    /// Whether the kernel has `PAGEMAP_SCAN` (Linux 6.7).
    can_scan: bool,
}

impl PageMap {
    /// # Errors
    /// When the file cannot be opened: the process has ended, or may not be traced.
    pub fn open(pid: Pid) -> io::Result<PageMap> {
        Ok(PageMap {
            pagemap: File::open(format!("/proc/{pid}/pagemap"))?,
            page_size: page_size(),
            can_scan: true,
        })
    }

    /// What the page with this number is: its address, divided by the size of a page. Before Linux 6.7 huge pages and the page of zeros are only anonymous.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn kind(&mut self, page: u64) -> io::Result<PageKind> {
        if self.can_scan {
            match scan(
                &self.pagemap,
                page.saturating_mul(self.page_size),
                self.page_size,
            ) {
                Ok(kind) => return Ok(kind),
                Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => self.can_scan = false,
                Err(error) => return Err(error),
            }
        }
        let mut entry = [0; 8];
        self.pagemap
            .read_exact_at(&mut entry, page.saturating_mul(8))?;
        Ok(kind_of_entry(u64::from_le_bytes(entry)))
    }
}

/// By the bits of Documentation/admin-guide/mm/pagemap.rst.
fn kind_of_entry(entry: u64) -> PageKind {
    const PRESENT: u64 = 1 << 63;
    const FILE_OR_SHARED: u64 = 1 << 61;
    match entry {
        _ if entry & PRESENT == 0 => PageKind::Absent,
        _ if entry & FILE_OR_SHARED != 0 => PageKind::File,
        _ => PageKind::Anonymous,
    }
}

/// `struct pm_scan_arg` of include/uapi/linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ScanArgs {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of the same.
#[repr(C)]
#[derive(Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
const PAGE_IS_HUGE: u64 = 1 << 6;

/// What the page at `start` is, by `PAGEMAP_SCAN`.
fn scan(pagemap: &File, start: u64, page_size: u64) -> io::Result<PageKind> {
    let mut region = Region::default();
    let mut args = ScanArgs {
        size: size_of::<ScanArgs>() as u64,
        start,
        end: start.saturating_add(page_size),
        vec: &raw mut region as u64,
        vec_len: 1,
        category_mask: PAGE_IS_PRESENT,
        return_mask: PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_PFNZERO | PAGE_IS_HUGE,
        ..ScanArgs::default()
    };
    let request = libc::_IOWR::<ScanArgs>(u32::from(b'f'), 16);
    // SAFETY: the request takes a pointer to these arguments, which name their size, and writes at most one region,
    // to `region`; both live until it returns.
    let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), request, &raw mut args) };
    if found < 0 {
        return Err(io::Error::last_os_error());
    }
    let is = |category: u64| region.categories & category != 0;
    Ok(match () {
        () if found == 0 || !is(PAGE_IS_PRESENT) || is(PAGE_IS_PFNZERO) => PageKind::Absent,
        () if is(PAGE_IS_FILE) => PageKind::File,
        () if is(PAGE_IS_HUGE) => PageKind::Huge,
        () => PageKind::Anonymous,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    fn own() -> PageMap {
        PageMap::open(std::process::id().cast_signed()).unwrap()
    }

    /// The kinds by both ways to ask for them.
    fn kinds(addr: u64) -> [PageKind; 2] {
        let mut without_scan = PageMap {
            can_scan: false,
            ..own()
        };
        [
            own().kind(addr / page_size()).unwrap(),
            without_scan.kind(addr / page_size()).unwrap(),
        ]
    }

    #[test]
    fn written_mapped_and_missing_pages_are_told_apart() {
        let memory = memmap2::MmapOptions::new().len(1 << 16).map_anon();
        let mut memory = memory.unwrap();
        let addr = |memory: &[u8]| memory.as_ptr() as u64;
        assert_eq!(kinds(addr(&memory)), [PageKind::Absent; 2]);
        memory[0] = 1;
        assert_eq!(kinds(addr(&memory)), [PageKind::Anonymous; 2]);
        let code = kinds as *const () as u64;
        assert_eq!(kinds(code), [PageKind::File; 2]);
        assert_eq!(kinds(0), [PageKind::Absent; 2]);
    }

    #[test]
    fn the_page_of_zeros_is_nobodys() {
        let memory = memmap2::MmapOptions::new().len(1 << 16).map_anon();
        let memory = memory.unwrap();
        assert_eq!(std::hint::black_box(memory[0]), 0);
        let mut own = own();
        let kind = own.kind(memory.as_ptr() as u64 / page_size()).unwrap();
        let expected = match own.can_scan {
            true => PageKind::Absent,
            false => PageKind::Anonymous,
        };
        assert_eq!(kind, expected);
    }
}
