//! [`NewPids`]: which processes were started since one last asked, whatever else runs on the machine.
//!
//! The kernel lists a process's children only where it was built to (`CONFIG_PROC_CHILDREN`); elsewhere
//! every process of the machine has to be asked for its parent. But it gives ids in order, and tells
//! which one it gave last (the fifth field of proc_loadavg(5)), so that only the new ones need be asked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::tree::Child;
use crate::os::Pid;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::status::Status;

/// The most new ids that are asked one by one. Beyond it, a list of all processes is quicker.
const MAX_ASKED: Pid = 512;
/// How long an id that nobody has is asked again: it is given some time before /proc shows its owner.
const UNSEEN_FOR: Duration = Duration::from_secs(1);
/// The most of those.
const MAX_UNSEEN: usize = 256;
/// How far another's forks may take the count beyond our own thread's id while we look.
const MAX_ASIDE: Pid = 10_000;

/// Knows which id was given last.
#[derive(Debug)]
pub struct NewPids {
    loadavg: File,
    last: Pid,
    unseen: Vec<Unseen>,
}

/// An id that was given to nobody that could be seen yet.
#[derive(Clone, Copy, Debug)]
struct Unseen {
    pid: Pid,
    since: Instant,
    /// When it was last asked for.
    asked: Instant,
}

impl Unseen {
    /// Whether it is time to ask again: twice as late each time, since most have ended long ago.
    fn is_due(&self, now: Instant) -> bool {
        let waited = self.asked.saturating_duration_since(self.since);
        now.saturating_duration_since(self.since) >= waited * 2
    }
}

impl NewPids {
    /// Starts: what is started from now on is new. `None` where the kernel does not tell: in some
    /// containers the file is made up.
    pub fn start() -> Option<NewPids> {
        let thread = std::thread::Builder::new().spawn(nix::unistd::gettid);
        let own = thread.ok()?.join().ok()?.as_raw();
        let loadavg = File::open("/proc/loadavg").ok()?;
        let last = last_given(&loadavg).ok()?;
        let is_true = (own..own.saturating_add(MAX_ASIDE)).contains(&last);
        is_true.then(|| NewPids {
            loadavg,
            last,
            unseen: Vec::new(),
        })
    }

    /// The processes that were started since the last call, and some threads, by their ids; each with
    /// its parent. `None` when there are too many to tell, or the ids have begun anew: all processes
    /// have to be looked at then.
    pub fn take(&mut self, now: Instant) -> Option<Vec<Child>> {
        let last = last_given(&self.loadavg).ok()?;
        let before = std::mem::replace(&mut self.last, last);
        if last < before || last - before > MAX_ASKED {
            self.unseen.clear();
            return None;
        }
        let (again, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unseen)
            .into_iter()
            .partition(|unseen| unseen.is_due(now));
        self.unseen = later;
        let given = (before..last).map(|before| Unseen {
            pid: before + 1,
            since: now,
            asked: now,
        });
        let mut found = Vec::new();
        for unseen in again.into_iter().chain(given) {
            let pid = unseen.pid;
            match ProcStat::of_process(pid) {
                Ok(stat) if !stat.has_ended() => found.push(Child {
                    pid,
                    parent: stat.parent,
                }),
                Ok(_) => {}
                Err(_) if now.saturating_duration_since(unseen.since) < UNSEEN_FOR => {
                    self.unseen.push(Unseen {
                        asked: now,
                        ..unseen
                    });
                }
                Err(_) => {}
            }
        }
        let too_many = self.unseen.len().saturating_sub(MAX_UNSEEN);
        self.unseen.drain(..too_many);
        Some(found)
    }
}

/// Whether an id is a process's, and not only one of its threads'.
pub fn is_process(pid: Pid) -> bool {
    Status::of_thread(pid, pid).is_ok_and(|status| status.process == Some(pid))
}

fn last_given(loadavg: &File) -> io::Result<Pid> {
    // Three loads, two counts of at most 10 digits and the id.
    let mut line = [0u8; 128];
    let length = loadavg.read_at(&mut line, 0)?;
    let line = line.get(..length).unwrap_or_default();
    std::str::from_utf8(line)
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
    fn a_new_process_is_told_once_with_its_parent() {
        let Some(mut pids) = NewPids::start() else {
            println!("SKIPPED: this kernel does not tell which id it gave last");
            return;
        };
        let cat = Cat::start(&mut std::process::Command::new("cat"));
        let expected = Child {
            pid: cat.pid(),
            parent: std::process::id().cast_signed(),
        };
        let now = Instant::now();
        // Other tests may start more than are told at once.
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
    fn a_thread_is_no_process() {
        let (send, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = wait.recv();
        });
        assert!(!is_process(told.recv().unwrap()));
        assert!(is_process(std::process::id().cast_signed()));
        drop(send);
        thread.join().unwrap();
    }
}
