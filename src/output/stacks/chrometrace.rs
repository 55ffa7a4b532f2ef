//! Chrome trace JSON (`-f chrometrace`): begin and end events, for Perfetto and `chrome://tracing`.
//!
//! The file is the array form of the "Trace Event Format": each element has a phase (`B`, `E`), a
//! time in microseconds, process, thread and name. The fields and their order are those of py-spy 0.4.
//! Unlike there, a call ends when its thread becomes idle or exits, not at the end of the recording. The
//! events have times and no weights, so [`time`] has no effect.
//!
//! A track is a thread by the kernel's ID. py-spy has `pthread_t` there, which the C library uses again for
//! the next thread, and of which viewers keep 32 bits. Metadata events (`M`) at the start name the tracks and
//! give them the order of the first samples.
//!
//! With [`memory`] there are also counter events (`C`) with the RSS of all processes in MiB.
//!
//! [`memory`]: crate::profile::options::Weights::rss
//! [`time`]: crate::profile::options::Weights::time

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io::{self, Write};
use std::iter::Peekable;
use std::time::Duration;

use crate::output::memory_report::MemoryReport;
use crate::output::meta::Meta;
use crate::output::short_command::short_command;
use crate::profile::Profile;
use crate::profile::tables::ids::{LabelId, StackId, ThreadId};
use crate::profile::tables::threads::{Slice, Thread};
use crate::rss::leak::thresholds::SHORTEST;
use crate::rss::series::RssPoint;
use crate::text::sanitize::clean;

/// Scripts select events by this category, so it is the same as in py-spy.
const CATEGORY: &str = "py-spy";

/// Category of metadata events, as in Chrome.
const METADATA_CATEGORY: &str = "__metadata";

/// Longest name of a process, in characters.
const MAX_PROCESS_CHARS: usize = 80;

/// First track of threads whose kernel ID is unknown. Above all IDs (`PID_MAX_LIMIT`), and below 2^31.
const UNKNOWN_TID: i64 = 1 << 30;

/// The `tid` of a thread's events.
fn track(id: ThreadId, thread: &Thread) -> i64 {
    let unknown = || UNKNOWN_TID.saturating_add(i64::try_from(id.index()).unwrap_or(0));
    thread.os_thread_id.map_or_else(unknown, i64::from)
}

/// Category of events that are not calls; py-spy has none.
const MEMORY_CATEGORY: &str = "memory";

/// Writes one JSON array with the events in order of time. The profile needs a
/// [timeline](crate::profile::options::ProfileOptions::timeline).
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let mut events = Events {
        profile,
        out,
        is_first: true,
    };
    events.out.write_all(b"[")?;
    events.write_names(meta)?;
    // Merges the changes of all threads without a list of them: a day has millions.
    let mut threads: Vec<Changes<_>> = profile
        .threads()
        .ids()
        .map(|id| Changes::new(id, profile.slices(id)))
        .collect();
    // At one time, ends come before begins: a kernel ID may be that of the next thread.
    let mut order: BinaryHeap<Reverse<(u64, bool, usize)>> = BinaryHeap::new();
    for (index, thread) in threads.iter_mut().enumerate() {
        let next = thread.next_at();
        order.extend(next.map(|at_us| Reverse((at_us, thread.is_idle(), index))));
    }
    let has_memory = profile.options().weights.rss;
    let mut readings = profile
        .rss()
        .points()
        .iter()
        .filter(|_| has_memory)
        .peekable();
    while let Some(Reverse((at_us, _, index))) = order.pop() {
        while let Some(point) = readings.next_if(|point| micros(point.elapsed) <= at_us) {
            events.write_reading(point)?;
        }
        let Some(thread) = threads.get_mut(index) else {
            continue;
        };
        if let Some(change) = thread.take() {
            events.write_change(&change)?;
        }
        let next = thread.next_at();
        order.extend(next.map(|at_us| Reverse((at_us, thread.is_idle(), index))));
    }
    for point in readings {
        events.write_reading(point)?;
    }
    events.write_verdict()?;
    events.out.write_all(b"]")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A thread changes from one stack to another; [`StackId::ROOT`] means no stack.
struct Change {
    at_us: u64,
    thread: ThreadId,
    from: StackId,
    to: StackId,
}

/// The changes of a thread, oldest first.
struct Changes<I: Iterator<Item = Slice>> {
    thread: ThreadId,
    slices: Peekable<I>,
    /// The current stack, and its end.
    from: StackId,
    until_us: u64,
}

impl<I: Iterator<Item = Slice>> Changes<I> {
    fn new(thread: ThreadId, slices: I) -> Self {
        Changes {
            thread,
            slices: slices.peekable(),
            from: StackId::ROOT,
            until_us: 0,
        }
    }

    /// Whether the next change begins calls and ends none.
    fn is_idle(&self) -> bool {
        self.from == StackId::ROOT
    }

    /// Start of the next slice, if not later than the end of the current stack.
    fn next_slice_at(&mut self) -> Option<u64> {
        let start_us = self.slices.peek()?.start_us;
        (self.from == StackId::ROOT || start_us <= self.until_us).then_some(start_us)
    }

    /// Time of the next change in microseconds; `None` after the last one.
    fn next_at(&mut self) -> Option<u64> {
        let leaves_at = (self.from != StackId::ROOT).then_some(self.until_us);
        self.next_slice_at().or(leaves_at)
    }

    fn take(&mut self) -> Option<Change> {
        let at_us = self.next_at()?;
        let is_slice = self.next_slice_at().is_some();
        let (to, until_us) = match self.slices.next_if(|_| is_slice) {
            Some(slice) => (slice.stack, slice.end_us),
            None => (StackId::ROOT, at_us),
        };
        let from = std::mem::replace(&mut self.from, to);
        self.until_us = until_us;
        Some(Change {
            at_us,
            thread: self.thread,
            from,
            to,
        })
    }
}

struct Events<'a> {
    profile: &'a Profile,
    out: &'a mut dyn Write,
    is_first: bool,
}

impl Events<'_> {
    /// Names and order of the tracks that have calls.
    fn write_names(&mut self, meta: &Meta) -> io::Result<()> {
        let profile = self.profile;
        let (mut pids, mut tracks) = (HashSet::new(), HashSet::new());
        let ids = profile.threads().ids();
        let with_calls = ids.filter(|id| profile.slices(*id).next().is_some());
        for id in with_calls {
            let Some(thread) = profile.threads().get(id) else {
                continue;
            };
            let (pid, tid) = (thread.pid, track(id, thread));
            let process_order = Name::Order(pids.len());
            if pids.insert(pid) {
                let command = profile.process_command(pid).unwrap_or(&meta.command);
                let command = clean(command);
                let words: Vec<&str> = command.split(' ').collect();
                let name = short_command(&words, MAX_PROCESS_CHARS);
                self.write_name("process_name", pid, pid.into(), Name::Text(name))?;
                self.write_name("process_sort_index", pid, pid.into(), process_order)?;
            }
            let order = Name::Order(tracks.len());
            if !tracks.insert((pid, tid)) {
                continue;
            }
            let name = match thread.name() {
                Some(name) => name.to_owned(),
                None => format!("thread {}", thread.number()),
            };
            self.write_name("thread_name", pid, tid, Name::Text(name))?;
            self.write_name("thread_sort_index", pid, tid, order)?;
        }
        Ok(())
    }

    fn write_name(&mut self, name: &'static str, pid: i32, tid: i64, args: Name) -> io::Result<()> {
        self.separate()?;
        let event = Metadata {
            args,
            cat: METADATA_CATEGORY,
            name,
            ph: "M",
            pid,
            tid,
            ts: 0,
        };
        serde_json::to_writer(&mut *self.out, &event).map_err(io::Error::from)
    }

    /// An instant event at the end with the verdict on memory, if the recording is long enough for one.
    fn write_verdict(&mut self) -> io::Result<()> {
        let report = MemoryReport::of(self.profile);
        let Some(report) = report.filter(|_| self.profile.rss().last_elapsed() >= SHORTEST) else {
            return Ok(());
        };
        let last_us = u64::try_from(self.profile.last_elapsed().as_micros()).unwrap_or(u64::MAX);
        let interval_us = 1_000_000 / u64::from(self.profile.options().rate_hz.max(1));
        let mut threads = self.profile.threads().ids();
        let thread = threads
            .next()
            .and_then(|id| Some((id, self.profile.threads().get(id)?)));
        let mark = Mark {
            name: format!("memory: {}", report.text),
            args: report,
            cat: MEMORY_CATEGORY,
            ph: "i",
            s: "g",
            pid: thread.map_or(0, |(_, thread)| thread.pid),
            tid: thread.map_or(0, |(id, thread)| track(id, thread)),
            // The end of the last calls, because events are in order of time.
            ts: last_us.saturating_add(interval_us),
        };
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *self.out, &mark).map_err(io::Error::from)
    }

    /// Ends the calls that are only in the old stack, leaf first, and begins those that are only in the new
    /// one, root first.
    fn write_change(&mut self, change: &Change) -> io::Result<()> {
        let stacks = self.profile.stacks();
        let (old, new) = (stacks.path(change.from), stacks.path(change.to));
        let shared = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        for label in old.iter().skip(shared).rev() {
            self.write_event("E", *label, change)?;
        }
        for label in new.iter().skip(shared) {
            self.write_event("B", *label, change)?;
        }
        Ok(())
    }

    fn separate(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.write_all(b",")?;
        }
        Ok(())
    }

    /// Writes the RSS from this point on.
    fn write_reading(&mut self, point: &RssPoint) -> io::Result<()> {
        self.separate()?;
        let threads = self.profile.threads();
        let mut pids = threads.ids().filter_map(|id| threads.get(id));
        let counter = Counter {
            args: Reading {
                mib: point.rss_bytes as f64 / f64::from(1 << 20),
            },
            cat: CATEGORY,
            name: "RSS",
            ph: "C",
            // The first process; the value is the sum over all.
            pid: pids.next().map_or(0, |thread| thread.pid),
            ts: micros(point.elapsed),
        };
        serde_json::to_writer(&mut *self.out, &counter).map_err(io::Error::from)
    }

    fn write_event(
        &mut self,
        phase: &'static str,
        label: LabelId,
        change: &Change,
    ) -> io::Result<()> {
        let profile = self.profile;
        let Some(thread) = profile.threads().get(change.thread) else {
            return Ok(());
        };
        self.separate()?;
        let event = Event {
            args: Args {
                filename: profile.file(label).unwrap_or_default(),
                line: profile.json_line(label),
            },
            cat: CATEGORY,
            name: profile.name(label),
            ph: phase,
            pid: thread.pid,
            tid: track(change.thread, thread),
            ts: change.at_us,
        };
        serde_json::to_writer(&mut *self.out, &event).map_err(io::Error::from)
    }
}

#[derive(serde::Serialize)]
struct Event<'a> {
    args: Args<'a>,
    cat: &'static str,
    name: Cow<'a, str>,
    ph: &'static str,
    pid: i32,
    tid: i64,
    ts: u64,
}

/// A name or place of a process or thread.
#[derive(serde::Serialize)]
struct Metadata {
    args: Name,
    cat: &'static str,
    name: &'static str,
    ph: &'static str,
    pid: i32,
    tid: i64,
    ts: u64,
}

#[derive(serde::Serialize)]
enum Name {
    #[serde(rename = "name")]
    Text(String),
    #[serde(rename = "sort_index")]
    Order(usize),
}

/// An instant event with global scope.
#[derive(serde::Serialize)]
struct Mark {
    args: MemoryReport,
    cat: &'static str,
    name: String,
    ph: &'static str,
    s: &'static str,
    pid: i32,
    tid: i64,
    ts: u64,
}

#[derive(serde::Serialize)]
struct Counter {
    args: Reading,
    cat: &'static str,
    name: &'static str,
    ph: &'static str,
    pid: i32,
    ts: u64,
}

#[derive(serde::Serialize)]
struct Reading {
    #[serde(rename = "MiB")]
    mib: f64,
}

#[derive(serde::Serialize)]
struct Args<'a> {
    filename: &'a str,
    line: Option<u32>,
}
