//! [`CpuUse`]: how much CPU time the threads of a process use in a while, whatever they run.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::os::procfs::read::read_capped;
use crate::os::procfs::schedstat::RunCount;
use crate::os::procfs::tasks::thread_ids;
use crate::os::{Pid, Tid};
use crate::text::sanitize::printable;

/// Threads that are read, each in some microseconds.
const MAX_THREADS: usize = 4_096;
/// Cap on a line of numbers, in bytes.
const MAX_LINE: u64 = 256;
/// The least time over which a share means something: the kernel counts in ticks of up to 10 ms.
const MIN_TIME: Duration = Duration::from_millis(100);

/// The CPU times of a process's threads at a moment.
#[derive(Debug)]
pub struct CpuUse {
    pid: Pid,
    at: Instant,
    on_cpu_ns: HashMap<Tid, u64>,
}

/// A thread that used a CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct BusyThread {
    pub tid: Tid,
    /// Its name in the kernel, without control characters.
    pub name: String,
    /// Of one CPU: 1.0 is all of it.
    pub share: f64,
}

impl CpuUse {
    /// From now on.
    pub fn start(pid: Pid) -> CpuUse {
        CpuUse {
            pid,
            at: Instant::now(),
            on_cpu_ns: read(pid),
        }
    }

    /// The threads that have used at least this share of a CPU since the start and are still there, the busiest
    /// first. None if the time was too short.
    pub fn busy(&self, least: f64) -> Vec<BusyThread> {
        let time = self.at.elapsed();
        if time < MIN_TIME {
            return Vec::new();
        }
        let mut busy = Vec::new();
        for (tid, now) in read(self.pid) {
            // A thread that started meanwhile has used all of its time since.
            let before = self.on_cpu_ns.get(&tid).copied().unwrap_or(0);
            let used = Duration::from_nanos(now.saturating_sub(before));
            let share = used.as_secs_f64() / time.as_secs_f64();
            if share >= least {
                let name = fs::read(format!("/proc/{}/task/{tid}/comm", self.pid));
                let name = name.unwrap_or_default();
                let name = printable(String::from_utf8_lossy(&name).trim_end()).into_owned();
                busy.push(BusyThread { tid, name, share });
            }
        }
        busy.sort_by(|one, other| other.share.total_cmp(&one.share));
        busy
    }
}

fn read(pid: Pid) -> HashMap<Tid, u64> {
    let threads = thread_ids(pid).unwrap_or_default();
    let time = |tid: Tid| {
        let line = read_capped(format!("/proc/{pid}/task/{tid}/schedstat"), MAX_LINE).ok()?;
        Some((tid, RunCount::parse(&line)?.on_cpu_ns))
    };
    threads
        .into_iter()
        .take(MAX_THREADS)
        .filter_map(time)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics where it fails")]
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_burns_a_cpu_is_named() {
        let (stop, (send, receive)) = (AtomicBool::new(false), mpsc::channel());
        thread::scope(|scope| {
            let burn = || {
                send.send(nix::unistd::gettid().as_raw()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            let named = thread::Builder::new().name("burner".into());
            named.spawn_scoped(scope, burn).unwrap();
            let tid = receive.recv().unwrap();
            let mut cpu = CpuUse::start(nix::unistd::getpid().as_raw());
            assert_eq!(cpu.busy(0.0), []);
            // However crowded the machine is, it gets a CPU some time.
            let burner = loop {
                let mut busy = cpu.busy(0.001).into_iter();
                if let Some(burner) = busy.find(|one| one.tid == tid) {
                    break burner;
                }
                thread::yield_now();
            };
            assert_eq!(burner.name, "burner");
            // As one that was not there at the start.
            cpu.on_cpu_ns.remove(&tid);
            assert!(cpu.busy(0.001).iter().any(|one| one.tid == tid));
            stop.store(true, Ordering::Relaxed);
        });
    }
}
