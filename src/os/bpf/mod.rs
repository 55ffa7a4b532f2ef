//! [`BpfSampler`]: stacks that the kernel copies in timer interrupts, page faults and context switches, by a BPF program.
//!
//! A perf event per CPU (`PERF_COUNT_SW_CPU_CLOCK`) interrupts whatever runs there. If that is a thread of a
//! process that is sampled, the program copies its Python stack into a ring buffer while the thread cannot run. With
//! memory others (`PERF_COUNT_SW_PAGE_FAULTS_MIN` and `_MAJ`) report each page fault, of which some are copied, too;
//! with wall-clock time the tracepoint `sched_switch` reports each thread that leaves its CPU.
//! Nobody is stopped, woken or traced. Events of a CPU, not of a thread, so that threads and processes that live
//! for less than a period are seen as often as their CPU time is long, and new ones at once.
//!
//! Nothing outlives us: the events, the program and its maps belong to our descriptors, and nothing is pinned.

pub mod copy_plan;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use aya::maps::{Array, HashMap as BpfHash, MapData, MapError, ProgramArray, RingBuf};
use aya::programs::ProgramError;
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};
use aya::programs::{PerfEvent, Program, RawTracePoint};
use aya::util::online_cpus;
use aya::{Ebpf, EbpfLoader};
use log::debug;
use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use super::Pid;
use super::container::is_in_first_pid_namespace;
use super::memory::address::RemoteAddr;
use copy_plan::{CopyPlan, EarlierWaits, MAX_FRAMES, PLAN_WORDS, Record};

/// `sampler.bpf.c`, compiled.
static PROGRAM: &[u8] = include_bytes!("sampler.bpf.o");

/// The most and the fewest bytes of the ring. The kernel maps it twice, so that our RSS shows twice as much.
const MAX_RING: u64 = 32 << 20;
const MIN_RING: u64 = 1 << 20;
/// How many seconds of samples the ring has room for, of a stack of some 50 frames on each CPU.
const RING_SECONDS: u64 = 1;
/// The same for page faults of a process whose memory grows fast, and for waits, in bytes.
const RING_FOR_EVENTS: u64 = 4 << 20;
const USUAL_RECORD: u64 = 6 << 10;
/// The mean time between two page faults of a process that are recorded, in nanoseconds: each takes the kernel some
/// 10 µs.
const FAULT_GAP_NS: u64 = 500_000;
/// The same of two waits of a thread, and of a process. A long wait among very many short ones is read by us instead.
const THREAD_WAIT_GAP_NS: u64 = 1_000_000;
const WAIT_GAP_NS: u64 = 100_000;
/// `struct budget`, and the one of a process without events: the first one is recorded, and stands for itself.
type Budget = [u64; 7];
const NO_EVENTS: Budget = [0, 1, 1, 0, 0, 0, 0];
/// The programs that others call, by these numbers: those of perf events, and of context switches.
const EVENT_CALLS: [(u32, &str); 2] = [(0, "frames"), (1, "stack")];
const SWITCH_CALLS: [(u32, &str); 2] = [(0, "switch_frames"), (1, "switch_stack")];
/// The most samples that wait for their other parts.
const MAX_PARTS: usize = 1024;

/// Why the kernel cannot take samples.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel refuses for want of rights.
    #[error(
        "the kernel does not permit {what} (BPF needs root, or the capabilities BPF and PERFMON): {cause}"
    )]
    NotPermitted { what: &'static str, cause: String },
    #[error("the kernel cannot {what}: {cause}")]
    Failed { what: &'static str, cause: String },
}

impl BpfError {
    fn of(what: &'static str, error: &(dyn std::error::Error + 'static)) -> BpfError {
        debug!("{what}: {error:?}");
        let mut cause = error.to_string();
        let mut is_permission = false;
        let mut source = Some(error);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                is_permission = matches!(io.kind(), io::ErrorKind::PermissionDenied);
                cause = io.to_string();
            }
            source = error.source();
        }
        match is_permission {
            true => BpfError::NotPermitted { what, cause },
            false => BpfError::Failed { what, cause },
        }
    }
}

/// The PID namespace whose ids the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// The first one, of the whole machine, which is ours.
    First,
    /// That of the target: device and inode of its /proc/PID/ns/pid.
    OfTarget(u64, u64),
}

impl Ids {
    fn for_target(pid: Pid) -> io::Result<Ids> {
        if is_in_first_pid_namespace() {
            return Ok(Ids::First);
        }
        namespace_of(pid).map(|(dev, ino)| Ids::OfTarget(dev, ino))
    }
}

/// Device and inode of a process's PID namespace.
///
/// # Errors
/// When they cannot be read.
pub fn namespace_of(pid: Pid) -> io::Result<(u64, u64)> {
    let space = fs::metadata(format!("/proc/{pid}/ns/pid"))?;
    Ok((space.dev(), space.ino()))
}

/// What is sampled.
#[derive(Clone, Copy, Debug)]
pub struct BpfOptions {
    /// The time between two samples on a CPU.
    pub window_ns: u64,
    /// A stack of more frames, rounded up to a multiple of 32, is [too deep](copy_plan::Defect::TooDeep);
    /// [`MAX_FRAMES`] at most.
    pub max_frames: usize,
    /// Whether page faults are recorded.
    pub page_faults: bool,
    /// Whether waits are recorded.
    pub waits: bool,
}

/// `struct wait`: the last wait of a thread, which may be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWait {
    /// As records have it.
    pub tid: u32,
    /// On `CLOCK_MONOTONIC`, in nanoseconds.
    pub began_ns: u64,
    /// Whether it has a record.
    pub is_recorded: bool,
    pub earlier: EarlierWaits,
}

/// Samples processes in timer interrupts and page faults.
pub struct BpfSampler {
    ids: Ids,
    options: BpfOptions,
    ring_len: u64,
    settings: Array<MapData, [u64; 9]>,
    processes: BpfHash<MapData, u32, [u64; PLAN_WORDS]>,
    threads: BpfHash<MapData, u32, u64>,
    fault_budgets: BpfHash<MapData, u32, Budget>,
    wait_budgets: BpfHash<MapData, u32, Budget>,
    waits: BpfHash<MapData, u32, [u64; 6 + 2 * 7]>,
    ring: RingBuf<MapData>,
    dropped: Array<MapData, u64>,
    dropped_before: u64,
    /// Samples whose frames are in more than one record, by thread and time.
    parts: HashMap<(u32, u64), Record>,
    /// What the program calls; empty once this is closed.
    _calls: Vec<ProgramArray<MapData>>,
    /// The program and its events, which end with it.
    _program: Ebpf,
}

impl BpfSampler {
    /// Prepares all that sampling takes. Ids are those of a PID namespace in which `pid` is.
    ///
    /// # Errors
    /// When the kernel lacks something or does not permit it.
    pub fn load(pid: Pid, options: &BpfOptions) -> Result<BpfSampler, BpfError> {
        let window_ns = options.window_ns.max(1);
        let failed = |what| move |error: io::Error| BpfError::of(what, &error);
        let ids = Ids::for_target(pid).map_err(failed("find the PID namespace"))?;
        let cpus = cpus();
        let cpu_count = cpus.iter().max().map_or(1, |last| last.saturating_add(1));
        let ring_len = ring_size(options, cpus.len());
        let mut program = EbpfLoader::new()
            .btf(None)
            .map_max_entries("scratches", cpu_count)
            .map_max_entries("windows", cpu_count)
            .map_max_entries("ring", ring_len)
            .load(PROGRAM)
            .map_err(|error| BpfError::of("create BPF maps", &error))?;
        let mut take = |name| program.take_map(name).ok_or_else(lacks);
        let of_map = |error: MapError| BpfError::of("use BPF maps", &error);
        let settings = take("settings")?.try_into().map_err(of_map)?;
        let processes = take("processes")?.try_into().map_err(of_map)?;
        let threads = take("threads")?.try_into().map_err(of_map)?;
        let fault_budgets = take("fault_budgets")?.try_into().map_err(of_map)?;
        let wait_budgets = take("wait_budgets")?.try_into().map_err(of_map)?;
        let waits = take("waits")?.try_into().map_err(of_map)?;
        let ring = take("ring")?.try_into().map_err(of_map)?;
        let dropped = take("dropped")?.try_into().map_err(of_map)?;
        let mut calls = vec![link(&mut program, "programs", EVENT_CALLS)?];
        // A little shorter than a window. So each window has a sample, the second of two in one is left out, and
        // the moment moves through the window: no program can run in step with it for long.
        let period = (window_ns - window_ns / 100).max(1);
        attach(
            &mut program,
            "sample",
            &[SoftwareEvent::CpuClock],
            period,
            &cpus,
        )?;
        if options.page_faults {
            // Those for which a page is read from a disk or swap are not among the others.
            let events = [SoftwareEvent::PageFaultsMin, SoftwareEvent::PageFaultsMaj];
            attach(&mut program, "fault", &events, 1, &cpus)?;
        }
        if options.waits {
            calls.push(link(&mut program, "switch_programs", SWITCH_CALLS)?);
            attach_to_switches(&mut program)?;
        }
        Ok(BpfSampler {
            ids,
            options: *options,
            ring_len: ring_len.into(),
            settings,
            processes,
            threads,
            fault_budgets,
            wait_budgets,
            waits,
            ring,
            dropped,
            dropped_before: 0,
            parts: HashMap::new(),
            _calls: calls,
            _program: program,
        })
    }

    /// Starts to sample. Windows are counted from this time on, on `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, start_ns: u64) -> Result<(), BpfError> {
        let (dev, ino) = match self.ids {
            Ids::First => (0, 0),
            Ids::OfTarget(dev, ino) => (dev, ino),
        };
        let values = [
            dev,
            ino,
            self.options.window_ns.max(1),
            start_ns,
            self.options.max_frames.min(MAX_FRAMES) as u64,
            FAULT_GAP_NS,
            THREAD_WAIT_GAP_NS,
            WAIT_GAP_NS,
            // The rest is for samples of the time, which must not be dropped.
            self.ring_len / 2,
        ];
        let set = self.settings.set(0, values, 0);
        set.map_err(|error| BpfError::of("use BPF maps", &error))
    }

    /// The PID namespace whose ids are used.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// Samples the threads of a process from now on.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add_process(&mut self, tgid: u32, plan: &CopyPlan) -> Result<(), BpfError> {
        let added = self.processes.insert(tgid, plan.words(), 0);
        let added = added.and_then(|()| match self.options.page_faults {
            true => self.fault_budgets.insert(tgid, NO_EVENTS, 0),
            false => Ok(()),
        });
        let added = added.and_then(|()| match self.options.waits {
            true => self.wait_budgets.insert(tgid, NO_EVENTS, 0),
            false => Ok(()),
        });
        added.map_err(|error| BpfError::of("sample another process", &error))
    }

    /// Samples a process no more.
    pub fn remove_process(&mut self, tgid: u32) {
        // It may be gone already.
        let _ = self.fault_budgets.remove(&tgid);
        let _ = self.wait_budgets.remove(&tgid);
        let _ = self.processes.remove(&tgid);
    }

    /// Sets the address of the state of a thread.
    ///
    /// # Errors
    /// When there are too many.
    pub fn set_thread(&mut self, tid: u32, state: RemoteAddr) -> Result<(), BpfError> {
        let set = self.threads.insert(tid, state.0, 0);
        set.map_err(|error| BpfError::of("sample another thread", &error))
    }

    /// Forgets a thread.
    pub fn remove_thread(&mut self, tid: u32) {
        let _ = self.threads.remove(&tid);
    }

    /// How many waits of a process were not recorded since there were too many.
    pub fn passed_waits(&self, tgid: u32) -> u64 {
        let budget = self.wait_budgets.get(&tgid, 0);
        budget.map_or(0, |[.., passed]| passed)
    }

    /// The last wait of a thread, if one is known.
    pub fn last_wait(&self, tid: u32) -> Option<LastWait> {
        let wait = self.waits.get(&tid, 0).ok()?;
        let [
            _,
            began_ns,
            is_recorded,
            recorded_at_ns,
            recorded_ns,
            skipped_ns,
            ..,
        ] = wait;
        Some(LastWait {
            tid,
            began_ns,
            is_recorded: is_recorded != 0,
            earlier: EarlierWaits {
                recorded_at_ns,
                recorded_ns,
                skipped_ns,
            },
        })
    }

    /// Takes the records that have been made since the last call.
    pub fn drain(&mut self, mut take: impl FnMut(Record)) {
        while let Some(bytes) = self.ring.next() {
            let Some(record) = Record::decode(&bytes) else {
                continue;
            };
            let key = (record.tid, record.time_ns);
            let whole = match self.parts.remove(&key) {
                Some(mut first) => {
                    first.extend(&record);
                    first
                }
                None => record,
            };
            if !whole.has_more() {
                take(whole);
                continue;
            }
            // A part that did not fit into the ring never comes.
            if self.parts.len() >= MAX_PARTS {
                self.parts.clear();
            }
            self.parts.insert(key, whole);
        }
    }

    /// The number of records since the last call that did not fit into the ring.
    pub fn take_dropped(&mut self) -> u64 {
        let all = self.dropped.get(&0, 0).unwrap_or(self.dropped_before);
        let new = all.saturating_sub(self.dropped_before);
        self.dropped_before = all;
        new
    }
}

const LOAD: &str = "load the BPF program";

fn lacks() -> BpfError {
    let cause = "it lacks a part".into();
    BpfError::Failed { what: LOAD, cause }
}

/// Has the kernel verify one of the programs.
fn load<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, BpfError> {
    let program = programs.program_mut(name).ok_or_else(lacks)?;
    let loaded = match program {
        Program::PerfEvent(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        _ => return Err(lacks()),
    };
    loaded.map_err(|error| BpfError::of(LOAD, &error))?;
    Ok(program)
}

/// Loads programs that others call, by these numbers in that map.
fn link(
    programs: &mut Ebpf,
    map: &str,
    calls: [(u32, &str); 2],
) -> Result<ProgramArray<MapData>, BpfError> {
    let of_map = |error: MapError| BpfError::of("use BPF maps", &error);
    let map = programs.take_map(map).ok_or_else(lacks)?;
    let mut map: ProgramArray<MapData> = map.try_into().map_err(of_map)?;
    for (number, name) in calls {
        let called = load(programs, name)?.fd();
        let called = called.map_err(|error| BpfError::of(LOAD, &error))?;
        map.set(number, called, 0).map_err(of_map)?;
    }
    Ok(map)
}

/// Has the kernel run one of the programs at every `period`th of each of these events on each CPU.
fn attach(
    programs: &mut Ebpf,
    name: &str,
    events: &[SoftwareEvent],
    period: u64,
    cpus: &[u32],
) -> Result<(), BpfError> {
    let failed = |error: ProgramError| BpfError::of(LOAD, &error);
    let program: &mut PerfEvent = load(programs, name)?.try_into().map_err(failed)?;
    let mut attached = 0;
    let mut missing = None;
    for cpu in cpus {
        for event in events {
            let scope = PerfEventScope::AllProcessesOneCpu { cpu: *cpu };
            let config = PerfEventConfig::Software(*event);
            match program.attach(config, scope, SamplePolicy::Period(period), false) {
                Ok(_) => attached += 1,
                // A CPU that went offline just now, or is not there at all.
                Err(error) if is_missing_cpu(&error) => missing = Some(error),
                Err(error) => return Err(BpfError::of("open perf events", &error)),
            }
        }
    }
    match missing.filter(|_| attached == 0) {
        Some(error) => Err(BpfError::of("open perf events", &error)),
        None => Ok(()),
    }
}

/// Has the kernel run the program for context switches, in the first variant that it accepts.
fn attach_to_switches(programs: &mut Ebpf) -> Result<(), BpfError> {
    let failed = |error: ProgramError| BpfError::of("trace context switches", &error);
    let mut attached = Err(lacks());
    for name in ["switched", "switched_no_state"] {
        let program: &mut RawTracePoint = load(programs, name)?.try_into().map_err(failed)?;
        attached = program.attach("sched_switch").map_err(failed);
        if attached.is_ok() {
            break;
        }
    }
    attached.map(|_| ())
}

fn is_missing_cpu(error: &ProgramError) -> bool {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    code.is_some_and(|code| [Errno::ENODEV, Errno::EINVAL].contains(&Errno::from_raw(code)))
}

/// The CPUs that are online; where /sys does not list them, as in some containers, all that there may be.
fn cpus() -> Vec<u32> {
    online_cpus().unwrap_or_else(|(_, error)| {
        debug!("the CPUs are not listed: {error}");
        let count = sysconf(SysconfVar::_NPROCESSORS_CONF).ok().flatten();
        (0..count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1))
            .collect()
    })
}

/// The size of the ring in bytes, a power of two.
fn ring_size(options: &BpfOptions, cpus: usize) -> u32 {
    let windows = RING_SECONDS * 1_000_000_000 / options.window_ns.max(1);
    let for_samples = windows
        .saturating_mul(cpus as u64)
        .saturating_mul(USUAL_RECORD);
    let kinds = u64::from(options.page_faults) + u64::from(options.waits);
    let for_events = RING_FOR_EVENTS.saturating_mul(kinds);
    let bytes = for_samples.saturating_add(for_events);
    let size = bytes.clamp(MIN_RING, MAX_RING).next_power_of_two();
    u32::try_from(size.min(MAX_RING)).unwrap_or(u32::MAX >> 1)
}
