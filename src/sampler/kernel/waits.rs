//! [`WaitTracker`]: how long the threads of one process wait, and with which stack.
//!
//! The kernel reports each thread that leaves its CPU, with its stack. When the thread leaves its CPU again it is
//! known when it had come back, and so how long it has waited with the stack before. A thread that has waited since
//! before the first report is read once, while it waits. The rest of its time it was on a CPU. Samples in timer
//! interrupts have that time; what they lack at the end is added to the last ones.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use crate::cpython::stack::trace::StackTrace;
use crate::os::bpf::LastWait;
use crate::os::bpf::copy_plan::EarlierWaits;

/// The stack of a thread that leaves its CPU.
pub struct RecordedWait {
    /// On `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// As records have it.
    pub tid: u32,
    pub earlier: EarlierWaits,
    /// `None`: it runs no Python, or its stack could not be read.
    pub trace: Option<StackTrace>,
}

/// A wait that goes on, as far as is known.
struct OpenWait {
    /// When it began. For a thread that was never reported, the start of sampling; 0 for one that was sampled on a
    /// CPU, but never reported.
    began_ns: u64,
    /// From when on it counts.
    from_ns: u64,
    /// When the thread was first on a CPU again, if that was seen.
    ran_at_ns: Option<u64>,
    trace: Option<StackTrace>,
    /// It was not reported, but read while it went on. How long all before it took together that were not reported.
    skipped_ns: Option<u64>,
}

/// The time of one thread.
struct ThreadTime {
    /// Its last wait.
    wait: OpenWait,
    /// Its time on a CPU so far, less that of its samples.
    cpu_ns: i64,
    /// Whether it was on the list of Python threads, and is not any more.
    was_listed: bool,
    is_missing: bool,
    /// The last stacks that were sampled on a CPU.
    on_cpu: VecDeque<StackTrace>,
}

impl OpenWait {
    /// That of a thread which was never reported.
    fn never(from_ns: u64) -> OpenWait {
        OpenWait {
            began_ns: 0,
            from_ns,
            ran_at_ns: None,
            trace: None,
            skipped_ns: None,
        }
    }
}

impl ThreadTime {
    /// Its last wait goes on until this time, or it was seen on a CPU and has stayed there.
    fn end_wait(&mut self, end_ns: u64, waited: &mut Waited) {
        if self.wait.began_ns == 0 {
            // Its samples have its time.
            return;
        }
        let back_ns = self.wait.ran_at_ns.unwrap_or(end_ns).min(end_ns);
        let ns = back_ns.saturating_sub(self.wait.from_ns);
        add_time(waited, back_ns, self.wait.trace.take(), ns);
        let ran_ns = end_ns.saturating_sub(back_ns);
        self.cpu_ns = self.cpu_ns.saturating_add_unsigned(ran_ns);
    }

    /// The time on a CPU that no sample has is of the last ones.
    fn end(self, end_ns: u64, waited: &mut Waited) {
        let cpu_ns = u64::try_from(self.cpu_ns).unwrap_or(0);
        let count = self.on_cpu.len() as u64;
        let share = cpu_ns.checked_div(count).unwrap_or(0);
        for trace in self.on_cpu {
            add_time(waited, end_ns, Some(trace), share);
        }
    }

    /// The time of a wait, less what it takes the kernel to switch threads: samples have that as CPU time, too.
    fn less_switching(&mut self, wait_ns: u64) -> u64 {
        let too_much = u64::try_from(self.cpu_ns.saturating_neg()).unwrap_or(0);
        let switching = too_much.min(wait_ns);
        self.cpu_ns = self.cpu_ns.saturating_add_unsigned(switching);
        wait_ns.saturating_sub(switching)
    }

    fn new(wait: OpenWait) -> ThreadTime {
        ThreadTime {
            wait,
            cpu_ns: 0,
            was_listed: false,
            is_missing: false,
            on_cpu: VecDeque::new(),
        }
    }
}

/// The waits of the threads of one process. Times are in nanoseconds, on `CLOCK_MONOTONIC`.
#[derive(Default)]
pub struct WaitTracker {
    /// By the id that records have.
    threads: HashMap<u32, ThreadTime>,
    /// When the process was first sampled.
    since_ns: Option<u64>,
    /// How many waits were not recorded at the last search for long ones, and when the next one is due.
    passed: u64,
    had_passed: bool,
    search_ns: u64,
}

/// Time between two searches for long waits that were not recorded. Each asks the kernel about each thread.
const SEARCH_INTERVAL_NS: u64 = 50_000_000;
/// The most threads that are not on the list of Python threads.
const MAX_UNLISTED: usize = 4_096;
/// The most stacks of a thread that share its last CPU time; of more threads, one each.
const MAX_ON_CPU: usize = 16;
const MANY_THREADS: usize = 256;

/// Stacks with the time that was spent in them, and when it ended.
pub type Waited = Vec<(u64, StackTrace)>;

impl WaitTracker {
    /// Adds the report of a thread that has left its CPU.
    pub fn add(&mut self, wait: RecordedWait, waited: &mut Waited) {
        let now_ns = wait.time_ns;
        let EarlierWaits {
            recorded_at_ns,
            recorded_ns,
            skipped_ns,
        } = wait.earlier;
        let trace = wait.trace.clone();
        let since_ns = self.since_ns.unwrap_or(0);
        let open = OpenWait {
            began_ns: now_ns,
            from_ns: now_ns.max(since_ns),
            ran_at_ns: None,
            trace: wait.trace,
            skipped_ns: None,
        };
        let thread = match self.threads.entry(wait.tid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(ThreadTime::new(OpenWait::never(since_ns))),
        };
        let before = std::mem::replace(&mut thread.wait, open);
        if before.began_ns == 0 {
            // What was before the first report is not known, but for how long it has been on the CPU that it leaves.
            let came_ns = recorded_at_ns.saturating_add(recorded_ns);
            if skipped_ns == 0 {
                let ran_ns = now_ns.saturating_sub(came_ns.max(before.from_ns));
                thread.cpu_ns = thread.cpu_ns.saturating_add_unsigned(ran_ns);
            }
            return;
        }
        // Whatever is reported, no more time than there was.
        let mut left = now_ns.saturating_sub(before.from_ns);
        let recorded_until_ns = recorded_at_ns.saturating_add(recorded_ns);
        let waits = match before.skipped_ns {
            Some(known_ns) => [
                (now_ns, before.trace, skipped_ns.saturating_sub(known_ns)),
                (now_ns, None, 0),
            ],
            None if before.began_ns == recorded_at_ns => {
                let ns = recorded_until_ns.saturating_sub(before.from_ns);
                [
                    (recorded_until_ns, before.trace, ns),
                    (now_ns, trace, skipped_ns),
                ]
            }
            // The record of that wait is missing.
            None => [
                (recorded_until_ns, None, recorded_ns),
                (now_ns, trace, skipped_ns),
            ],
        };
        let waits = waits.map(|(end_ns, trace, ns)| {
            let ns = ns.min(left);
            left = left.saturating_sub(ns);
            (end_ns, trace, ns)
        });
        thread.cpu_ns = thread.cpu_ns.saturating_add_unsigned(left);
        for (end_ns, trace, ns) in waits {
            let ns = thread.less_switching(ns);
            add_time(waited, end_ns, trace, ns);
        }
    }

    /// A thread was on a CPU at this time. The stack has its CPU time until `now_ns`.
    pub fn ran(&mut self, tid: u32, time_ns: u64, now_ns: u64, trace: StackTrace) {
        let most = match self.threads.len() {
            ..=MANY_THREADS => MAX_ON_CPU,
            _ => 1,
        };
        let thread = self.threads.entry(tid);
        let thread = thread.or_insert_with(|| ThreadTime::new(OpenWait::never(now_ns)));
        if thread.wait.began_ns == 0 {
            thread.wait.from_ns = now_ns;
        } else {
            let ns = i64::try_from(trace.thread.time_ns.unwrap_or_default()).unwrap_or(i64::MAX);
            thread.cpu_ns = thread.cpu_ns.saturating_sub(ns);
        }
        while thread.on_cpu.len() >= most {
            thread.on_cpu.pop_front();
        }
        thread.on_cpu.push_back(trace);
        if thread.wait.ran_at_ns.is_none() && time_ns > thread.wait.began_ns {
            thread.wait.ran_at_ns = Some(time_ns);
        }
    }

    /// Whether a thread may wait with a stack that is not known.
    pub fn needs_stack(&self, tid: u32) -> bool {
        let wait = self.threads.get(&tid).map(|thread| &thread.wait);
        wait.is_none_or(|wait| wait.trace.is_none() && wait.ran_at_ns.is_none())
    }

    /// The stack of a thread that waits, of which nothing was reported but maybe when it began. `start_ns`: when
    /// sampling started.
    pub fn set_stack(&mut self, tid: u32, trace: StackTrace, began_ns: Option<u64>, start_ns: u64) {
        let since_ns = self.since_ns.unwrap_or(start_ns);
        let unknown = OpenWait {
            began_ns: began_ns.unwrap_or(start_ns),
            from_ns: began_ns.unwrap_or(start_ns).max(since_ns),
            ran_at_ns: None,
            trace: None,
            skipped_ns: None,
        };
        match self.threads.entry(tid) {
            Entry::Occupied(mut known) => {
                let thread = known.get_mut();
                if began_ns.is_some_and(|began| thread.wait.began_ns != began) {
                    thread.wait = unknown;
                }
                thread.wait.trace = Some(trace);
            }
            Entry::Vacant(new) => {
                let thread = new.insert(ThreadTime::new(unknown));
                thread.wait.trace = Some(trace);
            }
        }
    }

    /// Whether long waits that were not recorded are to be searched for. `passed`: how many waits were not recorded so
    /// far.
    pub fn may_have_skipped(&mut self, passed: u64, now_ns: u64) -> bool {
        if now_ns < self.search_ns {
            return false;
        }
        self.search_ns = now_ns.saturating_add(SEARCH_INTERVAL_NS);
        // Those of the last interval were too short at that time.
        let before = std::mem::replace(&mut self.passed, passed);
        let had_some = std::mem::replace(&mut self.had_passed, passed != before);
        had_some || passed != before
    }

    /// Whether it is known that a thread waits since this time.
    pub fn has_wait_since(&self, tid: u32, began_ns: u64) -> bool {
        let thread = self.threads.get(&tid);
        thread.is_some_and(|thread| thread.wait.began_ns == began_ns)
    }

    /// Adds a wait that was not reported, which goes on.
    pub fn add_skipped(&mut self, wait: RecordedWait, waited: &mut Waited) {
        let (tid, skipped_ns) = (wait.tid, wait.earlier.skipped_ns);
        self.add(wait, waited);
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.wait.skipped_ns = Some(skipped_ns);
        }
    }

    /// Forgets threads that are not on the list of Python threads any more. One that never was may be new.
    pub fn retain(&mut self, listed: &HashSet<u32>, now_ns: u64, waited: &mut Waited) {
        let are_many = self.threads.len() > listed.len().saturating_add(MAX_UNLISTED);
        let has_ended = |tid: &u32, thread: &mut ThreadTime| {
            let is_listed = listed.contains(tid);
            thread.was_listed |= is_listed;
            // Its last report may come later than the list.
            let was_missing = std::mem::replace(&mut thread.is_missing, !is_listed);
            !is_listed && (thread.was_listed && was_missing || are_many)
        };
        for (_, thread) in self.threads.extract_if(has_ended) {
            thread.end(now_ns, waited);
        }
    }

    /// The threads that may be about to be forgotten.
    pub fn missing(&self, listed: &HashSet<u32>) -> Vec<u32> {
        let tids = self.threads.keys().copied();
        tids.filter(|tid| !listed.contains(tid)).collect()
    }

    /// All threads.
    pub fn tids(&self) -> Vec<u32> {
        self.threads.keys().copied().collect()
    }

    /// Adds what the kernel knows of a thread that will not be reported any more: that it has left its CPU since.
    pub fn catch_up(&mut self, last: LastWait, waited: &mut Waited) {
        let is_later = |thread: &ThreadTime| last.began_ns > thread.wait.began_ns;
        // One that was recorded has its report.
        if !last.is_recorded && self.threads.get(&last.tid).is_some_and(is_later) {
            let wait = RecordedWait {
                time_ns: last.began_ns,
                tid: last.tid,
                earlier: last.earlier,
                trace: None,
            };
            self.add_skipped(wait, waited);
        }
    }

    /// When the process was first sampled, unless it is known already.
    pub fn start(&mut self, now_ns: u64) {
        self.since_ns.get_or_insert(now_ns);
    }

    /// Ends all waits of threads that still are there.
    pub fn end(&mut self, end_ns: u64, is_there: impl Fn(u32) -> bool, waited: &mut Waited) {
        self.since_ns = None;
        for (tid, mut thread) in self.threads.drain() {
            if is_there(tid) {
                thread.end_wait(end_ns, waited);
            }
            thread.end(end_ns, waited);
        }
    }
}

fn add_time(waited: &mut Waited, end_ns: u64, trace: Option<StackTrace>, ns: u64) {
    let Some(mut trace) = trace.filter(|_| ns > 0) else {
        return;
    };
    trace.thread.active = false;
    trace.thread.time_ns = Some(ns);
    waited.push((end_ns, trace));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::testing::{Frames, thread};

    const START: u64 = 100;

    struct Case {
        tracker: WaitTracker,
        frames: Frames,
        waited: Waited,
    }

    impl Case {
        fn new() -> Case {
            let tracker = WaitTracker {
                since_ns: Some(START),
                ..WaitTracker::default()
            };
            Case {
                tracker,
                frames: Frames::default(),
                waited: Vec::new(),
            }
        }

        fn trace(&mut self, line: u32) -> StackTrace {
            StackTrace {
                thread: thread(7).info(),
                frames: [self.frames.id("f", line)].into(),
            }
        }

        /// Thread 7 leaves its CPU at this time in this line. `earlier`: when its last recorded wait began, how long
        /// that was, and the others.
        fn leaves(&mut self, time_ns: u64, line: Option<u32>, earlier: (u64, u64, u64)) {
            let (recorded_at_ns, recorded_ns, skipped_ns) = earlier;
            let earlier = EarlierWaits {
                recorded_at_ns,
                recorded_ns,
                skipped_ns,
            };
            let wait = RecordedWait {
                time_ns,
                tid: 7,
                earlier,
                trace: line.map(|line| self.trace(line)),
            };
            self.tracker.add(wait, &mut self.waited);
        }

        /// Thread 7 is on a CPU in this line. `time_ns`: of this sample.
        fn ran(&mut self, at_ns: u64, line: u32, time_ns: u64) {
            let mut trace = self.trace(line);
            trace.thread.time_ns = Some(time_ns);
            self.tracker.ran(7, at_ns, at_ns, trace);
        }

        /// Line, nanoseconds, and when they ended.
        fn take(&mut self) -> Vec<(u32, u64, u64)> {
            let waited = std::mem::take(&mut self.waited);
            let line = |trace: &StackTrace| {
                let frame = self.frames.table.get(*trace.frames.first().unwrap());
                frame.unwrap().line.unwrap()
            };
            let waited = waited.iter();
            waited
                .map(|(end, trace)| (line(trace), trace.thread.time_ns.unwrap(), *end))
                .collect()
        }
    }

    #[test]
    fn a_wait_lasts_until_the_thread_comes_back() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 100, 0));
        assert_eq!(case.take(), [], "what was before is not known");
        case.leaves(300, Some(2), (200, 60, 0));
        assert_eq!(case.take(), [(1, 60, 260)]);
        case.leaves(400, None, (300, 50, 0));
        assert_eq!(case.take(), [(2, 50, 350)]);
        case.leaves(500, Some(3), (400, 50, 0));
        assert_eq!(case.take(), [], "it ran no Python");
        case.tracker.end(600, |_| true, &mut case.waited);
        assert_eq!(case.take(), [(3, 100, 600)]);
    }

    #[test]
    fn waits_that_were_not_recorded_count_for_the_next_one() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 0, 0));
        case.leaves(300, Some(2), (200, 10, 40));
        assert_eq!(case.take(), [(1, 10, 210), (2, 40, 300)]);
        // The record of the one before was dropped.
        case.leaves(400, Some(3), (350, 10, 30));
        assert_eq!(case.take(), [(3, 30, 400)]);
    }

    #[test]
    fn no_more_time_is_counted_than_there_was() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 0, 0));
        case.leaves(300, Some(2), (200, u64::MAX, u64::MAX));
        assert_eq!(case.take(), [(1, 100, u64::MAX)]);
    }

    #[test]
    fn a_thread_that_has_waited_from_the_start_is_read_once() {
        let mut case = Case::new();
        assert!(case.tracker.needs_stack(7));
        let trace = case.trace(1);
        case.tracker.set_stack(7, trace, None, START);
        assert!(!case.tracker.needs_stack(7));
        case.leaves(500, Some(2), (START, 300, 0));
        assert_eq!(case.take(), [(1, 300, 400)]);
    }

    /// One that was not on the list yet when it began to wait.
    #[test]
    fn a_new_thread_is_read_once() {
        let mut case = Case::new();
        case.leaves(200, None, (START, 100, 0));
        case.tracker.retain(&HashSet::new(), 210, &mut case.waited);
        assert!(case.tracker.needs_stack(7));
        let trace = case.trace(1);
        case.tracker.set_stack(7, trace, Some(200), START);
        case.tracker.retain(&[7].into(), 220, &mut case.waited);
        case.leaves(500, None, (200, 250, 0));
        assert_eq!(case.take(), [(1, 250, 450)]);
        case.tracker.retain(&HashSet::new(), 600, &mut case.waited);
        assert!(!case.tracker.threads.is_empty(), "a report may come");
        case.tracker.retain(&HashSet::new(), 700, &mut case.waited);
        assert!(case.tracker.threads.is_empty(), "it has ended");
    }

    /// Its samples have its CPU time from before the first report.
    #[test]
    fn a_thread_that_was_sampled_before_its_first_report_has_its_time_once() {
        let mut case = Case::new();
        case.ran(200, 5, 100);
        case.ran(300, 5, 100);
        case.leaves(320, Some(1), (START, 0, 0));
        case.leaves(400, Some(2), (320, 80, 0));
        case.tracker.end(400, |_| false, &mut case.waited);
        let shares = [(5, 10, 400), (5, 10, 400)];
        assert_eq!(case.take(), [&[(1, 80, 400)], &shares[..]].concat());
        // One that never leaves its CPU.
        case.ran(500, 5, 100);
        case.tracker.end(600, |_| true, &mut case.waited);
        assert_eq!(case.take(), []);
    }

    #[test]
    fn what_was_not_reported_at_the_end_is_asked_for() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 0, 0));
        let mut last = LastWait {
            tid: 7,
            began_ns: 500,
            is_recorded: true,
            earlier: EarlierWaits {
                recorded_at_ns: 200,
                recorded_ns: 250,
                skipped_ns: 0,
            },
        };
        case.tracker.catch_up(last, &mut case.waited);
        assert_eq!(case.take(), [], "the report comes");
        last.is_recorded = false;
        case.tracker.catch_up(last, &mut case.waited);
        assert_eq!(case.take(), [(1, 250, 450)]);
        case.tracker.end(600, |_| true, &mut case.waited);
        assert_eq!(case.take(), [], "where it is now is not known");
    }

    #[test]
    fn a_wait_ends_at_last_when_the_thread_was_on_a_cpu() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 100, 0));
        case.ran(150, 5, 30);
        case.ran(250, 5, 0);
        case.ran(270, 6, 100);
        case.tracker.end(600, |_| true, &mut case.waited);
        let rest = 350 - 130;
        let shares = [(5, rest / 3, 600), (5, rest / 3, 600), (6, rest / 3, 600)];
        assert_eq!(case.take(), [&[(1, 50, 250)], &shares[..]].concat());
        case.leaves(700, Some(1), (START, 0, 0));
        case.tracker.end(800, |_| false, &mut case.waited);
        assert_eq!(case.take(), [], "it has ended");
    }

    #[test]
    fn a_long_wait_that_was_not_recorded_has_its_own_stack() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 0, 0));
        // It came back at 210, has waited for 20 until 290, and waits since 300.
        let wait = RecordedWait {
            time_ns: 300,
            tid: 7,
            earlier: EarlierWaits {
                recorded_at_ns: 200,
                recorded_ns: 10,
                skipped_ns: 20,
            },
            trace: Some(case.trace(2)),
        };
        case.tracker.add_skipped(wait, &mut case.waited);
        assert!(case.tracker.has_wait_since(7, 300));
        assert_eq!(case.take(), [(1, 10, 210), (2, 20, 300)]);
        case.leaves(900, Some(3), (200, 10, 20 + 550));
        assert_eq!(case.take(), [(2, 550, 900)]);
        case.leaves(1_000, Some(4), (900, 60, 0));
        assert_eq!(case.take(), [(3, 60, 960)]);
    }

    #[test]
    fn time_that_switching_takes_counts_once() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 100, 0));
        // The kernel counts 60 from 240 to 300 as CPU time, in which it has switched threads for 10.
        case.ran(280, 5, 60);
        case.leaves(300, Some(2), (200, 50, 0));
        assert_eq!(case.take(), [(1, 40, 250)]);
    }

    #[test]
    fn cpu_time_that_no_sample_has_is_of_the_last_ones() {
        let mut case = Case::new();
        case.leaves(200, Some(1), (START, 100, 0));
        case.ran(280, 5, 20);
        // It came back at 260, and was there until 300; then from 390 on.
        case.leaves(300, Some(2), (200, 60, 0));
        case.leaves(400, Some(3), (300, 90, 0));
        assert_eq!(case.take(), [(1, 60, 260), (2, 90, 390)]);
        case.tracker.end(500, |_| true, &mut case.waited);
        assert_eq!(case.take(), [(3, 100, 500), (5, 40 - 20 + 10, 500)]);
    }
}
