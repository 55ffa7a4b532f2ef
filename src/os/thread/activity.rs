//! [`Activity`]: what the kernel says a thread does, how often it has run so far and for how long.
//! [`ActivityReader`] asks again and again, through descriptors that stay open.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::libc::ESRCH;

use super::fd_budget::FdPermit;
use super::state::RunState;
use crate::os::{Pid, Tid};

/// Room for a thread's `status`, in bytes: mostly it has some 1,500. A longer one is read whole.
const STATUS_LEN: usize = 4096;

/// What the kernel counts of a thread's running: the first and the third number of its `schedstat`
/// (Documentation/scheduler/sched-stats.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCount {
    /// Nanoseconds on a CPU. Of a thread that is on one the kernel counts at its timer's ticks, some
    /// milliseconds apart.
    pub on_cpu_ns: u64,
    /// How often it got a CPU.
    pub timeslices: u64,
}

impl RunCount {
    fn parse(line: &[u8]) -> Option<RunCount> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        Some(RunCount {
            on_cpu_ns: words.next()?.parse().ok()?,
            timeslices: words.nth(1)?.parse().ok()?,
        })
    }
}

/// What the kernel says of a thread. Two of a thread that sleeps with the same count of timeslices
/// mean that it did not run in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Whether it is on a CPU or waits for one.
    pub runs: bool,
    /// How much it has run; `None` where the kernel does not count (`CONFIG_SCHED_INFO`).
    pub count: Option<RunCount>,
    /// Whether it could run and waits for a CPU; `false` where that was not asked, or the kernel does
    /// not tell.
    pub waits_for_cpu: bool,
}

/// Asks the kernel about one thread.
#[derive(Debug)]
pub struct ActivityReader {
    pid: Pid,
    tid: Tid,
    /// `None` when [too many](FdPermit) are open: they are opened for each question then.
    files: Option<Files>,
}

/// Descriptors that stay open. They belong to the thread: when it has ended they say so, even if
/// another has its id by then.
#[derive(Debug)]
struct Files {
    /// `syscall`, the cheapest file that tells whether a thread runs (proc_pid_syscall(5)).
    syscall: Option<File>,
    /// Opened when it is asked for: of a thread that runs it is not.
    schedstat: OnceCell<Option<File>>,
    /// The same, on a crowded machine only.
    status: OnceCell<Option<File>>,
    /// For all three.
    _kept: FdPermit,
}

impl ActivityReader {
    /// A reader for one thread of a process.
    ///
    /// # Errors
    /// `NotFound` when there is no such thread (any more).
    pub fn open(pid: Pid, tid: Tid) -> io::Result<ActivityReader> {
        let mut reader = ActivityReader {
            pid,
            tid,
            files: None,
        };
        if let Some(kept) = FdPermit::take(3) {
            let open = |name| File::open(format!("/proc/{pid}/task/{tid}/{name}")).ok();
            // It takes the right to trace, which we may lack though we may read memory.
            let syscall = open("syscall").filter(|file| is_running(file).is_ok());
            let is_there = syscall.is_some();
            reader.files = Some(Files {
                syscall,
                schedstat: OnceCell::new(),
                status: OnceCell::new(),
                _kept: kept,
            });
            if is_there {
                return Ok(reader);
            }
        }
        RunState::of_thread(pid, tid)?;
        Ok(reader)
    }

    /// Whether the thread is on a CPU or waits for one.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn runs(&self) -> io::Result<bool> {
        let file = self.files.as_ref().and_then(|files| files.syscall.as_ref());
        match file.map(is_running) {
            Some(Ok(runs)) => Ok(runs),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // A program that changes its user takes the right to ask away; its state stays readable.
            _ => Ok(RunState::of_thread(self.pid, self.tid)? == RunState::Running),
        }
    }

    /// How much it has run; `None` where the kernel does not count.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn count(&self) -> io::Result<Option<RunCount>> {
        let mut line = [0; 96];
        let (pid, tid) = (self.pid, self.tid);
        let open = || File::open(format!("/proc/{pid}/task/{tid}/schedstat"));
        let files = self.files.as_ref();
        let file = files.and_then(|files| files.schedstat.get_or_init(|| open().ok()).as_ref());
        let length = match file {
            Some(file) => read_anew(file, &mut line)?,
            None => {
                let opened = open();
                match opened.and_then(|file| read_anew(&file, &mut line)) {
                    Ok(length) => length,
                    // Not the file is missing then, but the thread.
                    Err(_) => return RunState::of_thread(pid, tid).map(|_| None),
                }
            }
        };
        Ok(line.get(..length).and_then(RunCount::parse))
    }

    /// Both, so that a count of a sleeping thread is from before it was seen asleep.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn read(&self) -> io::Result<Activity> {
        // The count first: a thread that wakes between the two reads shows as running then.
        let count = self.count()?;
        Ok(Activity {
            runs: self.runs()?,
            count,
            waits_for_cpu: false,
        })
    }

    /// The same, and whether a thread that runs waits for a CPU.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn read_all(&self) -> io::Result<Activity> {
        let activity = self.read()?;
        let gains = activity.count.filter(|_| activity.runs);
        // One that is on a CPU got one more often than it lost it.
        let waits = |count: RunCount| self.losses() == Some(count.timeslices);
        Ok(Activity {
            waits_for_cpu: gains.is_some_and(waits),
            ..activity
        })
    }
}

impl ActivityReader {
    /// How often the thread lost its CPU so far.
    fn losses(&self) -> Option<u64> {
        let path = || format!("/proc/{}/task/{}/status", self.pid, self.tid);
        let files = self.files.as_ref();
        let file = files.and_then(|files| {
            let status = files.status.get_or_init(|| File::open(path()).ok());
            status.as_ref()
        });
        if let Some(file) = file {
            let mut status = [0; STATUS_LEN];
            let length = read_anew(file, &mut status).ok()?;
            if length < STATUS_LEN {
                return losses(status.get(..length)?);
            }
        }
        losses(&std::fs::read(path()).ok()?)
    }
}

/// How often a thread lost its CPU, by its own will or not: the last two lines of its `status`
/// (proc(5)).
fn losses(status: &[u8]) -> Option<u64> {
    // Its first line has a name that the target chose.
    let mut lines = status.rsplit(|byte| *byte == b'\n');
    let mut count = |name: &[u8]| -> Option<u64> {
        let value = lines.find_map(|line| line.strip_prefix(name))?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    };
    let unwilling = count(b"nonvoluntary_ctxt_switches:")?;
    unwilling.checked_add(count(b"voluntary_ctxt_switches:")?)
}

/// Reads a file of /proc from its start, which the kernel writes anew each time.
fn read_anew(file: &File, line: &mut [u8]) -> io::Result<usize> {
    match file.read_at(line, 0) {
        Err(error) if error.raw_os_error() == Some(ESRCH) => Err(io::ErrorKind::NotFound.into()),
        result => result,
    }
}

/// What `syscall` says of a thread: `running`, or the call that it sleeps in.
fn is_running(file: &File) -> io::Result<bool> {
    let mut line = [0; 160];
    let length = read_anew(file, &mut line)?;
    Ok(line
        .get(..length)
        .is_some_and(|line| line.starts_with(b"running")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

    #[test]
    fn a_thread_that_slept_is_the_same_and_one_that_ran_is_not() {
        let own = std::process::id() as Pid;
        let told = AtomicI32::new(0);
        let (mut woken, mut wake) = std::io::pipe().unwrap();
        let (mut answered, mut answer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            let sleeper_tid = &told;
            // It sleeps nowhere but in these reads: a channel's or a lock's sleep would count too.
            scope.spawn(move || {
                sleeper_tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
                let mut byte = [0];
                while woken.read(&mut byte).unwrap() == 1 {
                    answer.write_all(&byte).unwrap();
                }
            });
            while told.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let reader = ActivityReader::open(own, told.load(Ordering::Acquire)).unwrap();
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
        let (told, done) = (AtomicI32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // Another thread: of the one that asks, the kernel says that it is in a system call.
            scope.spawn(|| {
                told.store(nix::unistd::gettid().as_raw(), Ordering::Release);
                while !done.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            });
            while told.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let tid = told.load(Ordering::Acquire);
            let reader = ActivityReader::open(own, tid).unwrap();
            // It may have lost its CPU for a while.
            let on_cpu = || {
                reader
                    .read_all()
                    .is_ok_and(|now| now.runs && !now.waits_for_cpu)
            };
            while !on_cpu() {
                std::thread::yield_now();
            }
            // Nobody loses a CPU more often than he gets one; asked in this order, as it may lose it.
            let losses = reader.losses().unwrap();
            assert!(losses <= reader.count().unwrap().unwrap().timeslices);
            done.store(true, Ordering::Release);
        });
    }
}
