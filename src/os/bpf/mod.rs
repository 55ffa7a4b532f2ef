//! [`BpfSampler`]: stacks that the kernel copies in timer interrupts, by a BPF program.
//!
//! A perf event per CPU (`PERF_COUNT_SW_CPU_CLOCK`) interrupts whatever runs there. If that is a thread of a
//! process that is sampled, the program copies its Python stack into a ring buffer while the thread cannot run.
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
use aya::programs::PerfEvent;
use aya::programs::ProgramError;
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};
use aya::util::online_cpus;
use aya::{Ebpf, EbpfLoader};
use log::debug;
use nix::unistd::{SysconfVar, sysconf};

use super::Pid;
use super::container::is_in_first_pid_namespace;
use super::memory::address::RemoteAddr;
use copy_plan::{CopyPlan, MAX_FRAMES, PLAN_WORDS, Record};

/// `sampler.bpf.c`, compiled.
static PROGRAM: &[u8] = include_bytes!("sampler.bpf.o");

/// The most and the fewest bytes of the ring.
const MAX_RING: u64 = 64 << 20;
const MIN_RING: u64 = 1 << 20;
/// How many seconds of samples the ring has room for, of a stack of some 50 frames on each CPU.
const RING_SECONDS: u64 = 2;
const USUAL_RECORD: u64 = 6 << 10;
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

/// Samples processes in timer interrupts.
pub struct BpfSampler {
    ids: Ids,
    window_ns: u64,
    max_frames: u64,
    settings: Array<MapData, [u64; 5]>,
    processes: BpfHash<MapData, u32, [u64; PLAN_WORDS]>,
    threads: BpfHash<MapData, u32, u64>,
    ring: RingBuf<MapData>,
    dropped: Array<MapData, u64>,
    dropped_before: u64,
    /// Samples whose frames are in more than one record, by thread and time.
    parts: HashMap<(u32, u64), Record>,
    /// What the program calls; empty once this is closed.
    _programs: ProgramArray<MapData>,
    /// The program and its events, which end with it.
    _program: Ebpf,
}

impl BpfSampler {
    /// Prepares all that sampling takes: `window_ns` is the time between two samples on a CPU. Ids are those of a
    /// PID namespace in which `pid` is. A stack of more than `max_frames`, rounded up to a multiple of 32, is
    /// [too deep](copy_plan::Defect::TooDeep); [`MAX_FRAMES`] at most.
    ///
    /// # Errors
    /// When the kernel lacks something or does not permit it.
    pub fn load(pid: Pid, window_ns: u64, max_frames: usize) -> Result<BpfSampler, BpfError> {
        let failed = |what| move |error: io::Error| BpfError::of(what, &error);
        let ids = Ids::for_target(pid).map_err(failed("find the PID namespace"))?;
        let cpus = cpus();
        let cpu_count = cpus.iter().max().map_or(1, |last| last.saturating_add(1));
        let mut program = EbpfLoader::new()
            .btf(None)
            .map_max_entries("scratches", cpu_count)
            .map_max_entries("windows", cpu_count)
            .map_max_entries("ring", ring_size(window_ns, cpus.len()))
            .load(PROGRAM)
            .map_err(|error| BpfError::of("create BPF maps", &error))?;
        let mut take = |name| program.take_map(name).ok_or_else(lacks);
        let of_map = |error: MapError| BpfError::of("use BPF maps", &error);
        let settings = take("settings")?.try_into().map_err(of_map)?;
        let processes = take("processes")?.try_into().map_err(of_map)?;
        let threads = take("threads")?.try_into().map_err(of_map)?;
        let ring = take("ring")?.try_into().map_err(of_map)?;
        let dropped = take("dropped")?.try_into().map_err(of_map)?;
        let mut programs: ProgramArray<MapData> = take("programs")?.try_into().map_err(of_map)?;
        let frames = load(&mut program, "frames")?;
        let frames = frames.fd().map_err(|error| BpfError::of(LOAD, &error))?;
        programs.set(0, frames, 0).map_err(of_map)?;
        let sample = load(&mut program, "sample")?;
        // A little shorter than a window. So each window has a sample, the second of two in one is left out, and
        // the moment moves through the window: no program can run in step with it for long.
        let period = SamplePolicy::Period((window_ns - window_ns / 100).max(1));
        let mut events = 0;
        let mut refusal = None;
        for cpu in cpus {
            let scope = PerfEventScope::AllProcessesOneCpu { cpu };
            let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
            match sample.attach(clock, scope, period, false) {
                Ok(_) => events += 1,
                // One that went offline just now, or is not there at all.
                Err(error) => refusal = Some(error),
            }
        }
        if let Some(error) = refusal.filter(|_| events == 0) {
            return Err(BpfError::of("open perf events", &error));
        }
        Ok(BpfSampler {
            ids,
            window_ns: window_ns.max(1),
            max_frames: max_frames.min(MAX_FRAMES) as u64,
            settings,
            processes,
            threads,
            ring,
            dropped,
            dropped_before: 0,
            parts: HashMap::new(),
            _programs: programs,
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
        let set = self
            .settings
            .set(0, [dev, ino, self.window_ns, start_ns, self.max_frames], 0);
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
        added.map_err(|error| BpfError::of("sample another process", &error))
    }

    /// Samples a process no more.
    pub fn remove_process(&mut self, tgid: u32) {
        // It may be gone already.
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
fn load<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut PerfEvent, BpfError> {
    let failed = |error: ProgramError| BpfError::of(LOAD, &error);
    let program = programs.program_mut(name).ok_or_else(lacks)?;
    let program: &mut PerfEvent = program.try_into().map_err(failed)?;
    program.load().map_err(failed)?;
    Ok(program)
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
fn ring_size(window_ns: u64, cpus: usize) -> u32 {
    let windows = RING_SECONDS * 1_000_000_000 / window_ns.max(1);
    let bytes = windows
        .saturating_mul(cpus as u64)
        .saturating_mul(USUAL_RECORD);
    let size = bytes.clamp(MIN_RING, MAX_RING).next_power_of_two();
    u32::try_from(size.min(MAX_RING)).unwrap_or(u32::MAX >> 1)
}
