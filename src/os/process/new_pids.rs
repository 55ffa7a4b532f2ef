//! [`NewPids`]: the processes started since the last call, whatever else runs on the machine.
//!
//! Not every kernel lists the children of a process (`CONFIG_PROC_CHILDREN`); without that, the
//! parent of every process of the machine has to be read. But ids are given in order, and the
//! kernel reports the last one given (the fifth field of proc_loadavg(5)), so that reading the new
//! ones is enough.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::tree::Child;
use crate::os::Pid;
use crate::os::procfs::read::reread;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::status::Status;
use crate::os::thread::start::start;

/// Cap on the new ids read one by one. With more, a list of all processes is faster.
const MAX_NEW: Pid = 512;
/// How long to retry an id without a process: an id is allocated some time before its process shows
/// in /proc.
const RETRY_FOR: Duration = Duration::from_secs(1);
/// Cap on the number of ids to retry.
const MAX_RETRIED: usize = 256;
/// How far other processes' forks may move the last id beyond that of our own thread meanwhile.
const MAX_OTHER_FORKS: Pid = 10_000;

/// Remembers the last id given.
#[derive(Debug)]
pub struct NewPids {
    loadavg: File,
    last: Pid,
    missing: Vec<Missing>,
}

/// An id for which no process was found yet.
#[derive(Clone, Copy, Debug)]
struct Missing {
    pid: Pid,
    since: Instant,
    /// When it was last read.
    last_read: Instant,
}

impl Missing {
    /// Whether to retry now. The delay doubles each time, since most of these processes have ended.
    fn is_due(&self, now: Instant) -> bool {
        let waited = self.last_read.saturating_duration_since(self.since);
        now.saturating_duration_since(self.since) >= waited * 2
    }
}

impl NewPids {
    /// Processes started from now on are new. `None` where the kernel does not report the last id:
    /// in some containers the file is made up.
    pub fn start() -> Option<NewPids> {
        let thread = start("new pids", nix::unistd::gettid).map_err(|error| {
            // Without it, new processes are found by reading all.
            log::info!("{error}");
        });
        let own = thread.ok()?.join().ok()?.as_raw();
        let loadavg = File::open("/proc/loadavg").ok()?;
        let last = last_allocated(&loadavg).ok()?;
        let is_plausible = (own..own.saturating_add(MAX_OTHER_FORKS)).contains(&last);
        is_plausible.then(|| NewPids {
            loadavg,
            last,
            missing: Vec::new(),
        })
    }

    /// The processes started since the last call with their parents, and some threads. `None` when
    /// there are too many, or the ids have wrapped around: then all processes have to be read.
    pub fn take(&mut self, now: Instant) -> Option<Vec<Child>> {
        let last = last_allocated(&self.loadavg).ok()?;
        let before = std::mem::replace(&mut self.last, last);
        if last < before || last - before > MAX_NEW {
            self.missing.clear();
            return None;
        }
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.missing)
            .into_iter()
            .partition(|missing| missing.is_due(now));
        self.missing = later;
        let new = (before..last).map(|before| Missing {
            pid: before + 1,
            since: now,
            last_read: now,
        });
        let mut found = Vec::new();
        for missing in due.into_iter().chain(new) {
            let pid = missing.pid;
            match ProcStat::of_process(pid) {
                Ok(stat) if !stat.has_ended() => found.push(Child {
                    pid,
                    parent: stat.parent,
                }),
                Ok(_) => {}
                Err(_) if now.saturating_duration_since(missing.since) < RETRY_FOR => {
                    self.missing.push(Missing {
                        last_read: now,
                        ..missing
                    });
                }
                Err(_) => {}
            }
        }
        let too_many = self.missing.len().saturating_sub(MAX_RETRIED);
        self.missing.drain(..too_many);
        Some(found)
    }
}

/// Whether an id is that of a process, and not only of one of its threads.
pub fn is_process(pid: Pid) -> bool {
    Status::of_thread(pid, pid).is_ok_and(|status| status.process == Some(pid))
}

fn last_allocated(loadavg: &File) -> io::Result<Pid> {
    // Three loads, two counts of at most 10 digits and the id.
    let mut line = [0u8; 128];
    std::str::from_utf8(reread(loadavg, &mut line)?)
        .ok()
        .and_then(|line| line.split_ascii_whitespace().nth(4)?.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;

    #[test]
    fn a_new_process_is_listed_once_with_its_parent() {
        let Some(mut pids) = NewPids::start() else {
            println!("SKIPPED: this kernel does not report the last pid");
            return;
        };
        let cat = Cat::start(&mut std::process::Command::new("cat"));
        let expected = Child {
            pid: cat.pid(),
            parent: std::process::id().cast_signed(),
        };
        let now = Instant::now();
        // Tests running in parallel may start more than are listed.
        let Some(found) = pids.take(now) else { return };
        assert_eq!(
            found
                .iter()
                .filter(|child| child.pid == expected.pid)
                .collect::<Vec<_>>(),
            [&expected]
        );
        assert!(is_process(expected.pid));
        if let Some(found) = pids.take(now) {
            assert!(!found.contains(&expected));
        }
    }

    #[test]
    fn a_thread_is_not_a_process() {
        let (send, wait) = std::sync::mpsc::channel::<()>();
        let (send_tid, tid) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            send_tid.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = wait.recv();
        });
        assert!(!is_process(tid.recv().unwrap()));
        assert!(is_process(std::process::id().cast_signed()));
        drop(send);
        thread.join().unwrap();
    }
}
