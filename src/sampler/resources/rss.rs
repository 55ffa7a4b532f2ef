//! [`RssTracker`]: how much resident memory came or went since the last look, and whose page faults
//! that were.
//!
//! Page faults are asked for sparingly: a thread's `stat` takes the kernel ten times as long as
//! `statm`. Only when resident memory has changed, and only of threads that have run since. If that is
//! one alone, all faults must be its own or those of threads that know no Python; how these share is
//! asked for [now and then](ASK_EVERY), and holds until the next time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::os::process::TargetProcess;
use crate::os::thread::page_faults::FaultReader;
use crate::os::{Pid, Tid, page_size};
use crate::sampler::capture::options::Snapshot;
use crate::sampler::capture::tracked_threads::TrackedThreads;
use crate::sampler::sample::RssChange;

/// How long an answer about the only thread that runs may hold.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How large a change may be, in bytes, that is settled by an old answer. Adding as much takes the
/// target some 200 µs.
const SMALL: u64 = 1 << 20;
/// A look that took longer was interrupted, and the target may have done anything meanwhile. Mostly it
/// takes some 20 µs.
const LONGEST_LOOK: Duration = Duration::from_micros(100);
/// After so many looks without a change, resident memory is read once in a look, not twice.
const QUIET: u32 = 100;
/// Threads that are remembered without looking for those to forget.
const FEW: usize = 64;

/// What is remembered of one process.
#[derive(Debug, Default)]
pub struct RssTracker {
    /// The last reading whose change was told, in bytes, and when that was.
    settled: Option<(u64, Instant)>,
    /// The smallest change that was seen, in bytes.
    granularity: Option<u64>,
    /// Looks without a change.
    quiet: u32,
    process: Option<Faults>,
    threads: HashMap<Tid, Faults>,
    asked: Option<Instant>,
    /// Faults of Python's threads since the process was asked for its own.
    by_threads: u64,
    /// Of all faults then, the share (0 to 1) that no Python thread has had.
    other_share: f64,
}

/// A counter that is asked for what is new.
#[derive(Debug)]
struct Faults {
    reader: FaultReader,
    told: u64,
    /// Of those to come, how many have been taken for told without asking.
    guessed: u64,
}

impl Faults {
    fn new(reader: FaultReader) -> Faults {
        Faults {
            reader,
            told: 0,
            guessed: 0,
        }
    }

    fn new_ones(&mut self) -> Option<u64> {
        let total = self.reader.total().ok()?;
        let before = std::mem::replace(&mut self.told, total);
        self.guessed = 0;
        Some(total.saturating_sub(before))
    }
}

impl RssTracker {
    /// Whether resident memory is worth reading when a look starts: it has changed lately.
    pub fn wants_start(&self) -> bool {
        self.quiet < QUIET
    }

    /// The change that a look has found, whose threads are given their page faults. `at_start` is
    /// resident memory in bytes as the look started, `now`, if that was
    /// [wanted](RssTracker::wants_start).
    pub fn update<T>(
        &mut self,
        process: &TargetProcess,
        at_start: Option<u64>,
        watch: &mut TrackedThreads,
        snapshot: &mut Snapshot<T>,
        now: Instant,
    ) -> Option<RssChange> {
        let pid = process.pid();
        let at_end = process.rss().ok()?;
        let end = Instant::now();
        let Some((settled, since)) = self.settled else {
            self.begin(pid, at_end, watch, end);
            return None;
        };
        // What a thread has added that was not seen now is settled when it is seen again.
        if snapshot.torn > 0 {
            return None;
        }
        self.settled = Some((at_end, end));
        let paused = snapshot.pauses.iter().max().copied().unwrap_or_default();
        let took = (end - now).saturating_sub(paused);
        let at_start = at_start.filter(|_| took <= LONGEST_LOOK);
        let until = if at_start.is_some() { now } else { end };
        let mut change = RssChange {
            bytes: change(settled, at_end),
            during_sample: at_start.map_or(0, |bytes| change(bytes, at_end)),
            sample_ns: at_start.map_or(0, |_| nanos(took)),
            gap_ns: nanos(until.saturating_duration_since(since)),
            granularity: self.granularity.unwrap_or(page_size()),
            other_faults: 0,
        };
        let size = change.bytes.unsigned_abs();
        self.quiet = self.quiet.saturating_add(1);
        if size == 0 {
            return Some(change);
        }
        self.quiet = 0;
        self.granularity = Some(
            self.granularity
                .map_or(size, |granularity| granularity.min(size)),
        );
        let grows = change.bytes > 0;
        let pages = (size / page_size()).max(1);
        let ran = watch.ran_since_fault_read();
        let is_old = self
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY);
        if let [only] = *ran
            && (!is_old && size < SMALL || !grows)
        {
            let other = (pages as f64 * self.other_share) as u64;
            let own = pages.saturating_sub(other);
            if let Some(known) = self.threads.get_mut(&only).filter(|_| grows) {
                known.guessed = known.guessed.saturating_add(own);
            }
            change.other_faults = other;
            give(snapshot, only, own);
            return Some(change);
        }
        let mut by_threads = 0_u64;
        for tid in ran {
            let guessed = self.threads.get(&tid).map_or(0, |known| known.guessed);
            if let Some(faults) = self.of_thread(pid, tid) {
                self.by_threads = self.by_threads.saturating_add(faults);
                let faults = faults.saturating_sub(guessed);
                by_threads = by_threads.saturating_add(faults);
                give(snapshot, tid, faults);
            }
        }
        watch.mark_faults_read();
        change.other_faults = self.of_others(by_threads, pages, now);
        if self.threads.len() > FEW + 2 * snapshot.traces.len() {
            let tids: Vec<Tid> = watch.tids().collect();
            self.threads.retain(|tid, _| tids.contains(tid));
        }
        Some(change)
    }

    /// The last reading that was settled, in bytes.
    pub fn last(&self) -> Option<u64> {
        self.settled.map(|(bytes, _)| bytes)
    }

    /// The first look: from here on is counted.
    fn begin(&mut self, pid: Pid, rss_bytes: u64, watch: &mut TrackedThreads, now: Instant) {
        self.settled = Some((rss_bytes, now));
        self.asked = Some(now);
        for tid in watch.tids() {
            self.of_thread(pid, tid);
        }
        watch.mark_faults_read();
        let reader = FaultReader::of_process(pid).ok();
        self.process = reader.map(Faults::new);
        self.process.as_mut().and_then(Faults::new_ones);
    }

    /// What a thread has had since it was last asked; of one that is new, all.
    fn of_thread(&mut self, pid: Pid, tid: Tid) -> Option<u64> {
        use std::collections::hash_map::Entry;
        let new_ones = match self.threads.entry(tid) {
            Entry::Occupied(mut known) => known.get_mut().new_ones(),
            Entry::Vacant(new) => {
                let reader = FaultReader::of_thread(pid, tid).ok()?;
                new.insert(Faults::new(reader)).new_ones()
            }
        };
        if new_ones.is_none() {
            // It has ended, and another one may have its number soon.
            self.threads.remove(&tid);
        }
        new_ones
    }

    /// What others than Python's threads have had in the time of these faults. The process is only
    /// asked if a change of so many `pages` does not explain itself.
    fn of_others(&mut self, by_threads: u64, pages: u64, now: Instant) -> u64 {
        let is_old = self
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY);
        if by_threads >= pages - pages / 4 && !is_old {
            return 0;
        }
        self.asked = Some(now);
        let all = self.process.as_mut().and_then(Faults::new_ones);
        let known = std::mem::take(&mut self.by_threads);
        let others = all.map_or(0, |all| all.saturating_sub(known));
        self.other_share = others as f64 / (others + known).max(1) as f64;
        if known > by_threads && by_threads > 0 {
            // Over a longer time than this change's.
            return (others as f64 * by_threads as f64 / known as f64) as u64;
        }
        others
    }
}

/// From one reading to the next.
fn change(from: u64, to: u64) -> i64 {
    let size = i64::try_from(from.abs_diff(to)).unwrap_or(i64::MAX);
    if to < from { -size } else { size }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn give<T>(snapshot: &mut Snapshot<T>, tid: Tid, faults: u64) {
    let mut threads = snapshot.traces.iter_mut().map(|trace| &mut trace.thread);
    if let Some(thread) = threads.find(|thread| thread.os_thread_id == Some(tid)) {
        thread.faults = Some(thread.faults.unwrap_or_default().saturating_add(faults));
    }
}
