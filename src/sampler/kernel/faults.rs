//! [`FaultTracker`]: the page faults of one process between two readings of its RSS.

use std::collections::{HashMap, HashSet};

use log::debug;

use crate::os::bpf::copy_plan::PageFault;
use crate::os::page_size;
use crate::os::process::TargetProcess;
use crate::os::procfs::pagemap::PageKind;
use crate::os::procfs::statm::{Resident, counter_lag};
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

impl Reading {
    /// The same, but with this RSS, if there is one.
    pub fn with_rss(self, rss_bytes: Option<u64>) -> Reading {
        let resident = Resident {
            rss_bytes: rss_bytes.unwrap_or(self.resident.rss_bytes),
            ..self.resident
        };
        Reading { resident, ..self }
    }
}

/// What the pages of faults are, by number.
pub type PageKinds = HashMap<u64, PageKind>;

/// Finds out what the pages of faults are. Where the kernel does not tell they are taken for anonymous.
pub fn identify_pages(
    target: &TargetProcess,
    faults: impl Iterator<Item = PageFault>,
) -> PageKinds {
    let pages: HashSet<u64> = faults.map(|fault| page(&fault)).collect();
    if pages.is_empty() {
        return PageKinds::new();
    }
    let mut map = target.page_map().inspect_err(|error| {
        debug!("process {}: its pages: {error}", target.pid());
    });
    let kind = |page: u64| {
        let kind = map.as_mut().ok().map(|map| map.kind(page));
        let kind = kind.and_then(Result::ok);
        (page, kind.unwrap_or(PageKind::Anonymous))
    };
    pages.into_iter().map(kind).collect()
}

/// Memory of one process from one sample to the next.
#[derive(Default)]
pub struct FaultTracker {
    last: Option<Reading>,
    /// Later than the last reading.
    faults: Vec<RecordedFault>,
    /// What their pages were soon after.
    kinds: PageKinds,
    /// Since the last sample.
    growth: Vec<FaultGrowth>,
    /// Released since the last report, in bytes: negative.
    released: i64,
    /// The time of the last report.
    reported_ns: u64,
}

impl FaultTracker {
    /// Growth counts from this reading on, unless it does already.
    pub fn start(&mut self, reading: impl FnOnce() -> Reading) {
        if self.last.is_none() {
            let reading = reading();
            self.last = Some(reading);
            if self.reported_ns == 0 {
                self.reported_ns = reading.time_ns;
            }
        }
    }

    /// Others count growth from now on.
    pub fn stop(&mut self) {
        self.last = None;
        self.faults.clear();
        self.kinds.clear();
    }

    /// Adds faults, and the change since the last reading.
    pub fn advance(&mut self, now: Reading, faults: Vec<RecordedFault>, kinds: PageKinds) {
        let Some(before) = self.last else {
            return;
        };
        self.last = Some(now);
        self.faults.extend(faults);
        self.kinds.extend(kinds);
        let anonymous = |reading: Reading| reading.resident.anonymous_bytes();
        let anonymous_change = difference(anonymous(before), anonymous(now));
        let file_change = difference(before.resident.file_bytes, now.resident.file_bytes);
        for change in [anonymous_change, file_change] {
            self.released = self.released.saturating_add(change.min(0));
        }
        let faults = self.traces_until(now.time_ns);
        if anonymous_change == 0 && file_change == 0 && faults.is_empty() {
            return;
        }
        self.growth.push(FaultGrowth {
            anonymous_change,
            file_change,
            lag_bytes: counter_lag(),
            faults,
        });
    }

    /// What was added since the last call, and what was released. `has_traces`: the sample has a running thread, so that
    /// what was released can be attributed.
    pub fn take(&mut self, has_traces: bool) -> (Vec<FaultGrowth>, RssChange) {
        let released = match has_traces {
            true => std::mem::take(&mut self.released),
            false => 0,
        };
        let now_ns = self.last.map_or(self.reported_ns, |last| last.time_ns);
        let before_ns = std::mem::replace(&mut self.reported_ns, now_ns);
        let change = RssChange {
            bytes: released,
            gap_ns: now_ns.saturating_sub(before_ns),
            granularity: page_size(),
            ..RssChange::default()
        };
        (std::mem::take(&mut self.growth), change)
    }

    /// The faults until this time whose pages have stayed.
    fn traces_until(&mut self, time_ns: u64) -> Vec<FaultTrace> {
        let later = self.faults.extract_if(.., |one| one.time_ns > time_ns);
        let later: Vec<RecordedFault> = later.collect();
        let later_pages: HashSet<u64> = later.iter().map(|one| page(&one.fault)).collect();
        let faults = std::mem::replace(&mut self.faults, later);
        // A page that was accessed twice is of the last one: it was released in between, or was read before it was
        // written to, or has been copied. A huge page is one page, wherever it was accessed.
        let kinds = &self.kinds;
        let first_page = |one: &RecordedFault| {
            let page = page(&one.fault);
            match kinds.get(&page) {
                Some(PageKind::Huge) => page - page % (HUGE_PAGE / page_size()).max(1),
                _ => page,
            }
        };
        let last = faults.iter().enumerate();
        let last: HashMap<u64, usize> = last.map(|(at, one)| (first_page(one), at)).collect();
        let faults = faults.into_iter().enumerate();
        let faults = faults.filter(|(at, one)| last.get(&first_page(one)) == Some(at));
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
        self.kinds.retain(|number, _| later_pages.contains(number));
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
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
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
        tracker.start(|| reading(10, 1_000, 500));
        // Only the first one counts.
        tracker.start(|| reading(20, 9_000, 9_000));
        let kinds = [
            (1, PageKind::Anonymous),
            (2, PageKind::Absent),
            (3, PageKind::File),
            (4, PageKind::Huge),
        ];
        let faults = [(1, 2), (2, 1), (3, 1), (1, 9), (4, 1), (5, 1)];
        let faults = faults.into_iter().enumerate();
        let faults = faults.map(|(at, (number, count))| fault(11 + at as u64, number, count));
        let faults = faults.chain([fault(99, 1, 3)]).collect();
        tracker.advance(reading(50, 5_000, 400), faults, kinds.into());
        tracker.advance(reading(60, 5_000, 400), Vec::new(), PageKinds::new());
        tracker.advance(reading(100, 5_000, 400), Vec::new(), PageKinds::new());
        let (growth, released) = tracker.take(true);
        assert_eq!((released.bytes, released.gap_ns), (-100, 90));
        let changes = growth
            .iter()
            .map(|one| (one.anonymous_change, one.file_change));
        assert_eq!(changes.collect::<Vec<_>>(), [(4_000, -100), (0, 0)]);
        // The page that is accessed again belongs to the second access, and of the last one nothing is known.
        assert_eq!(pages(&growth[0]), [(1, true), (9, false), (512, false)]);
        assert_eq!(pages(&growth[1]), [(3, false)]);
        assert!(tracker.kinds.is_empty() && tracker.take(true).0.is_empty());
    }

    /// What was mapped before at the addresses of a huge page was taken for that page.
    #[test]
    fn a_huge_page_is_of_one_fault() {
        let mut tracker = FaultTracker::default();
        tracker.start(|| reading(10, 0, 0));
        let kinds = [512, 700, 1_023, 1_024].map(|page| (page, PageKind::Huge));
        let faults = [(700, 40), (1_023, 3), (1_024, 1), (512, 1)];
        let faults = faults.into_iter().enumerate();
        let faults = faults.map(|(at, (number, count))| fault(11 + at as u64, number, count));
        let added = 2 * HUGE_PAGE;
        tracker.advance(reading(50, added, 0), faults.collect(), kinds.into());
        let (growth, _) = tracker.take(true);
        assert_eq!(pages(&growth[0]), [(512, false), (512, false)]);
    }

    #[test]
    fn what_is_released_waits_for_a_running_thread() {
        let mut tracker = FaultTracker::default();
        tracker.start(|| reading(10, 1_000, 0));
        let mut released = |anonymous, has_traces| {
            tracker.advance(reading(20, anonymous, 0), Vec::new(), PageKinds::new());
            tracker.take(has_traces).1.bytes
        };
        assert_eq!(released(900, false), 0);
        assert_eq!(released(1_000, false), 0);
        assert_eq!(released(950, true), -150);
        assert_eq!(released(950, true), 0);
    }

    /// Growth while the process was paused was counted again.
    #[test]
    fn nothing_is_counted_while_others_count() {
        let mut tracker = FaultTracker::default();
        tracker.start(|| reading(10, 1_000, 0));
        tracker.advance(
            reading(20, 3_000, 0),
            vec![fault(30, 1, 1)],
            PageKinds::new(),
        );
        tracker.stop();
        tracker.advance(
            reading(40, 9_000, 0),
            vec![fault(35, 2, 1)],
            PageKinds::new(),
        );
        tracker.stop();
        tracker.start(|| reading(50, 10_000, 0));
        tracker.advance(reading(60, 10_500, 0), Vec::new(), PageKinds::new());
        let (growth, _) = tracker.take(true);
        let changes = growth.iter().map(|one| one.anonymous_change);
        assert_eq!(changes.collect::<Vec<_>>(), [2_000, 500]);
    }
}
