//! [`Activity`]: whether a thread runs, how often it has run and for how long, according to the
//! kernel. [`ActivityReader`] reads it repeatedly through open descriptors.

use std::cell::OnceCell;
use std::fs::File;
use std::io;

use super::fd_budget::FdPermit;
use super::state::RunState;
use crate::os::procfs::read::reread;
use crate::os::procfs::schedstat::RunCount;
use crate::os::{Pid, Tid};

/// Room for a thread's `status`, in bytes: usually about 1,500. A longer one is read separately.
const STATUS_LEN: usize = 4096;

/// Two equal `timeslices` counts of a sleeping thread mean that it did not run in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// It is on a CPU or waiting for one.
    pub runs: bool,
    /// `None` where the kernel does not count (`CONFIG_SCHED_INFO`).
    pub count: Option<RunCount>,
    /// It is runnable and waiting for a CPU; `false` where this was not read, or is not known.
    pub waits_for_cpu: bool,
}

#[derive(Debug)]
pub struct ActivityReader {
    pid: Pid,
    tid: Tid,
    /// `None` when the [budget](FdPermit) is spent: the files are opened for each read then.
    files: Option<Files>,
}

/// Open descriptors. They are bound to the thread: after its exit they fail, even if its id was
/// reused.
#[derive(Debug)]
struct Files {
    /// `syscall`, the cheapest file that shows whether a thread runs (proc_pid_syscall(5)).
    syscall: Option<File>,
    /// Opened on first use: it is not read for a thread that keeps running.
    schedstat: OnceCell<Option<File>>,
    /// Opened on first use, which only contention for CPUs brings.
    status: OnceCell<Option<File>>,
    /// For all three.
    _permit: FdPermit,
}

impl ActivityReader {
    /// # Errors
    /// `NotFound` when there is no such thread.
    pub fn open(pid: Pid, tid: Tid) -> io::Result<ActivityReader> {
        let mut reader = ActivityReader {
            pid,
            tid,
            files: None,
        };
        if let Some(permit) = FdPermit::take(3) {
            let open = |name| File::open(format!("/proc/{pid}/task/{tid}/{name}")).ok();
            // `syscall` requires the right to trace, which we may lack though we may read memory.
            let syscall = open("syscall").filter(|file| is_running(file).is_ok());
            let is_usable = syscall.is_some();
            reader.files = Some(Files {
                syscall,
                schedstat: OnceCell::new(),
                status: OnceCell::new(),
                _permit: permit,
            });
            if is_usable {
                return Ok(reader);
            }
        }
        RunState::of_thread(pid, tid)?;
        Ok(reader)
    }

    /// Whether the thread is on a CPU or waiting for one.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn runs(&self) -> io::Result<bool> {
        let file = self.files.as_ref().and_then(|files| files.syscall.as_ref());
        match file.map(is_running) {
            Some(Ok(runs)) => Ok(runs),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // A process that changes its user revokes the permission for `syscall`; `stat` stays
            // readable.
            _ => Ok(RunState::of_thread(self.pid, self.tid)? == RunState::Running),
        }
    }

    /// `None` where the kernel does not count.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn count(&self) -> io::Result<Option<RunCount>> {
        let mut line = [0; 96];
        let (pid, tid) = (self.pid, self.tid);
        let open = || File::open(format!("/proc/{pid}/task/{tid}/schedstat"));
        let files = self.files.as_ref();
        let file = files.and_then(|files| files.schedstat.get_or_init(|| open().ok()).as_ref());
        let line = match file {
            Some(file) => reread(file, &mut line)?,
            None => {
                let opened = open();
                match opened.and_then(|file| reread(&file, &mut line)) {
                    Ok(line) => line,
                    // Either the kernel has no such file or the thread has ended.
                    Err(_) => return RunState::of_thread(pid, tid).map(|_| None),
                }
            }
        };
        Ok(RunCount::parse(line))
    }

    /// Both. The count of a sleeping thread is from before it was seen asleep.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn read(&self) -> io::Result<Activity> {
        // The count first: a thread that wakes between the two reads then shows as running.
        let count = self.count()?;
        Ok(Activity {
            runs: self.runs()?,
            count,
            waits_for_cpu: false,
        })
    }

    /// As [`ActivityReader::read`], and whether a runnable thread waits for a CPU.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn read_all(&self) -> io::Result<Activity> {
        let activity = self.read()?;
        let count = activity.count.filter(|_| activity.runs);
        // A thread on a CPU was put on one once more than it was taken off.
        let waits = |count: RunCount| self.switches_off() == Some(count.timeslices);
        Ok(Activity {
            waits_for_cpu: count.is_some_and(waits),
            ..activity
        })
    }
}

impl ActivityReader {
    /// How often the thread was taken off a CPU.
    fn switches_off(&self) -> Option<u64> {
        let path = || format!("/proc/{}/task/{}/status", self.pid, self.tid);
        let files = self.files.as_ref();
        let file = files.and_then(|files| {
            let status = files.status.get_or_init(|| File::open(path()).ok());
            status.as_ref()
        });
        if let Some(file) = file {
            let mut status = [0; STATUS_LEN];
            let status = reread(file, &mut status).ok()?;
            if status.len() < STATUS_LEN {
                return switches_off(status);
            }
        }
        switches_off(&std::fs::read(path()).ok()?)
    }
}

/// Voluntary and involuntary context switches: the last two lines of `status` (proc(5)).
fn switches_off(status: &[u8]) -> Option<u64> {
    // The first line contains a name chosen by the target.
    let mut lines = status.rsplit(|byte| *byte == b'\n');
    let mut count = |name: &[u8]| -> Option<u64> {
        let value = lines.find_map(|line| line.strip_prefix(name))?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    };
    let involuntary = count(b"nonvoluntary_ctxt_switches:")?;
    involuntary.checked_add(count(b"voluntary_ctxt_switches:")?)
}

/// `syscall` contains `running`, or the call that the thread sleeps in.
fn is_running(file: &File) -> io::Result<bool> {
    let mut line = [0; 160];
    Ok(reread(file, &mut line)?.starts_with(b"running"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

    #[test]
    fn the_count_changes_only_when_a_thread_runs() {
        let own = std::process::id() as Pid;
        let reported_tid = AtomicI32::new(0);
        let (mut woken, mut wake) = std::io::pipe().unwrap();
        let (mut answered, mut answer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            let sleeper_tid = &reported_tid;
            // It sleeps in these reads only: sleeping in a channel or a lock would count as well.
            scope.spawn(move || {
                sleeper_tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
                let mut byte = [0];
                while woken.read(&mut byte).unwrap() == 1 {
                    answer.write_all(&byte).unwrap();
                }
            });
            while reported_tid.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let reader = ActivityReader::open(own, reported_tid.load(Ordering::Acquire)).unwrap();
            let asleep = || loop {
                let activity = reader.read().unwrap();
                if !activity.runs {
                    return activity.count.unwrap();
                }
                std::thread::yield_now();
            };
            let before = asleep();
            assert_eq!(asleep(), before);
            wake.write_all(&[1]).unwrap();
            answered.read_exact(&mut [0]).unwrap();
            assert_ne!(asleep(), before);
            drop(wake);
        });
    }

    #[test]
    fn a_busy_thread_is_on_a_cpu() {
        let own = std::process::id() as Pid;
        let (reported_tid, done) = (AtomicI32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // Another thread: the calling thread shows as being in a system call.
            scope.spawn(|| {
                reported_tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
                while !done.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            });
            while reported_tid.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let tid = reported_tid.load(Ordering::Acquire);
            let reader = ActivityReader::open(own, tid).unwrap();
            // It may be preempted for a while.
            let on_cpu = || {
                reader
                    .read_all()
                    .is_ok_and(|now| now.runs && !now.waits_for_cpu)
            };
            while !on_cpu() {
                std::thread::yield_now();
            }
            // A thread is never taken off a CPU more often than put on one. Read in this order, as
            // both may grow meanwhile.
            let switches_off = reader.switches_off().unwrap();
            assert!(switches_off <= reader.count().unwrap().unwrap().timeslices);
            done.store(true, Ordering::Release);
        });
    }
}
