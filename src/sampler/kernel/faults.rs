//! [`FaultTracker`]: the page faults of one process between two readings of its RSS.

use std::collections::{HashMap, HashSet};

use log::debug;

use crate::os::bpf::copy_plan::PageFault;
use crate::os::procfs::pagemap::{PageKind, PageMap};
use crate::os::procfs::statm::{Resident, counter_lag};
use crate::os::{Pid, page_size};
use crate::sampler::sample::{FaultGrowth, FaultSource, FaultTrace, RssChange};

/// The bytes of a huge page, with pages of 4 KiB.
const HUGE_PAGE: u64 = 2 << 20;

/// A recorded page fault.
pub struct RecordedFault {
    /// On `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    pub fault: PageFault,
    pub source: FaultSource,
}

/// A reading of a process's resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// On `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    pub resident: Resident,
}

/// Memory of one process from one reading to the next.
#[derive(Default)]
pub struct FaultTracker {
    last: Option<Reading>,
    faults: Vec<RecordedFault>,
    /// Released since the last report, in bytes: negative.
    released: i64,
    /// What the pages of these faults, by number, were soon after.
    kinds: HashMap<u64, PageKind>,
}

impl FaultTracker {
    /// Growth counts from this reading on, unless it does already.
    pub fn start(&mut self, reading: Reading) {
        self.last.get_or_insert(reading);
    }

    /// Finds out at once what the pages of faults are, before they are released.
    pub fn identify_pages(&mut self, pid: Pid, faults: impl Iterator<Item = PageFault>) {
        let pages: HashSet<u64> = faults.map(|fault| page(&fault)).collect();
        if pages.is_empty() {
            return;
        }
        let found = PageMap::open(pid).and_then(|mut map| {
            for page in pages {
                let kind = map.kind(page)?;
                self.kinds.insert(page, kind);
            }
            Ok(())
        });
        if let Err(error) = found {
            debug!("process {pid}: its pages: {error}");
        }
    }

    pub fn add(&mut self, faults: Vec<RecordedFault>) {
        self.faults.extend(faults);
    }

    /// What was added until this reading, and what was released. `has_traces`: the sample has a running thread, so that
    /// what was released can be attributed.
    pub fn take(&mut self, now: Reading, has_traces: bool) -> Option<(FaultGrowth, RssChange)> {
        let before = self.last.replace(now)?;
        let anonymous = |reading: Reading| reading.resident.anonymous_bytes();
        let anonymous_change = difference(anonymous(before), anonymous(now));
        let file_change = difference(before.resident.file_bytes, now.resident.file_bytes);
        for change in [anonymous_change, file_change] {
            self.released = self.released.saturating_add(change.min(0));
        }
        let gap_ns = now.time_ns.saturating_sub(before.time_ns);
        let released = match has_traces {
            true => std::mem::take(&mut self.released),
            false => 0,
        };
        let growth = FaultGrowth {
            anonymous_change,
            file_change,
            lag_bytes: counter_lag(),
            faults: self.traces_until(now.time_ns),
        };
        let change = RssChange {
            bytes: released,
            gap_ns,
            granularity: page_size(),
            ..RssChange::default()
        };
        Some((growth, change))
    }

    /// The faults until this time whose pages have stayed.
    fn traces_until(&mut self, time_ns: u64) -> Vec<FaultTrace> {
        let later = self.faults.extract_if(.., |one| one.time_ns > time_ns);
        let later = later.collect();
        let faults = std::mem::replace(&mut self.faults, later);
        // A page that was accessed twice is of the last one: it was released in between, or was read before it was
        // written to, or has been copied.
        let last = faults.iter().enumerate();
        let last: HashMap<u64, usize> = last.map(|(at, one)| (page(&one.fault), at)).collect();
        let kinds = &self.kinds;
        let faults = faults.into_iter().enumerate();
        let faults = faults.filter(|(at, one)| last.get(&page(&one.fault)) == Some(at));
        let traces = faults.filter_map(|(_, one)| {
            let kind = *kinds.get(&page(&one.fault))?;
            let size = match kind {
                PageKind::Absent => return None,
                PageKind::Anonymous | PageKind::File => page_size(),
                PageKind::Huge => HUGE_PAGE,
            };
            let others = one.fault.count.saturating_sub(1);
            Some(FaultTrace {
                source: one.source,
                // Those that it stands for have added a page each: huge pages are recorded themselves.
                bytes: size.saturating_add(page_size().saturating_mul(others)),
                is_file: kind == PageKind::File,
            })
        });
        let traces = traces.collect();
        let waiting = &self.faults;
        let waits = |number: u64| waiting.iter().any(|one| page(&one.fault) == number);
        self.kinds.retain(|number, _| waits(*number));
        traces
    }
}

fn page(fault: &PageFault) -> u64 {
    fault.addr.0 / page_size()
}

fn difference(before: u64, now: u64) -> i64 {
    let size = i64::try_from(before.abs_diff(now)).unwrap_or(i64::MAX);
    if now < before { -size } else { size }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::memory::address::RemoteAddr;
    use crate::sampler::sample::FaultSource;

    fn reading(time_ns: u64, anonymous_bytes: u64, file_bytes: u64) -> Reading {
        Reading {
            time_ns,
            resident: Resident {
                rss_bytes: anonymous_bytes + file_bytes,
                file_bytes,
            },
        }
    }

    fn fault(time_ns: u64, number: u64, count: u64) -> RecordedFault {
        RecordedFault {
            time_ns,
            fault: PageFault {
                addr: RemoteAddr(number * page_size() + 7),
                count,
            },
            source: FaultSource::NotPython,
        }
    }

    fn pages(growth: &FaultGrowth) -> Vec<(u64, bool)> {
        let pages = growth.faults.iter();
        let pages = pages.map(|one| (one.bytes / page_size(), one.is_file));
        pages.collect()
    }

    #[test]
    fn faults_have_the_size_of_what_stayed_and_belong_to_a_reading() {
        let mut tracker = FaultTracker::default();
        tracker.start(reading(10, 1_000, 500));
        // Only the first one counts.
        tracker.start(reading(20, 9_000, 9_000));
        let kinds = [
            (1, PageKind::Anonymous),
            (2, PageKind::Absent),
            (3, PageKind::File),
            (4, PageKind::Huge),
        ];
        tracker.kinds.extend(kinds);
        let faults = [(1, 2), (2, 1), (3, 1), (1, 9), (4, 1), (5, 1)];
        let faults = faults.into_iter().enumerate();
        let faults = faults.map(|(at, (number, count))| fault(11 + at as u64, number, count));
        tracker.add(faults.chain([fault(99, 1, 3)]).collect());
        let (growth, released) = tracker.take(reading(50, 5_000, 400), true).unwrap();
        assert_eq!((growth.anonymous_change, growth.file_change), (4_000, -100));
        assert_eq!((released.bytes, released.gap_ns), (-100, 40));
        // The page that is accessed again belongs to the second access, and of the last one nothing is known.
        assert_eq!(pages(&growth), [(1, true), (9, false), (512, false)]);
        let (growth, released) = tracker.take(reading(100, 5_000, 400), true).unwrap();
        assert_eq!((pages(&growth), released.bytes), (vec![(3, false)], 0));
        assert!(tracker.kinds.is_empty());
    }

    #[test]
    fn what_is_released_waits_for_a_running_thread() {
        let mut tracker = FaultTracker::default();
        assert!(tracker.take(reading(10, 1_000, 0), true).is_none());
        let mut released = |anonymous, has_traces| {
            let taken = tracker.take(reading(20, anonymous, 0), has_traces);
            taken.map(|(_, change)| change.bytes)
        };
        assert_eq!(released(900, false), Some(0));
        assert_eq!(released(1_000, false), Some(0));
        assert_eq!(released(950, true), Some(-150));
        assert_eq!(released(950, true), Some(0));
    }
}
