//! The kernel engine: samples that the kernel takes in timer interrupts, see [`crate::os::bpf`].
//!
//! Time is divided into windows, one for each sample that was asked for. In each window each CPU is sampled once;
//! what it runs then, if it is a thread of the target, is a stack of the [`Sample`] of that window. So a sample has
//! the stacks of the threads that were on a CPU, as a tick of the other engines has, and threads that sleep cost
//! nothing. The ring is emptied, and its stacks are named, several times a second: not at each tick.

mod batch;
mod faults;
mod process;
mod waits;
mod wall;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use log::debug;
use nix::time::{ClockId, clock_gettime};

use super::capture::options::CaptureOptions;
use super::processes::sampled::{Outcome, SampledProcess};
use super::sample::{ProcessSample, RssChange, Sample};
use super::stats::PageFaults;
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::reader::copied::CopyWalker;
use crate::cpython::stack::trace::StackTrace;
use crate::os::Pid;
use crate::os::bpf::copy_plan::{MAX_FRAMES, Record};
use crate::os::bpf::{BpfError, BpfOptions, BpfSampler};
use crate::os::deadline::Deadline;
use batch::{Batch, key};
use faults::{PageKinds, Reading, identify_pages};
use process::CopiedProcess;

/// How often the ring is emptied: names are read while their code objects still live.
const INTERVAL: Duration = Duration::from_millis(50);
/// The same with children, which are searched for at the same time, with memory, whose growth in this time is shared
/// by its page faults, and with waits, since those of a new thread are not known until it is listed.
const SHORT_INTERVAL: Duration = Duration::from_millis(10);
/// The longest interval, whatever the rate.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// How long naming the stacks of one process may take each time. The first time all names are new.
const PROCESS_LIMIT: Duration = Duration::from_secs(1);
/// How long naming the last stacks of all processes may take, when the recording is over.
const LAST_LIMIT: Duration = Duration::from_millis(250);
/// The most frames of a stack that the kernel copies if the process may be paused instead: these take it 40 to 70 µs, in
/// an interrupt. A pause costs as much for any depth.
const SHALLOW: usize = 256;
/// The shortest interval, also between two samples of a process that is paused.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// What the kernel is to sample.
#[derive(Clone, Copy, Debug)]
pub struct KernelOptions {
    /// Samples per second on each CPU.
    pub rate_hz: u32,
    /// Whether a process that the kernel cannot sample is paused at each sample instead.
    pub may_pause: bool,
    /// Whether page faults are recorded, too.
    pub memory: bool,
    /// Whether waits are recorded, too.
    pub waits: bool,
}

/// The kernel's part of a sampler, and what its records are made into.
pub struct KernelEngine {
    bpf: BpfSampler,
    window_ns: u64,
    options: KernelOptions,
    /// Whether the user was told that a process cannot be paused either.
    was_refused: bool,
    /// The last window in which processes were paused.
    paused_window: Option<u64>,
    /// The start of the first window, on `CLOCK_MONOTONIC`.
    start_ns: u64,
    /// The same.
    start: Instant,
    /// By the process id that records have.
    processes: HashMap<u32, CopiedProcess>,
    walker: CopyWalker,
    /// Records of processes that were left for the next time, by the process id that records have.
    left: HashMap<u32, Vec<Record>>,
    batches: u64,
    /// Windows that are not complete yet.
    windows: BTreeMap<u64, Window>,
    /// The number of the next window that becomes a sample.
    next_window: u64,
    ready: VecDeque<Sample>,
    /// What the next sample has beside stacks.
    beside: Sample,
    drained_at: Option<Instant>,
}

impl KernelEngine {
    /// An engine that is ready to take samples. `pid` is the process that will be sampled, or one in its PID namespace.
    ///
    /// # Errors
    /// When the kernel cannot, or does not permit it.
    pub fn load(pid: Pid, options: KernelOptions) -> Result<KernelEngine, BpfError> {
        let window_ns = 1_000_000_000 / u64::from(options.rate_hz.max(1));
        let (start_ns, start) = (monotonic_ns(), Instant::now());
        let max_frames = match options.may_pause {
            true => SHALLOW,
            false => MAX_FRAMES,
        };
        let wanted = BpfOptions {
            window_ns,
            max_frames,
            page_faults: options.memory,
            waits: options.waits,
        };
        Ok(KernelEngine {
            bpf: BpfSampler::load(pid, &wanted)?,
            window_ns,
            options,
            was_refused: false,
            paused_window: None,
            start_ns,
            start,
            processes: HashMap::new(),
            walker: CopyWalker::default(),
            left: HashMap::new(),
            batches: 0,
            windows: BTreeMap::new(),
            next_window: 0,
            ready: VecDeque::new(),
            beside: Sample::default(),
            drained_at: None,
        })
    }

    /// Starts the first window now.
    pub fn start(&mut self) {
        (self.start_ns, self.start) = (monotonic_ns(), Instant::now());
        if let Err(error) = self.bpf.start(self.start_ns) {
            // Then there are no samples, and their lack is reported.
            debug!("{error}");
        }
    }

    /// When the ring is to be emptied again. At a low rate there is less to do.
    pub fn next_drain(&self, with_children: bool) -> Instant {
        let is_short = with_children || self.options.memory || self.options.waits;
        let interval = match is_short {
            true => SHORT_INTERVAL,
            false => INTERVAL,
        };
        let window = Duration::from_nanos(self.window_ns);
        let is_paused = self
            .processes
            .values()
            .any(|one| one.is_paused(Instant::now()));
        let each_window = window.max(MIN_INTERVAL);
        let interval = match (self.options.memory, is_paused) {
            (true, _) => interval.min(each_window),
            (false, true) => each_window,
            (false, false) => interval.max((window / 4).min(MAX_INTERVAL)),
        };
        let drained = self.drained_at.map(|at| at + interval);
        drained.unwrap_or(self.start)
    }

    /// A sample that is ready.
    pub fn take_ready(&mut self) -> Option<Sample> {
        self.ready.pop_front()
    }

    /// Empties the ring. What was sampled after this time since the start is left out. `is_last`: the recording is
    /// over, and nobody should wait for it.
    pub(crate) fn drain(
        &mut self,
        processes: &[SampledProcess],
        now: Instant,
        duration: Option<Duration>,
        is_last: bool,
    ) -> Drain {
        self.drained_at = Some(now);
        // Before the ring is emptied: then the faults of all that is read are there.
        let readings = match self.options.memory {
            true => readings(processes),
            false => HashMap::new(),
        };
        self.batches += 1;
        let time = duration.and_then(|time| u64::try_from(time.as_nanos()).ok());
        let end_ns = time.map(|time| self.start_ns.saturating_add(time));
        let mut records = std::mem::take(&mut self.left);
        let mut page_faults = PageFaults::default();
        self.bpf.drain(|record| {
            // The memory is read after the end.
            let fault = record.reason.fault();
            if fault.is_some() || end_ns.is_none_or(|end| record.time_ns < end) {
                if let Some(fault) = fault {
                    page_faults.count = page_faults.count.saturating_add(fault.count);
                    page_faults.recorded += 1;
                }
                records.entry(record.tgid).or_default().push(record);
            }
        });
        let kinds = self.identify_pages(processes, &records);
        let dropped = self.bpf.take_dropped();
        let dropped = (dropped > 0).then(|| {
            format!("{dropped} samples of the kernel were dropped: we did not get a CPU in time to take them")
        });
        let mut beside = std::mem::take(&mut self.beside);
        beside.errors.extend(dropped);
        Drain {
            now,
            now_ns: monotonic_ns(),
            is_last,
            is_paused_window: false,
            deadline: match is_last {
                true => Deadline::after(LAST_LIMIT),
                false => Deadline::NEVER,
            },
            end_ns,
            readings,
            kinds,
            page_faults,
            pauses: Vec::new(),
            records,
            beside,
        }
    }

    /// What the pages of the recorded faults are, of each process.
    fn identify_pages(
        &self,
        processes: &[SampledProcess],
        records: &HashMap<u32, Vec<Record>>,
    ) -> HashMap<Pid, PageKinds> {
        let has_fault = |records: &Vec<Record>| {
            let mut reasons = records.iter().map(|one| one.reason);
            reasons.any(|reason| reason.fault().is_some())
        };
        if !records.values().any(has_fault) {
            return HashMap::new();
        }
        let kinds = processes.iter().filter_map(|one| {
            let target = one.process.target();
            let records = records.get(&key(one, self.bpf.ids(), target.pid())?)?;
            let faults = records.iter().filter_map(|record| record.reason.fault());
            Some((target.pid(), identify_pages(target, faults)))
        });
        kinds.collect()
    }

    /// Names the stacks of a process; `false` if it has ended or runs another program.
    pub(crate) fn sample(
        &mut self,
        process: &mut SampledProcess,
        drain: &mut Drain,
        frames: &mut FrameTable,
        options: &CaptureOptions,
    ) -> bool {
        let pid = process.process.pid();
        let Some(key) = key(process, self.bpf.ids(), pid) else {
            return false;
        };
        let records = drain.records.remove(&key).unwrap_or_default();
        let has_ended = process.has_execed() || process.process.target().has_ended();
        let mut batch = Batch {
            number: self.batches,
            window_ns: self.window_ns,
            now: drain.now,
            now_ns: drain.now_ns,
            start_ns: self.start_ns,
            ids: self.bpf.ids(),
            deadline: drain.deadline.or_earlier(Deadline::after(PROCESS_LIMIT)),
            frames: &mut *frames,
            time: options.time,
            may_pause: self.options.may_pause,
            walker: &mut self.walker,
            errors: &mut drain.beside.errors,
            notices: &mut drain.beside.notices,
            torn: &mut drain.beside.torn,
            traces: Vec::new(),
            faults: Vec::new(),
            waits: Vec::new(),
            ran: Vec::new(),
        };
        let one = self.processes.entry(key).or_default();
        let reading = drain.readings.get(&pid);
        if let Some(reading) = reading.filter(|_| !one.is_paused(drain.now)) {
            // While it was paused, pauses counted.
            let counted = process.last_rss();
            one.memory.start(|| reading.with_rss(counted));
        }
        one.sample(process, key, records, &mut self.bpf, &mut batch);
        let is_paused = one.is_paused(drain.now);
        let mut waited = Vec::new();
        if self.options.waits {
            waited = one.count_waits(process, key, &self.bpf, &mut batch);
            if is_paused || drain.is_last || has_ended {
                // Within the last window.
                let end_ns = drain.end_ns.map_or(u64::MAX, |end| end.saturating_sub(1));
                let end_ns = drain.now_ns.min(end_ns);
                waited.extend(one.end_waits(process, &self.bpf, end_ns));
            }
        }
        let mut traces = batch.traces;
        traces.extend(waited.into_iter().map(|(time, trace)| (time, Some(trace))));
        traces.sort_by_key(|(time, _)| *time);
        if let Some(reading) = reading {
            let kinds = drain.kinds.remove(&pid).unwrap_or_default();
            one.memory.advance(*reading, batch.faults, kinds);
        }
        if is_paused {
            one.memory.stop();
        }
        if has_ended {
            one.forget(key, &mut self.bpf);
            self.processes.remove(&key);
        }
        for (time_ns, trace) in traces {
            let window = self.window_at(time_ns);
            let window = self.windows.entry(window).or_default();
            window.traces.push((pid, trace));
        }
        if is_paused && !has_ended && !drain.is_last {
            return self.sample_paused(process, drain, frames, options);
        }
        !has_ended
    }

    /// Samples a process as the pausing engine does, once in a window; `false` if it has ended or runs another
    /// program.
    fn sample_paused(
        &mut self,
        process: &mut SampledProcess,
        drain: &mut Drain,
        frames: &mut FrameTable,
        options: &CaptureOptions,
    ) -> bool {
        let window = self.window_at(monotonic_ns());
        if self.paused_window.is_some_and(|last| window <= last) && !drain.is_paused_window {
            return true;
        }
        self.paused_window = Some(window);
        drain.is_paused_window = true;
        let result = process.sample(frames, options, Instant::now());
        if let Some(problem) = result.cannot_pause
            && !std::mem::replace(&mut self.was_refused, true)
        {
            let notice = format!("warning: {problem}; reading it without a pause");
            drain.beside.notices.push(notice);
        }
        match result.outcome {
            Outcome::Sampled(sampled) => {
                let pid = sampled.process.pid;
                let traces = sampled.process.traces.into_iter();
                let window = self.windows.entry(window).or_default();
                let traces = traces.map(|trace| (pid, Some(trace)));
                window.traces.extend(traces);
                let change = sampled.process.rss_change;
                window.changes.extend(change.map(|change| (pid, change)));
                drain.beside.errors.extend(sampled.errors);
                drain.beside.torn += sampled.torn;
                drain.pauses.extend(sampled.pauses);
                true
            }
            Outcome::Failed(error) => {
                drain.beside.errors.push(error);
                true
            }
            Outcome::Execed | Outcome::Ended => false,
        }
    }

    /// Makes samples of the windows that are complete; `is_last`: of the last one, too. What else there was goes to
    /// the newest of them, with the RSS of the processes.
    pub(crate) fn complete(&mut self, drain: Drain, processes: &[SampledProcess], is_last: bool) {
        self.left = drain.records;
        let known = &self.processes;
        self.left.retain(|key, _| known.contains_key(key));
        let now_ns = monotonic_ns().min(drain.end_ns.unwrap_or(u64::MAX));
        let mut before = self.window_at(now_ns);
        // It was stopped in the middle of a window.
        before += u64::from(is_last && drain.end_ns.is_none_or(|end| now_ns < end));
        let mut pids: Vec<Pid> = processes.iter().map(|one| one.process.pid()).collect();
        let windows = self.windows.values();
        for (pid, _) in windows.flat_map(|window| &window.traces) {
            // It has ended since.
            if !pids.contains(pid) {
                pids.push(*pid);
            }
        }
        let threads = self.processes.values().map(CopiedProcess::thread_count);
        let threads = threads.sum();
        let idle_gils = self.processes.values().filter(|one| one.has_idle_gil);
        let idle_gils = idle_gils.count() as u64;
        while self.next_window < before {
            let sample = Sample {
                idle_gils,
                ..self.next_sample(&pids, threads)
            };
            self.ready.push_back(sample);
        }
        let mut last = match self.ready.pop_back() {
            Some(last) => last,
            None if is_last => self.remainder(&pids),
            None => {
                // It waits for a sample.
                self.beside = drain.beside;
                return;
            }
        };
        if is_last && self.options.waits {
            self.add_unfinished(&mut last);
        }
        for one in &mut last.processes {
            let mut known = processes.iter();
            let Some(known) = known.find(|known| known.process.pid() == one.pid) else {
                continue;
            };
            match drain.readings.get(&one.pid) {
                Some(reading) => {
                    one.rss_bytes = Some(reading.resident.rss_bytes);
                    self.add_memory(known, one, is_last);
                }
                None => one.rss_bytes = known.process.target().rss().ok(),
            }
        }
        self.ready.push_back(Sample {
            elapsed: last.elapsed,
            processes: last.processes,
            idle: last.idle,
            idle_gils: last.idle_gils,
            is_remainder: last.is_remainder,
            ..drain.beside
        });
    }

    /// Adds the stacks of a window that is not complete: their times are of the recording.
    fn add_unfinished(&mut self, last: &mut Sample) {
        let windows = std::mem::take(&mut self.windows).into_values();
        for (pid, trace) in windows.flat_map(|window| window.traces) {
            let mut processes = last.processes.iter_mut();
            if let Some(process) = processes.find(|one| one.pid == pid) {
                process.traces.extend(trace);
            }
        }
    }

    /// A sample for what was found after the last window.
    fn remainder(&self, pids: &[Pid]) -> Sample {
        let processes = pids.iter().map(|pid| ProcessSample {
            pid: *pid,
            traces: Vec::new(),
            rss_bytes: None,
            rss_change: None,
            fault_growth: Vec::new(),
        });
        Sample {
            elapsed: self.elapsed(self.next_window.saturating_sub(1)),
            processes: processes.collect(),
            is_remainder: true,
            ..Sample::default()
        }
    }

    /// Adds to a process's sample what it has added and released.
    fn add_memory(&mut self, process: &SampledProcess, sample: &mut ProcessSample, is_last: bool) {
        let key = key(process, self.bpf.ids(), sample.pid);
        let Some(one) = key.and_then(|key| self.processes.get_mut(&key)) else {
            return;
        };
        let has_traces = is_last || !sample.traces.is_empty();
        let (growth, released) = one.memory.take(has_traces);
        sample.fault_growth = growth;
        match &mut sample.rss_change {
            // Of a pause.
            Some(change) => change.bytes = change.bytes.saturating_add(released.bytes),
            None => sample.rss_change = Some(released),
        }
    }

    /// The sample of the next window. `threads`: how many there are in all.
    fn next_sample(&mut self, pids: &[Pid], threads: u64) -> Sample {
        let window = self.next_window;
        self.next_window += 1;
        let mut traces: HashMap<Pid, Vec<StackTrace>> = HashMap::new();
        let mut changes = HashMap::new();
        let mut on_cpu = 0;
        // A record that came late belongs to a window that is a sample already.
        while let Some(entry) = self.windows.first_entry()
            && *entry.key() <= window
        {
            let window = entry.remove();
            changes.extend(window.changes);
            for (pid, trace) in window.traces {
                on_cpu += u64::from(trace.as_ref().is_none_or(|trace| trace.thread.active));
                traces.entry(pid).or_default().extend(trace);
            }
        }
        let processes = pids.iter().map(|pid| ProcessSample {
            pid: *pid,
            traces: traces.remove(pid).unwrap_or_default(),
            rss_bytes: None,
            rss_change: changes.remove(pid),
            fault_growth: Vec::new(),
        });
        Sample {
            elapsed: self.elapsed(window),
            processes: processes.collect(),
            idle: match self.options.waits {
                // They have stacks.
                true => 0,
                false => threads.saturating_sub(on_cpu),
            },
            ..Sample::default()
        }
    }

    fn window_at(&self, time_ns: u64) -> u64 {
        time_ns.saturating_sub(self.start_ns) / self.window_ns.max(1)
    }

    /// The time from the start to the end of a window.
    fn elapsed(&self, window: u64) -> Duration {
        Duration::from_nanos(window.saturating_add(1).saturating_mul(self.window_ns))
    }
}

/// What one round of emptying the ring has found.
pub struct Drain {
    now: Instant,
    /// The same on `CLOCK_MONOTONIC`.
    now_ns: u64,
    /// The recording is over.
    is_last: bool,
    deadline: Deadline,
    /// Processes are paused for the window that it is.
    is_paused_window: bool,
    end_ns: Option<u64>,
    /// The memory of the processes just before the ring was emptied, if page faults are recorded.
    readings: HashMap<Pid, Reading>,
    /// What the pages of their faults were then.
    kinds: HashMap<Pid, PageKinds>,
    /// By the process id that records have.
    records: HashMap<u32, Vec<Record>>,
    /// Those that were in the ring.
    pub page_faults: PageFaults,
    /// How long threads were paused.
    pub pauses: Vec<Duration>,
    /// What a sample has beside stacks.
    pub beside: Sample,
}

/// What was sampled in a window.
#[derive(Default)]
struct Window {
    /// `None` for a stack that is missing.
    traces: Vec<(Pid, Option<StackTrace>)>,
    /// The changes of RSS of processes that are paused.
    changes: Vec<(Pid, RssChange)>,
}

fn readings(processes: &[SampledProcess]) -> HashMap<Pid, Reading> {
    let read = processes.iter().filter_map(|one| {
        let target = one.process.target();
        let resident = target.resident().ok()?;
        let time_ns = monotonic_ns();
        Some((target.pid(), Reading { time_ns, resident }))
    });
    read.collect()
}

/// `CLOCK_MONOTONIC` in nanoseconds, which is also the clock of [`Instant`].
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
