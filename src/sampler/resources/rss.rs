//! [`RssTracker`]: the change of a process's RSS since the previous sample, and the page faults of its
//! threads in the same time.
//!
//! Page faults are read rarely: a thread's `stat` takes the kernel ten times as long as `statm`. They are
//! read only if the RSS has changed, and only for threads that have run since. With one running Python
//! thread, faults belong to it or to native threads; that ratio is measured every
//! [`FAULT_READ_INTERVAL`] and reused in between.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::os::process::TargetProcess;
use crate::os::thread::page_faults::FaultReader;
use crate::os::{Pid, Tid, page_size};
use crate::sampler::capture::options::Snapshot;
use crate::sampler::capture::tracked_threads::TrackedThreads;
use crate::sampler::sample::RssChange;

/// Maximum age of the measured ratio.
const FAULT_READ_INTERVAL: Duration = Duration::from_millis(10);
/// Maximum change in bytes to which the measured ratio is applied. Adding as much takes the target some
/// 200 µs.
const SMALL_CHANGE: u64 = 1 << 20;
/// Maximum time of a sample, which usually takes some 20 µs. A longer one was interrupted, and the RSS may
/// have changed for any reason meanwhile.
const MAX_SAMPLE_TIME: Duration = Duration::from_micros(100);
/// After so many samples without a change, the RSS is read once per sample instead of twice.
const QUIET_SAMPLES: u32 = 100;
/// Number of fault counters from which on those of ended threads are dropped.
const CLEANUP_THRESHOLD: usize = 64;

/// The state for one process.
#[derive(Debug, Default)]
pub struct RssTracker {
    /// The last RSS whose change was reported, in bytes, and its time.
    reported: Option<(u64, Instant)>,
    /// The smallest change observed, in bytes.
    granularity: Option<u64>,
    /// Samples since the last change.
    quiet: u32,
    process: Option<FaultCounter>,
    threads: HashMap<Tid, FaultCounter>,
    /// When the faults of the process were last read.
    process_read_at: Option<Instant>,
    /// Faults of Python threads since then.
    python_faults: u64,
    /// The share (0 to 1) of other threads in the faults at that time.
    other_share: f64,
}

/// RSS readings, in bytes, and their times.
struct Readings {
    /// The last one whose change was reported.
    before: (u64, Instant),
    start: (Option<u64>, Instant),
    end: (u64, Instant),
    /// Part of the time from start to end for which threads were paused.
    paused: Duration,
}

/// Reads the increase of a fault counter.
#[derive(Debug)]
struct FaultCounter {
    reader: FaultReader,
    reported: u64,
    /// Faults after `reported` that were estimated and reported without a read.
    estimated: u64,
}

impl FaultCounter {
    fn new(reader: FaultReader) -> FaultCounter {
        FaultCounter {
            reader,
            reported: 0,
            estimated: 0,
        }
    }

    fn take_new(&mut self) -> Option<u64> {
        let total = self.reader.total().ok()?;
        let before = std::mem::replace(&mut self.reported, total);
        self.estimated = 0;
        Some(total.saturating_sub(before))
    }
}

impl RssTracker {
    /// Whether the RSS should also be read at the start of a sample: it has changed recently.
    pub fn needs_start(&self) -> bool {
        self.quiet < QUIET_SAMPLES
    }

    /// The change since the previous sample. Also adds their page faults to the threads of `snapshot`.
    /// `at_start` is the RSS in bytes at the start of the sample, `now`, if that was
    /// [needed](RssTracker::needs_start).
    pub fn update<T>(
        &mut self,
        process: &TargetProcess,
        at_start: Option<u64>,
        tracked: &mut TrackedThreads,
        snapshot: &mut Snapshot<T>,
        now: Instant,
    ) -> Option<RssChange> {
        let pid = process.pid();
        let at_end = process.rss().ok()?;
        let end = Instant::now();
        let Some((reported, since)) = self.reported else {
            self.begin(pid, at_end, tracked, end);
            return None;
        };
        // The growth due to a thread that is missing is reported with its next stack.
        if snapshot.torn > 0 {
            return None;
        }
        self.reported = Some((at_end, end));
        let paused = snapshot.pauses.iter().max().copied().unwrap_or_default();
        let readings = Readings {
            before: (reported, since),
            start: (at_start, now),
            end: (at_end, end),
            paused,
        };
        let mut change = self.measure(&readings);
        let size = change.bytes.unsigned_abs();
        if size == 0 {
            return Some(change);
        }
        let grows = change.bytes > 0;
        let pages = (size / page_size()).max(1);
        let ran = tracked.ran_since_fault_read();
        if let [only] = *ran
            && (!self.is_ratio_old(now) && size < SMALL_CHANGE || !grows)
        {
            let other = (pages as f64 * self.other_share) as u64;
            let own = pages.saturating_sub(other);
            if let Some(known) = self.threads.get_mut(&only).filter(|_| grows) {
                known.estimated = known.estimated.saturating_add(own);
            }
            change.other_faults = other;
            add_faults(snapshot, only, own);
            return Some(change);
        }
        let mut in_change = 0_u64;
        for tid in ran {
            let estimated = self.threads.get(&tid).map_or(0, |known| known.estimated);
            if let Some(faults) = self.thread_faults(pid, tid) {
                self.python_faults = self.python_faults.saturating_add(faults);
                let faults = faults.saturating_sub(estimated);
                in_change = in_change.saturating_add(faults);
                add_faults(snapshot, tid, faults);
            }
        }
        tracked.mark_faults_read();
        change.other_faults = self.other_faults(in_change, pages, now);
        if self.threads.len() > CLEANUP_THRESHOLD + 2 * snapshot.traces.len() {
            let tids: Vec<Tid> = tracked.tids().collect();
            self.threads.retain(|tid, _| tids.contains(tid));
        }
        Some(change)
    }

    /// The change between these readings, still without faults.
    fn measure(&mut self, readings: &Readings) -> RssChange {
        let (reported, since) = readings.before;
        let (at_start, start) = readings.start;
        let (at_end, end) = readings.end;
        let took = (end - start).saturating_sub(readings.paused);
        let at_start = at_start.filter(|_| took <= MAX_SAMPLE_TIME);
        let until = if at_start.is_some() { start } else { end };
        let change = RssChange {
            bytes: difference(reported, at_end),
            during_sample: at_start.map_or(0, |bytes| difference(bytes, at_end)),
            sample_ns: at_start.map_or(0, |_| nanos(took)),
            gap_ns: nanos(until.saturating_duration_since(since)),
            granularity: self.granularity.unwrap_or(page_size()),
            other_faults: 0,
        };
        let size = change.bytes.unsigned_abs();
        if size == 0 {
            self.quiet = self.quiet.saturating_add(1);
        } else {
            self.quiet = 0;
            self.granularity = Some(self.granularity.map_or(size, |smallest| smallest.min(size)));
        }
        change
    }

    /// The last RSS whose change was reported, in bytes.
    pub fn last(&self) -> Option<u64> {
        self.reported.map(|(bytes, _)| bytes)
    }

    /// The first sample: changes are relative to it.
    fn begin(&mut self, pid: Pid, rss_bytes: u64, tracked: &mut TrackedThreads, now: Instant) {
        self.reported = Some((rss_bytes, now));
        self.process_read_at = Some(now);
        for tid in tracked.tids() {
            self.thread_faults(pid, tid);
        }
        tracked.mark_faults_read();
        let reader = FaultReader::of_process(pid).ok();
        self.process = reader.map(FaultCounter::new);
        self.process.as_mut().and_then(FaultCounter::take_new);
    }

    fn is_ratio_old(&self, now: Instant) -> bool {
        let age = |read_at| now.saturating_duration_since(read_at);
        self.process_read_at
            .is_none_or(|read_at| age(read_at) >= FAULT_READ_INTERVAL)
    }

    /// The faults of a thread since the last read; for a new thread, all.
    fn thread_faults(&mut self, pid: Pid, tid: Tid) -> Option<u64> {
        use std::collections::hash_map::Entry;
        let faults = match self.threads.entry(tid) {
            Entry::Occupied(mut known) => known.get_mut().take_new(),
            Entry::Vacant(new) => {
                let reader = FaultReader::of_thread(pid, tid).ok()?;
                new.insert(FaultCounter::new(reader)).take_new()
            }
        };
        if faults.is_none() {
            // The thread has ended, and its id may be reused.
            self.threads.remove(&tid);
        }
        faults
    }

    /// The faults of other than Python threads while Python threads had those of this change. Those of
    /// the process are only read if they do not explain its `pages`, or if the ratio is old.
    fn other_faults(&mut self, in_change: u64, pages: u64, now: Instant) -> u64 {
        if in_change >= pages - pages / 4 && !self.is_ratio_old(now) {
            return 0;
        }
        self.process_read_at = Some(now);
        let all = self.process.as_mut().and_then(FaultCounter::take_new);
        let python = std::mem::take(&mut self.python_faults);
        let others = all.map_or(0, |all| all.saturating_sub(python));
        self.other_share = others as f64 / (others + python).max(1) as f64;
        part_in_change(others, python, in_change)
    }
}

/// The part of the `others` faults that belongs to a change, in which Python threads had `in_change` of
/// their `python` faults since the last read of both: the faults may cover a longer time than the change.
fn part_in_change(others: u64, python: u64, in_change: u64) -> u64 {
    if python > in_change && in_change > 0 {
        return (others as f64 * in_change as f64 / python as f64) as u64;
    }
    others
}

fn difference(from: u64, to: u64) -> i64 {
    let size = i64::try_from(from.abs_diff(to)).unwrap_or(i64::MAX);
    if to < from { -size } else { size }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn add_faults<T>(snapshot: &mut Snapshot<T>, tid: Tid, faults: u64) {
    let mut threads = snapshot.traces.iter_mut().map(|trace| &mut trace.thread);
    if let Some(thread) = threads.find(|thread| thread.os_thread_id == Some(tid)) {
        thread.faults = Some(thread.faults.unwrap_or_default().saturating_add(faults));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_signed_and_bounded() {
        for (from, to, expected) in [
            (4096, 12_288, 8192),
            (12_288, 4096, -8192),
            (7, 7, 0),
            (0, u64::MAX, i64::MAX),
            (u64::MAX, 0, -i64::MAX),
        ] {
            assert_eq!(difference(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn faults_of_other_threads_are_scaled_to_the_time_of_the_change() {
        for (others, python, in_change, expected) in [
            // All faults of Python threads belong to the change.
            (100, 50, 50, 100),
            // A quarter of them does.
            (100, 200, 50, 25),
            // Nothing to scale by.
            (100, 200, 0, 100),
            (100, 0, 0, 100),
            (0, 200, 50, 0),
        ] {
            let part = part_in_change(others, python, in_change);
            assert_eq!(part, expected, "{others} {python} {in_change}");
        }
    }

    #[test]
    fn a_change_is_split_into_gap_and_sample() {
        let before = Instant::now();
        let us = Duration::from_micros;
        let start = before + us(900);
        let measure = |at_start, took, paused| {
            RssTracker::default().measure(&Readings {
                before: (8192, before),
                start: (at_start, start),
                end: (20_480, start + took),
                paused,
            })
        };
        let split = measure(Some(16_384), us(30), us(10));
        assert_eq!((split.bytes, split.during_sample), (12_288, 4096));
        assert_eq!((split.gap_ns, split.sample_ns), (900_000, 20_000));
        // Without a reading at the start, and in an interrupted sample, all of it belongs to the gap.
        for whole in [
            measure(None, us(30), us(10)),
            measure(Some(16_384), us(130), us(10)),
        ] {
            assert_eq!((whole.bytes, whole.during_sample), (12_288, 0));
            assert_eq!(whole.sample_ns, 0);
            assert!(whole.gap_ns > 900_000);
        }
        // Not interrupted, but paused.
        assert_eq!(measure(Some(16_384), us(130), us(50)).during_sample, 4096);
    }

    #[test]
    fn the_smallest_change_is_the_granularity_of_later_ones() {
        let now = Instant::now();
        let mut tracker = RssTracker::default();
        let mut granularity = |from, to| {
            let readings = Readings {
                before: (from, now),
                start: (None, now),
                end: (to, now),
                paused: Duration::ZERO,
            };
            tracker.measure(&readings).granularity
        };
        assert_eq!(granularity(0, 262_144), page_size());
        assert_eq!(granularity(0, 65_536), 262_144);
        assert_eq!(granularity(0, 0), 65_536);
        assert_eq!(granularity(131_072, 0), 65_536);
    }

    #[test]
    fn the_start_of_a_sample_is_read_while_the_rss_changes() {
        let now = Instant::now();
        let mut tracker = RssTracker::default();
        let mut measure = |from, to| {
            tracker.measure(&Readings {
                before: (from, now),
                start: (None, now),
                end: (to, now),
                paused: Duration::ZERO,
            });
            tracker.needs_start()
        };
        assert!((1..QUIET_SAMPLES).all(|_| measure(7, 7)));
        assert!(!measure(7, 7));
        assert!(measure(7, 8));
    }
}
