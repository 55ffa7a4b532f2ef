//! [`LiveMemory`]: the memory of a running process, through one open descriptor.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};

use super::address::RemoteAddr;
use super::suspect::SuspectMemory;
use super::{MemoryError, RemoteMemory};
use crate::os::Pid;
use crate::os::hold::Reading;
use crate::os::procfs::stat::ProcStat;

/// Cap on the parts of one vectored call: the kernel refuses more than `UIO_MAXIOV` (1024).
const MAX_PARTS: usize = 1024;
/// Calls with up to this many parts need no allocation.
const FEW_PARTS: usize = 16;

/// Readable memory of a live process.
///
/// It is bound to the program that was executing when it was opened. After the process has ended,
/// reads fail with `ESRCH` ([`MemoryError::process_is_gone`]); after an exec they fail with
/// `ESTALE` ([`MemoryError::program_is_replaced`]), and the process must be opened again.
#[derive(Debug)]
pub struct LiveMemory {
    pid: Pid,
    /// `/proc/PID/mem`, or `None` where only `process_vm_readv` is permitted.
    mem: Option<File>,
    /// The start time, which distinguishes the process from a later one with the same pid.
    start_ticks: Option<u64>,
    /// Cleared for good when the system refuses `process_vm_readv`, as some sandboxes do.
    vectored: AtomicBool,
    /// What may block whoever reads it.
    suspects: Arc<SuspectMemory>,
}

impl LiveMemory {
    /// # Errors
    /// `PermissionDenied` when we may not read it, `ESRCH` or `NotFound` when there is no such
    /// process or it has no memory.
    pub fn open(pid: Pid) -> io::Result<LiveMemory> {
        let mem = match File::open(format!("/proc/{pid}/mem")) {
            Ok(mem) => Some(mem),
            Err(_) if may_read_vectored(pid) => None,
            Err(error) => return Err(error),
        };
        Ok(LiveMemory {
            pid,
            mem,
            start_ticks: ProcStat::of_process(pid).ok().map(|stat| stat.start_ticks),
            vectored: AtomicBool::new(true),
            suspects: Arc::default(),
        })
    }

    /// The thread through whose /proc entry it is read.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The memory that may block whoever reads it.
    pub fn suspects(&self) -> &Arc<SuspectMemory> {
        &self.suspects
    }

    /// Whether the program that was opened is gone: its process has ended or executed another.
    /// Reads by pid may find the memory of another program at the same addresses, so this must be
    /// checked. One system call; `false` where it is not known.
    pub fn is_closed(&self) -> bool {
        // No process has the first page mapped, but without any memory the read returns 0 instead
        // of an error.
        let read = self.mem.as_ref().map(|mem| mem.read_at(&mut [0], 0));
        matches!(read, Some(Ok(0)))
    }

    /// One attempt to read at `addr`: the number of bytes read, possibly too few.
    fn read_some(&self, addr: RemoteAddr, buf: &mut [u8]) -> io::Result<usize> {
        let _watched = Reading::begin(self.pid);
        if let Some(mem) = &self.mem {
            return mem.read_at(buf, addr.0);
        }
        let remote = RemoteIoVec {
            base: to_usize(addr)?,
            len: buf.len(),
        };
        let pid = nix::unistd::Pid::from_raw(self.pid);
        Ok(process_vm_readv(
            pid,
            &mut [IoSliceMut::new(buf)],
            &[remote],
        )?)
    }

    /// Whether the process that we opened still exists, whatever program it executes.
    fn is_alive(&self) -> bool {
        ProcStat::of_process(self.pid).is_ok_and(|stat| {
            self.start_ticks
                .is_none_or(|start| start == stat.start_ticks)
                && !stat.has_ended()
        })
    }

    /// The reason for a read that returned no bytes.
    fn why_empty(&self) -> io::Error {
        // The kernel returns 0 when the memory that was opened has no user any more: its process
        // has ended or executed another program.
        let errno = if self.is_alive() {
            Errno::ESTALE
        } else {
            Errno::ESRCH
        };
        errno.into()
    }

    /// Reads parts with one call; returns how many were read whole.
    fn read_vectored(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> usize {
        // Most calls have a handful of parts, which need no allocation.
        if parts.len() <= FEW_PARTS {
            let mut remote = [RemoteIoVec { base: 0, len: 0 }; FEW_PARTS];
            let mut local: [_; FEW_PARTS] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            self.read_into(parts, &mut local, &mut remote)
        } else {
            let mut remote = vec![RemoteIoVec { base: 0, len: 0 }; parts.len()];
            let mut local: Vec<_> = parts.iter().map(|_| IoSliceMut::new(&mut [])).collect();
            self.read_into(parts, &mut local, &mut remote)
        }
    }

    /// As `read_vectored`, with room for the descriptions of the parts.
    fn read_into<'b>(
        &self,
        parts: &'b mut [(RemoteAddr, &mut [u8])],
        local: &mut [IoSliceMut<'b>],
        remote: &mut [RemoteIoVec],
    ) -> usize {
        let count = parts.len();
        for (((addr, part), local), remote) in parts.iter_mut().zip(&mut *local).zip(&mut *remote) {
            let Ok(base) = to_usize(*addr) else {
                return 0;
            };
            *remote = RemoteIoVec {
                base,
                len: part.len(),
            };
            *local = IoSliceMut::new(part);
        }
        let (Some(local), Some(remote)) = (local.get_mut(..count), remote.get(..count)) else {
            return 0;
        };
        let pid = nix::unistd::Pid::from_raw(self.pid);
        let watched = Reading::begin(self.pid);
        let read = process_vm_readv(pid, local, remote);
        drop(watched);
        let mut left = match read {
            Ok(bytes) => bytes,
            Err(Errno::ENOSYS | Errno::EPERM) => {
                self.vectored.store(false, Ordering::Relaxed);
                0
            }
            // A bad first address, or a main thread that ended before its process: reading the
            // parts one by one finds out which.
            Err(_) => 0,
        };
        let whole = remote.iter().position(|part| {
            let is_whole = part.len <= left;
            left = left.saturating_sub(part.len);
            !is_whole
        });
        whole.unwrap_or(count)
    }
}

impl RemoteMemory for LiveMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        if self.suspects.is_any() && self.suspects.includes(addr.0, buf.len()) {
            return self.read_suspect(addr, buf);
        }
        let mut at = addr;
        let mut rest = buf;
        while !rest.is_empty() {
            let len = rest.len();
            let cause = match self.read_some(at, rest) {
                Ok(0) => self.why_empty(),
                Ok(count) => {
                    // Never more than requested; if it were, nothing would be left to read.
                    rest = rest.get_mut(count..).unwrap_or_default();
                    at = at.offset(count as u64);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error)
                    if self.mem.is_none() && error.raw_os_error() == Some(Errno::ESRCH as i32) =>
                {
                    self.why_empty()
                }
                Err(error) => error,
            };
            return Err(MemoryError {
                addr: at,
                len,
                cause,
            });
        }
        Ok(())
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        if !self.suspects.is_any() {
            return self.read_directly(parts);
        }
        let mut rest = parts;
        loop {
            let is_suspect =
                |(addr, part): &(RemoteAddr, &mut [u8])| self.suspects.includes(addr.0, part.len());
            let direct = rest.iter().position(is_suspect).unwrap_or(rest.len());
            let (before, after) = rest.split_at_mut(direct);
            self.read_directly(before)?;
            let Some(((addr, part), others)) = after.split_first_mut() else {
                return Ok(());
            };
            self.read_suspect(*addr, part)?;
            rest = others;
        }
    }
}

impl LiveMemory {
    /// Reads what may block, by a process that can be given up.
    #[cold]
    fn read_suspect(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let len = buf.len();
        let read = self.suspects.read(self.mem.as_ref(), self.pid, addr.0, buf);
        read.map_err(|error| MemoryError {
            addr,
            len,
            cause: match error.kind() {
                io::ErrorKind::UnexpectedEof => self.why_empty(),
                _ if error.raw_os_error() == Some(Errno::ESRCH as i32) => self.why_empty(),
                _ => error,
            },
        })
    }

    /// Reads parts of which none may block.
    fn read_directly(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        for chunk in parts.chunks_mut(MAX_PARTS) {
            let done = match chunk {
                // For one part the plain read is as good, and its descriptor is safe from pid
                // reuse.
                [_] => 0,
                _ if self.vectored.load(Ordering::Relaxed) => self.read_vectored(chunk),
                _ => 0,
            };
            for (addr, buf) in chunk.iter_mut().skip(done) {
                self.read(*addr, buf)?;
            }
        }
        Ok(())
    }
}

fn to_usize(addr: RemoteAddr) -> io::Result<usize> {
    usize::try_from(addr.0).map_err(|_| Errno::EFAULT.into())
}

/// Whether `process_vm_readv` is permitted on a process. The kernel checks that before the address,
/// so an unmapped address is enough.
fn may_read_vectored(pid: Pid) -> bool {
    let mut byte = [0u8];
    let remote = [RemoteIoVec { base: 1, len: 1 }];
    let pid = nix::unistd::Pid::from_raw(pid);
    matches!(
        process_vm_readv(pid, &mut [IoSliceMut::new(&mut byte)], &remote),
        Ok(_) | Err(Errno::EFAULT)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;
    use std::process::{Command, Stdio};

    fn own_pid() -> Pid {
        std::process::id() as Pid
    }

    fn readv_only() -> LiveMemory {
        LiveMemory {
            mem: None,
            ..LiveMemory::open(own_pid()).unwrap()
        }
    }

    #[test]
    fn both_ways_read_the_same_bytes() {
        let value: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        let addr = RemoteAddr(value.as_ptr() as u64);
        for memory in [LiveMemory::open(own_pid()).unwrap(), readv_only()] {
            let mut copy = vec![0u8; value.len()];
            memory.read(addr, &mut copy).unwrap();
            assert_eq!(copy, value);
            memory.read(RemoteAddr(8), &mut []).unwrap();
        }
    }

    #[test]
    fn a_bad_address_is_an_error_that_is_not_the_end_of_the_process() {
        for memory in [LiveMemory::open(own_pid()).unwrap(), readv_only()] {
            for addr in [0, 8, 0x7fff_ffff_ffff_f000, u64::MAX - 4] {
                let mut buf = [7u8; 8];
                let error = memory.read(RemoteAddr(addr), &mut buf).unwrap_err();
                assert_eq!(error.addr, RemoteAddr(addr));
                assert!(!error.process_is_gone(), "{error}");
            }
        }
    }

    #[test]
    fn many_parts_arrive_each_in_its_place() {
        let memory = LiveMemory::open(own_pid()).unwrap();
        let source: Vec<u16> = (0..3000).collect();
        let base = RemoteAddr(source.as_ptr() as u64);
        let mut copies = vec![[0u8; 2]; source.len()];
        let mut parts: Vec<(RemoteAddr, &mut [u8])> = copies
            .iter_mut()
            .enumerate()
            .map(|(n, copy)| (base.offset(2 * n as u64), &mut copy[..]))
            .collect();
        memory.read_many(&mut parts).unwrap();
        let read: Vec<u16> = copies
            .iter()
            .map(|copy| u16::from_ne_bytes(*copy))
            .collect();
        assert_eq!(read, source);

        memory.vectored.store(false, Ordering::Relaxed);
        copies.fill([0; 2]);
        let mut parts: Vec<(RemoteAddr, &mut [u8])> = copies
            .iter_mut()
            .enumerate()
            .map(|(n, copy)| (base.offset(2 * n as u64), &mut copy[..]))
            .collect();
        memory.read_many(&mut parts).unwrap();
        let read: Vec<u16> = copies
            .iter()
            .map(|copy| u16::from_ne_bytes(*copy))
            .collect();
        assert_eq!(read, source);
    }

    #[test]
    fn one_bad_part_of_many_is_named() {
        let memory = LiveMemory::open(own_pid()).unwrap();
        let value = [1u8; 8];
        let good = RemoteAddr(value.as_ptr() as u64);
        let (mut a, mut b, mut c) = ([0u8; 8], [0u8; 8], [0u8; 8]);
        let error = memory
            .read_many(&mut [(good, &mut a), (RemoteAddr(16), &mut b), (good, &mut c)])
            .unwrap_err();
        assert_eq!(error.addr, RemoteAddr(16));
        assert_eq!(a, value);
    }

    #[test]
    fn an_ended_process_is_gone_even_while_it_is_a_zombie() {
        let mut cat = Cat::start(&mut Command::new("cat"));
        let pid = cat.pid();
        let memory = LiveMemory::open(pid).unwrap();
        let error = memory.read(RemoteAddr(8), &mut [0]).unwrap_err();
        assert!(!error.process_is_gone());
        drop(cat.0.stdin.take());
        let zombie = || ProcStat::of_process(pid).is_ok_and(|stat| stat.state == b'Z');
        while !zombie() {
            std::thread::yield_now();
        }
        for part in [RemoteAddr(8), RemoteAddr(0x40_0000)] {
            assert!(memory.read(part, &mut [0]).unwrap_err().process_is_gone());
        }
        drop(cat);
        let mut parts: [(RemoteAddr, &mut [u8]); 2] =
            [(RemoteAddr(8), &mut [0]), (RemoteAddr(9), &mut [0])];
        assert!(memory.read_many(&mut parts).unwrap_err().process_is_gone());
    }

    #[test]
    fn a_process_that_runs_another_program_is_stale_not_gone() {
        let mut child = Command::new("sh")
            .args(["-c", "read line; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let memory = LiveMemory::open(child.id() as Pid).unwrap();
        assert!(!memory.is_closed());
        let mut stdin = child.stdin.take().unwrap();
        io::Write::write_all(&mut stdin, b"go\nx").unwrap();
        let mut echo = [0u8];
        // cat has answered: the exec is done.
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut echo).unwrap();
        let error = memory.read(RemoteAddr(8), &mut [0]).unwrap_err();
        assert!(error.program_is_replaced());
        assert!(!error.process_is_gone());
        assert!(memory.is_closed());
        drop(stdin);
        child.wait().unwrap();
    }
}
