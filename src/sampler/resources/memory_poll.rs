//! [`MemoryPoller`]: what is too dear to be asked at each look, once a second and beside the looks.
//!
//! The kernel walks over all pages of a process to add up its [`MemoryFootprint`]; for a large one that takes
//! longer than the time between two looks. So a thread of its own asks, and a look only takes what
//! has been answered meanwhile.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log::debug;

use crate::os::Pid;
use crate::os::process::TargetProcess;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::statm::Memory;

/// How often the processes are asked at most.
const EVERY: Duration = Duration::from_secs(1);
/// How many times as long as an answer took nothing is asked: the kernel's walks take a hundredth of
/// one CPU at most.
const REST: u32 = 100;
/// Most processes that are asked in one round.
const MAX_PROCESSES: usize = 256;

/// What a process said of its memory besides its RSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReading {
    /// Which process.
    pub pid: Pid,
    /// Its own, shared and swapped memory; `None` where the kernel has no such count.
    pub shares: Option<MemoryFootprint>,
    /// The most that it ever had resident (`VmHWM`), in bytes.
    pub peak_rss_bytes: u64,
}

/// Asks the processes that are looked at, in a thread that ends with this value.
#[derive(Debug)]
pub(crate) struct MemoryPoller {
    /// `None` after the thread could not be started.
    thread: Option<(SyncSender<Vec<PollTarget>>, Receiver<Answer>)>,
    is_asked: bool,
    next: Instant,
}

/// A process. Its pid alone may be another's by the time that it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollTarget {
    pid: Pid,
    start_ticks: u64,
}

impl PollTarget {
    /// This process.
    pub fn of(process: &TargetProcess) -> PollTarget {
        PollTarget {
            pid: process.pid(),
            start_ticks: process.start_time(),
        }
    }
}

#[derive(Debug)]
struct Answer {
    readings: Vec<MemoryReading>,
    took: Duration,
}

impl MemoryPoller {
    /// Starts the thread; the first question is due at `now`.
    pub fn start(now: Instant) -> MemoryPoller {
        let (questions, asked) = sync_channel::<Vec<PollTarget>>(1);
        let (answer, answers) = sync_channel(1);
        let thread = std::thread::Builder::new().name("memory".to_owned());
        let started = thread.spawn(move || {
            for processes in asked {
                let begin = Instant::now();
                let readings = processes.into_iter().filter_map(read).collect();
                let took = begin.elapsed();
                if answer.send(Answer { readings, took }).is_err() {
                    break;
                }
            }
        });
        if let Err(error) = &started {
            debug!("no thread to ask for PSS and USS: {error}");
        }
        MemoryPoller {
            thread: started.ok().map(|_| (questions, answers)),
            is_asked: false,
            next: now,
        }
    }

    /// What has been answered since the last look; mostly nothing. Asks anew when it is time, and never
    /// waits.
    pub fn look(
        &mut self,
        now: Instant,
        processes: impl Iterator<Item = PollTarget>,
    ) -> Vec<MemoryReading> {
        let Some((questions, answers)) = &self.thread else {
            return Vec::new();
        };
        if !self.is_asked {
            if now >= self.next {
                self.is_asked = questions
                    .try_send(processes.take(MAX_PROCESSES).collect())
                    .is_ok();
            }
            return Vec::new();
        }
        let Ok(answer) = answers.try_recv() else {
            return Vec::new();
        };
        self.is_asked = false;
        self.next = now + EVERY.max(answer.took.saturating_mul(REST));
        answer.readings
    }
}

/// `None` for a process that has ended, also if another has its pid by now.
fn read(asked: PollTarget) -> Option<MemoryReading> {
    let PollTarget { pid, start_ticks } = asked;
    let memory = Memory::read(pid).ok()?;
    let reading = MemoryReading {
        pid,
        shares: MemoryFootprint::read(pid).ok(),
        peak_rss_bytes: memory.peak_rss_bytes,
    };
    // If it is still there, it was there all the while.
    let stat = ProcStat::of_process(pid).ok()?;
    (stat.start_ticks == start_ticks).then_some(reading)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn a_look_never_waits_and_the_answer_comes_with_a_later_one() {
        let pid = std::process::id().cast_signed();
        let start_ticks = ProcStat::of_process(pid).unwrap().start_ticks;
        let own = PollTarget { pid, start_ticks };
        // Ones that have ended: nobody has the first's pid, and we have the second's.
        let ended = [
            PollTarget { pid: 0, ..own },
            PollTarget {
                start_ticks: start_ticks - 1,
                ..own
            },
        ];
        let mut now = Instant::now();
        let mut watch = MemoryPoller::start(now);
        // The first look asks.
        let asked = ended.into_iter().chain([own]);
        assert!(watch.look(now, asked).is_empty());
        let readings = loop {
            let readings = watch.look(now, [own].into_iter());
            if !readings.is_empty() {
                break readings;
            }
            std::thread::yield_now();
        };
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].pid, pid);
        assert!(readings[0].peak_rss_bytes > 0);
        // Nothing is asked again before its time.
        watch.look(now + EVERY / 2, [own].into_iter());
        assert!(!watch.is_asked);
        now = watch.next;
        watch.look(now, [own].into_iter());
        assert!(watch.is_asked);
    }
}
