//! [`ProcStat`]: fields of `/proc/PID/stat`, of a process or of one thread.

use std::fs::{self, File};
use std::io;
use std::time::Duration;

use super::read::reread;
use crate::os::{Pid, Tid, ticks_per_second};

/// Set in [`ProcStat::flags`] when a task starts to exit (`PF_EXITING` in the kernel's
/// include/linux/sched.h, stable since 2.6).
const PF_EXITING: u64 = 0x4;
/// Set by fork until the next exec (`PF_FORKNOEXEC`, same file; cleared by `begin_new_exec` in fs/exec.c).
const PF_FORKNOEXEC: u64 = 0x40;
/// Set for a kernel thread (`PF_KTHREAD`, same file).
const PF_KTHREAD: u64 = 0x0020_0000;

/// Room for the used part of a line, in bytes. The line has 52 numbers of at most 20 digits and
/// a name of at most 64 bytes; the fields above are in its first half.
const MAX_LINE: usize = 1024;

/// A parsed `stat` line; field numbers are those of proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcStat {
    /// Field 3, the state letter.
    pub state: u8,
    /// Field 4, the parent.
    pub parent: Pid,
    /// Field 9, the kernel's task flags.
    pub flags: u64,
    /// Field 10, page faults without I/O. For a process the sum over all its threads, exited ones
    /// included.
    pub minor_faults: u64,
    /// Field 12, page faults with I/O.
    pub major_faults: u64,
    /// Field 20, the number of threads.
    pub threads: u64,
    /// Field 22, the start time in clock ticks since boot. Survives exec; together with the pid it
    /// identifies a process for good.
    pub start_ticks: u64,
}

impl ProcStat {
    /// The `stat` of a process, which is that of its main thread.
    ///
    /// # Errors
    /// `NotFound` when there is no such process; `InvalidData` for a line that is not as documented.
    pub fn of_process(pid: Pid) -> io::Result<ProcStat> {
        ProcStat::read(&format!("/proc/{pid}/stat"))
    }

    /// The `stat` of one thread of a process.
    ///
    /// # Errors
    /// As [`ProcStat::of_process`].
    pub fn of_thread(pid: Pid, tid: Tid) -> io::Result<ProcStat> {
        ProcStat::read(&format!("/proc/{pid}/task/{tid}/stat"))
    }

    fn read(path: &str) -> io::Result<ProcStat> {
        ProcStat::reread(&File::open(path)?)
    }

    /// Reads an open `stat` file again.
    ///
    /// # Errors
    /// As [`ProcStat::of_process`].
    pub fn reread(file: &File) -> io::Result<ProcStat> {
        let mut line = [0; MAX_LINE];
        ProcStat::parse(reread(file, &mut line)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name in parentheses may itself contain spaces and parentheses, so fields are counted
    /// from the last closing one.
    pub fn parse(line: &[u8]) -> Option<ProcStat> {
        let name_end = line.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
        // The first field after the name is number 3.
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        let minor_faults = fields.next()?.parse().ok()?;
        let major_faults = fields.nth(1)?.parse().ok()?;
        let threads = fields.nth(7)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        Some(ProcStat {
            state,
            parent,
            flags,
            minor_faults,
            major_faults,
            threads,
            start_ticks,
        })
    }

    /// Of a process: whether it was forked and has not called exec since, so that it began with its
    /// parent's memory.
    pub fn was_forked(&self) -> bool {
        self.flags & PF_FORKNOEXEC != 0
    }

    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }

    /// Whether the task has exited or is certain to. A main thread can exit while its process lives
    /// on in other threads.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') || self.flags & PF_EXITING != 0
    }
}

/// How long ago an event was that is given in clock ticks since boot.
pub fn age_of(start_ticks: u64) -> io::Result<Duration> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime
        .split_ascii_whitespace()
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let started = start_ticks as f64 / ticks_per_second() as f64;
    Ok(Duration::try_from_secs_f64((seconds - started).max(0.0)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn brackets_and_spaces_in_the_name_do_not_shift_the_fields() {
        let line = b"812 (a) S 9 (b ) R 7 812 812 0 -1 4194304 101 102 103 104 1 2 3 4 20 0 5 0 98765 9 9\n";
        assert_eq!(
            ProcStat::parse(line),
            Some(ProcStat {
                state: b'R',
                parent: 7,
                flags: 0x40_0000,
                minor_faults: 101,
                major_faults: 103,
                threads: 5,
                start_ticks: 98765,
            })
        );
        assert_eq!(ProcStat::parse(b"812 (cut short) R 7"), None);
        assert_eq!(ProcStat::parse(b""), None);
    }

    #[test]
    fn our_own_stat_is_readable() {
        let own = ProcStat::of_process(std::process::id() as Pid).unwrap();
        assert!(!own.has_ended());
        assert_eq!(own.parent, std::os::unix::process::parent_id() as Pid);
        assert!(own.start_ticks > 0);
    }
}
