//! [`MemoryPoller`]: memory readings that are too expensive for every sample, every second or every few seconds.
//!
//! The kernel walks over all pages of a process to add up its [`MemoryFootprint`]. For a large process
//! that takes longer than the time between two samples, so a separate thread reads them, and samples only
//! take over finished readings.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log::warn;

use crate::os::Pid;
use crate::os::process::TargetProcess;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::statm::Memory;
use crate::os::thread::start::start;
use crate::sampler::sample::MemoryReading;

/// Shortest interval between two rounds, for a recording of memory.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same for other recordings, and the time until their first round: the verdict on memory, which needs a
/// recording of 25 s, needs to know what kind of memory grew.
const RARE_INTERVAL: Duration = Duration::from_secs(5);
/// The interval is at least the duration of a round times this: the kernel's walks take at most a
/// hundredth of one CPU.
const MIN_IDLE_FACTOR: u32 = 100;
/// Maximum number of processes per round.
const MAX_PROCESSES: usize = 256;

/// Polls the sampled processes in a thread that ends with this value.
#[derive(Debug)]
pub(crate) struct MemoryPoller {
    /// `None` before the first round, and if the thread could not be started.
    thread: Option<(SyncSender<Vec<PollTarget>>, Receiver<Round>)>,
    in_progress: bool,
    has_started: bool,
    interval: Duration,
    next: Instant,
}

/// A process, identified also by its start time: its pid may be reused before the poll.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollTarget {
    pid: Pid,
    start_ticks: u64,
}

impl PollTarget {
    pub fn of(process: &TargetProcess) -> PollTarget {
        PollTarget {
            pid: process.pid(),
            start_ticks: process.start_time(),
        }
    }
}

/// The result of a round.
#[derive(Debug)]
struct Round {
    readings: Vec<MemoryReading>,
    took: Duration,
}

impl MemoryPoller {
    /// A poller whose first round is due at `now` if memory is recorded, else later.
    pub fn new(now: Instant, is_recorded: bool) -> MemoryPoller {
        MemoryPoller {
            thread: None,
            in_progress: false,
            has_started: false,
            interval: if is_recorded { INTERVAL } else { RARE_INTERVAL },
            next: if is_recorded {
                now
            } else {
                now + RARE_INTERVAL
            },
        }
    }

    /// Starts the thread.
    fn start(&mut self) {
        self.has_started = true;
        let (requests, received) = sync_channel::<Vec<PollTarget>>(1);
        let (sender, rounds) = sync_channel(1);
        let started = start("memory", move || {
            for processes in received {
                let begin = Instant::now();
                let readings = processes.into_iter().filter_map(read).collect();
                let took = begin.elapsed();
                if sender.send(Round { readings, took }).is_err() {
                    break;
                }
            }
        });
        if let Err(error) = &started {
            warn!("PSS and USS are not read: {error}");
        }
        self.thread = started.ok().map(|_| (requests, rounds));
    }

    /// The readings that have finished since the last call, usually none. Starts the next round when it
    /// is due. Never waits.
    pub fn poll(
        &mut self,
        now: Instant,
        processes: impl Iterator<Item = PollTarget>,
    ) -> Vec<MemoryReading> {
        if !self.has_started && now >= self.next {
            self.start();
        }
        let Some((requests, rounds)) = &self.thread else {
            return Vec::new();
        };
        if !self.in_progress {
            if now >= self.next {
                self.in_progress = requests
                    .try_send(processes.take(MAX_PROCESSES).collect())
                    .is_ok();
            }
            return Vec::new();
        }
        let Ok(round) = rounds.try_recv() else {
            return Vec::new();
        };
        self.in_progress = false;
        self.next = now
            + self
                .interval
                .max(round.took.saturating_mul(MIN_IDLE_FACTOR));
        round.readings
    }
}

/// `None` for a process that has ended, also if its pid was reused.
fn read(target: PollTarget) -> Option<MemoryReading> {
    let PollTarget { pid, start_ticks } = target;
    let memory = Memory::read(pid).ok()?;
    let reading = MemoryReading {
        pid,
        shares: MemoryFootprint::read(pid).ok(),
        rss_bytes: memory.rss_bytes,
        file_bytes: memory.file_bytes.unwrap_or(0),
        shmem_bytes: memory.shmem_bytes.unwrap_or(0),
        peak_rss_bytes: memory.peak_rss_bytes,
    };
    // If the process exists now, it existed during the reads.
    let stat = ProcStat::of_process(pid).ok()?;
    (stat.start_ticks == start_ticks).then_some(reading)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn a_poll_never_waits_and_a_later_one_has_the_readings() {
        let pid = std::process::id().cast_signed();
        let start_ticks = ProcStat::of_process(pid).unwrap().start_ticks;
        let own = PollTarget { pid, start_ticks };
        // Ended processes: the pid of the first is unused, that of the second is reused by us.
        let ended = [
            PollTarget { pid: 0, ..own },
            PollTarget {
                start_ticks: start_ticks - 1,
                ..own
            },
        ];
        let mut now = Instant::now();
        let mut poller = MemoryPoller::new(now, true);
        // The first poll starts a round.
        let targets = ended.into_iter().chain([own]);
        assert!(poller.poll(now, targets).is_empty());
        let readings = loop {
            let readings = poller.poll(now, [own].into_iter());
            if !readings.is_empty() {
                break readings;
            }
            std::thread::yield_now();
        };
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].pid, pid);
        assert!(readings[0].peak_rss_bytes > 0);
        assert!((1..readings[0].rss_bytes).contains(&readings[0].file_bytes));
        // No round starts before it is due.
        poller.poll(now + INTERVAL / 2, [own].into_iter());
        assert!(!poller.in_progress);
        now = poller.next;
        poller.poll(now, [own].into_iter());
        assert!(poller.in_progress);
    }
    #[test]
    fn a_short_recording_of_time_starts_no_thread() {
        let now = Instant::now();
        let mut poller = MemoryPoller::new(now, false);
        poller.poll(now + RARE_INTERVAL / 2, [].into_iter());
        assert!(poller.thread.is_none());
        poller.poll(now + RARE_INTERVAL, [].into_iter());
        assert!(poller.in_progress);
    }
}
