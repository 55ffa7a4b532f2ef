//! [`Descendants`]: finds the processes that sampled ones have started.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::os::Pid;
use crate::os::process::new_pids::{self, NewPids};
use crate::os::process::tree::orphans;
use crate::os::process::tree::{Child, descendants};
use crate::os::thread::realtime;

/// Interval of checks that have to read the parent of every process on the machine.
const FULL_SCAN_INTERVAL: Duration = Duration::from_millis(25);
/// Full scans take at most one part in so many of the time; the interval grows accordingly.
const FULL_SCAN_MAX_SHARE: u32 = 20;

/// Interval in which orphans that have ended are reaped.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Finds new descendants.
pub(super) struct Descendants {
    /// The process that orphans count as children of.
    root: Pid,
    /// Whether they become children of ours, and are to be reaped by us.
    adopts: bool,
    reaped_at: Option<Instant>,
    /// `None` if the kernel does not report the last pid.
    new_pids: Option<NewPids>,
    /// Whether a full scan is due: at the beginning, and after too many new processes.
    full_scan_due: bool,
    /// When the last full scan started, and how long it took.
    full_scan: Option<(Instant, Duration)>,
}

impl Descendants {
    /// All descendants are new at first.
    pub fn start(root: Pid) -> Descendants {
        Descendants {
            root,
            adopts: orphans::are_adopted(),
            reaped_at: None,
            // Started before the full scan, so that no process is missed.
            new_pids: NewPids::start(),
            full_scan_due: true,
            full_scan: None,
        }
    }

    /// Searches all processes as soon as that may be done again.
    pub fn request_full_scan(&mut self) {
        self.full_scan_due = true;
    }

    /// New descendants of the known processes, possibly with some known ones.
    pub fn find_new(&mut self, mut known: HashSet<Pid>, now: Instant) -> Vec<Child> {
        if !self.adopts {
            return self.below(known, now);
        }
        let is_recent = |reaped| now.saturating_duration_since(reaped) < REAP_INTERVAL;
        if !self.reaped_at.is_some_and(is_recent) {
            orphans::reap();
            self.reaped_at = Some(now);
        }
        // Orphans are children of ours; the other ones are our own helpers and the launched program.
        let own = std::process::id().cast_signed();
        known.insert(own);
        let mut found = self.below(known, now);
        if found.iter().any(|child| child.parent == own) {
            let orphans = orphans::living();
            found.retain(|child| child.parent != own || orphans.contains(&child.pid));
            for child in found.iter_mut().filter(|child| child.parent == own) {
                child.parent = self.root;
            }
        }
        found
    }

    fn below(&mut self, mut known: HashSet<Pid>, now: Instant) -> Vec<Child> {
        let new = self.new_pids.as_mut().and_then(|pids| pids.take(now));
        self.full_scan_due |= new.is_none();
        let may_repeat = |(last, took): (Instant, Duration)| {
            now >= last + (took * FULL_SCAN_MAX_SHARE).max(FULL_SCAN_INTERVAL)
        };
        if self.full_scan_due && self.full_scan.is_none_or(may_repeat) {
            realtime::leave();
            let begin = Instant::now();
            // All known processes are starting points: the children of one that has ended have another
            // parent now, and are no longer below the root.
            let known: Vec<Pid> = known.into_iter().collect();
            let found = descendants(&known);
            self.full_scan = Some((now, begin.elapsed()));
            self.full_scan_due = self.new_pids.is_none();
            return found;
        }
        below(new.unwrap_or_default(), &mut known, new_pids::is_process)
    }
}

/// Those of the `new` tasks that are processes below the `known` ones, which they are added to.
fn below(
    mut new: Vec<Child>,
    known: &mut HashSet<Pid>,
    is_process: impl Fn(Pid) -> bool,
) -> Vec<Child> {
    let mut found = Vec::new();
    loop {
        let (below, rest): (Vec<Child>, Vec<Child>) = new
            .into_iter()
            .partition(|child| known.contains(&child.parent));
        if below.is_empty() {
            return found;
        }
        for child in below.into_iter().filter(|child| is_process(child.pid)) {
            known.insert(child.pid);
            found.push(child);
        }
        new = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_below_known_ones_are_found_in_any_order() {
        let child = |pid, parent| Child { pid, parent };
        // 40 is a thread; 50 is below it, and 60 is below an unknown process.
        let new = vec![
            child(30, 20),
            child(40, 1),
            child(20, 1),
            child(50, 40),
            child(60, 7),
        ];
        let mut known = HashSet::from([1]);
        let found = below(new, &mut known, |pid| pid != 40);
        let pids: Vec<Pid> = found.iter().map(|child| child.pid).collect();
        assert_eq!(pids, [20, 30]);
        assert_eq!(known, HashSet::from([1, 20, 30]));
    }
}
