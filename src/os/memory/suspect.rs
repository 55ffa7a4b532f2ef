//! [`SuspectMemory`]: the memory of a process whose reading may block for ever, and how it is read.
//!
//! Such memory is a mapped file on a file system that somebody serves (FUSE, NFS, an image layer that is
//! fetched on demand), and memory whose page faults a userfaultfd serves. All other memory is read directly:
//! private anonymous memory and local files make a reader wait for a disk at most.

use std::fs::{self, File};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::expendable::{self, NoReply};
use crate::os::procfs::maps::{Mapping, read_mappings};
use crate::os::procfs::mounts::Mounts;
use crate::os::procfs::smaps::userfault_ranges;
use crate::os::procfs::suspicion::may_block;

/// The time for one such read: threads may be paused meanwhile, and a sample ends between two reads when its
/// own time is over.
const READ_LIMIT: Duration = Duration::from_millis(20);
/// The time for all such reads of one second.
const SECOND_LIMIT: Duration = Duration::from_millis(250);
const SECOND: Duration = Duration::from_secs(1);
/// For how long memory that has not answered is not read again; doubled with each time.
const DEAD_FOR: Duration = Duration::from_secs(5);
const MAX_DEAD_FOR: Duration = Duration::from_secs(60);
/// The time for finding such memory.
const SEARCH_LIMIT: Duration = Duration::from_secs(1);
/// Cap on the ranges of one process.
const MAX_RANGES: usize = 1 << 16;

/// Time between two searches, at least; a search may also take only a hundredth of the time.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
const SEARCH_SHARE: u32 = 100;
/// What `/proc/PID/fd` has for a userfaultfd (fs/userfaultfd.c, v6.12: `anon_inode_create_getfile`).
const USERFAULTFD: &str = "anon_inode:[userfaultfd]";
/// The most links that are read of `/proc/PID/fd`, and the time for that: each takes about a microsecond.
const MAX_LINKS: usize = 1 << 16;
const LINKS_LIMIT: Duration = Duration::from_millis(100);

/// Why memory was not read.
#[derive(Debug, thiserror::Error)]
#[error("it belongs to {owner}, which {problem}")]
pub struct NotRead {
    owner: String,
    problem: &'static str,
}

impl NotRead {
    fn error(owner: &str, problem: &'static str) -> io::Error {
        let owner = owner.to_owned();
        io::Error::new(io::ErrorKind::TimedOut, NotRead { owner, problem })
    }
}

/// The suspect ranges of one process. Empty for nearly every process; then a read costs one more branch.
#[derive(Debug, Default)]
pub struct SuspectMemory {
    any: AtomicBool,
    /// Whether there can be some later: the process sees such a file system, or has a userfaultfd.
    can_grow: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// By address, not overlapping.
    ranges: Vec<SuspectRange>,
    owners: Vec<Owner>,
    /// The current second.
    window: Option<Window>,
    /// When they are searched again.
    next_search: Option<Instant>,
}

/// One second, and how long its reads were waited for.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    spent: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SuspectRange {
    start: u64,
    end: u64,
    /// An index into the owners.
    owner: usize,
}

/// Whoever serves the page faults of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    /// As the second half of "the memory belongs to".
    name: String,
    dead: Option<Dead>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dead {
    until: Instant,
    /// How long that was from its beginning.
    whole: Duration,
    /// The child that was blocked.
    child: Option<Pid>,
}

impl SuspectMemory {
    /// Finds the suspect ranges among the mappings of a process.
    pub fn find(&self, pid: Pid, mappings: &[Mapping]) {
        let userfault = has_userfaultfd(pid);
        let can_grow = userfault || may_block(pid);
        self.can_grow.store(can_grow, Ordering::Relaxed);
        let mounts = match can_grow {
            true => all_mounts(pid),
            false => Mounts::default(),
        };
        if can_grow || self.is_any() {
            self.set(pid, &mounts, mappings, userfault);
        }
    }

    /// Finds them again if there is a reason, and the last search is long ago.
    pub fn search_if_due(&self, pid: Pid, now: Instant) {
        if !self.can_grow.load(Ordering::Relaxed) {
            return;
        }
        if self.lock().next_search.is_none_or(|next| next <= now) {
            let begin = Instant::now();
            match read_mappings(pid, Deadline::after(SEARCH_LIMIT)) {
                Ok(mappings) => self.find(pid, &mappings),
                Err(error) => log::debug!("process {pid}: its mappings cannot be read: {error}"),
            }
            let pause = begin.elapsed().saturating_mul(SEARCH_SHARE);
            self.lock().next_search = now.checked_add(SEARCH_INTERVAL.max(pause));
        }
    }

    fn set(&self, pid: Pid, mounts: &Mounts, mappings: &[Mapping], userfault: bool) {
        let mut found = of_files(mounts, mappings);
        if userfault {
            let limit = Deadline::after(SEARCH_LIMIT);
            let ranges = userfault_ranges(pid, limit).unwrap_or_else(|error| {
                log::debug!("process {pid}: its smaps cannot be read: {error}");
                // All of its anonymous memory then: it is slower to read, and right.
                let anonymous = mappings.iter().filter(|mapping| mapping.inode == 0);
                anonymous.map(|one| (one.start, one.end)).collect()
            });
            let owner = "a userfaultfd";
            found.extend(
                ranges
                    .into_iter()
                    .map(|(start, end)| (start, end, owner.to_owned())),
            );
        }
        if !found.is_empty() {
            log::info!("process {pid}: {} mappings may not answer", found.len());
        }
        let mut state = self.lock();
        *state = state.with(found);
        self.any.store(!state.ranges.is_empty(), Ordering::Relaxed);
    }

    /// Takes over the ranges of the process that this one was forked from.
    pub fn inherit(&self, parent: &SuspectMemory) {
        if parent.can_grow.load(Ordering::Relaxed) {
            let state = parent.lock().clone();
            self.any.store(!state.ranges.is_empty(), Ordering::Relaxed);
            *self.lock() = state;
            self.can_grow.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there is any such memory.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Whether some of these bytes are such memory.
    pub fn includes(&self, addr: u64, len: usize) -> bool {
        self.is_any() && self.lock().range_of(addr, len).is_some()
    }

    /// Reads such memory by the expendable child.
    ///
    /// # Errors
    /// `TimedOut` when it does not answer; the reader's error when it answers with one; `UnexpectedEof` when
    /// the process has no memory any more.
    pub fn read(&self, mem: Option<&File>, pid: Pid, addr: u64, buf: &mut [u8]) -> io::Result<()> {
        let began = Instant::now();
        let deadline = self.lock().may_read(addr, buf.len(), began)?;
        let (mut at, mut rest) = (addr, buf);
        let result = loop {
            if rest.is_empty() {
                break Ok(());
            }
            match expendable::read_memory(mem, pid, at, rest, deadline) {
                Ok(Ok(0)) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(len)) => {
                    at = at.saturating_add(len as u64);
                    rest = rest.get_mut(len..).unwrap_or_default();
                }
                Ok(Err(error)) => break Err(error),
                Err(why) => return Err(self.lock().not_read(at, rest.len(), began, why)),
            }
        };
        self.lock().spend(began);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The ranges that were found, with what is known of their owners.
    fn with(&self, mut found: Vec<(u64, u64, String)>) -> State {
        found.sort_unstable();
        let mut owners: Vec<Owner> = Vec::new();
        let mut ranges: Vec<SuspectRange> = Vec::new();
        for (start, end, name) in found {
            let owner = owners.iter().position(|owner| owner.name == name);
            let owner = owner.unwrap_or_else(|| {
                let known = self.owners.iter().find(|owner| owner.name == name);
                let dead = known.and_then(|owner| owner.dead);
                owners.push(Owner { name, dead });
                owners.len() - 1
            });
            match ranges.last_mut() {
                Some(last) if start <= last.end && (owner == last.owner || end <= last.end) => {
                    last.end = last.end.max(end);
                }
                _ if start >= end => {}
                last => {
                    let start = last.map_or(start, |last| start.max(last.end));
                    if ranges.len() < MAX_RANGES {
                        ranges.push(SuspectRange { start, end, owner });
                    } else if let Some(last) = ranges.last_mut() {
                        // Too much is suspect rather than too little.
                        last.end = last.end.max(end);
                    }
                }
            }
        }
        State {
            ranges,
            owners,
            window: self.window,
            next_search: self.next_search,
        }
    }

    /// The first range that overlaps these bytes.
    fn range_of(&self, addr: u64, len: usize) -> Option<SuspectRange> {
        let end = addr.saturating_add(len as u64);
        let first = self.ranges.partition_point(|range| range.end <= addr);
        let range = self.ranges.get(first)?;
        (range.start < end).then_some(*range)
    }

    fn owner_of(&mut self, addr: u64, len: usize) -> Option<&mut Owner> {
        let range = self.range_of(addr, len)?;
        self.owners.get_mut(range.owner)
    }

    /// By when a read must be done.
    fn may_read(&mut self, addr: u64, len: usize, now: Instant) -> io::Result<Deadline> {
        let window = self.window_at(now);
        let left = SECOND_LIMIT.saturating_sub(window.spent).min(READ_LIMIT);
        let Some(owner) = self.owner_of(addr, len) else {
            return Ok(Deadline::after(left));
        };
        if let Some(dead) = owner.dead {
            // As long as the last child is blocked, the next one would be, too.
            if now < dead.until || dead.child.is_some_and(expendable::is_blocked) {
                return Err(NotRead::error(&owner.name, "does not answer"));
            }
        }
        if left.is_zero() {
            return Err(NotRead::error(
                &owner.name,
                "was not read: its time is used up",
            ));
        }
        Ok(Deadline::after(left))
    }

    /// Notes that a read was given up, and returns its error.
    fn not_read(&mut self, addr: u64, len: usize, began: Instant, why: NoReply) -> io::Error {
        let now = Instant::now();
        self.spend(began);
        let Some(owner) = self.owner_of(addr, len) else {
            return NotRead::error("a former mapping", "was not read in time");
        };
        let child = match why {
            NoReply::Blocked(child) => Some(child),
            NoReply::TooLate => {
                return NotRead::error(&owner.name, "was not read: its time is used up");
            }
            NoReply::Starved => {
                return NotRead::error(&owner.name, "was not read: there was no CPU in time");
            }
            NoReply::TooManyBlocked => {
                return NotRead::error(&owner.name, "was not read: too much else does not answer");
            }
            NoReply::Died => {
                return NotRead::error(&owner.name, "was not read: the process that read it ended");
            }
            NoReply::CannotStart => {
                return NotRead::error(&owner.name, "was not read: no process could be started");
            }
        };
        let before = owner.dead.map(|dead| dead.whole.saturating_mul(2));
        let whole = before.unwrap_or(DEAD_FOR).min(MAX_DEAD_FOR);
        let until = now.checked_add(whole).unwrap_or(now);
        owner.dead = Some(Dead {
            until,
            whole,
            child,
        });
        NotRead::error(&owner.name, "does not answer")
    }

    /// Counts the time since a read began.
    fn spend(&mut self, began: Instant) {
        let window = self.window_at(began);
        self.window = Some(Window {
            spent: window.spent.saturating_add(began.elapsed()),
            ..window
        });
    }

    fn window_at(&self, now: Instant) -> Window {
        let is_current = |window: &Window| now.saturating_duration_since(window.began) < SECOND;
        self.window.filter(is_current).unwrap_or(Window {
            began: now,
            spent: Duration::ZERO,
        })
    }
}

/// The mounts that a process sees, and those that we see.
fn all_mounts(pid: Pid) -> Mounts {
    let mut mounts = Mounts::of(pid).unwrap_or_default();
    mounts.extend(Mounts::of(std::process::id().cast_signed()).unwrap_or_default());
    mounts
}

/// Whether a process has a userfaultfd among its open files, as far as they may be listed.
fn has_userfaultfd(pid: Pid) -> bool {
    let deadline = Deadline::after(LINKS_LIMIT);
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut links = entries.flatten().take(MAX_LINKS);
    let in_time = |number: usize| !number.is_multiple_of(64) || !deadline.is_over();
    let mut links = (1..)
        .zip(&mut links)
        .take_while(|(number, _)| in_time(*number));
    links.any(|(_, entry)| {
        fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == USERFAULTFD)
    })
}

/// The mapped files that may not answer, as (start, end, owner).
fn of_files(mounts: &Mounts, mappings: &[Mapping]) -> Vec<(u64, u64, String)> {
    let suspects = mounts.suspects();
    let owner = |dev: (u64, u64)| {
        let mut suspects = suspects.iter();
        let (_, kind) = suspects.find(|(suspect, _)| *suspect == dev)?;
        Some(format!("a file on {kind}"))
    };
    let files = mappings.iter().filter(|mapping| mapping.inode != 0);
    files
        .filter_map(|one| Some((one.start, one.end, owner(one.dev)?)))
        .collect()
}

#[cfg(test)]
mod tests;
