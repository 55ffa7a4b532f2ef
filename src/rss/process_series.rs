//! [`MemorySeries`]: memory over time beyond the one RSS curve: each process apart, and what only a
//! walk over all pages tells.

use std::sync::Arc;
use std::time::Duration;

use super::series::{self, RssSeries};
use crate::os::Pid;
use crate::sampler::resources::memory_poll::MemoryReading;
use crate::sampler::sample::{ProcessSample, Sample};

/// Most processes that are kept apart: 64 curves take 2 MiB. Later ones count in the sum only.
pub const MAX_PROCESSES: usize = 64;

/// PSS, USS and swap of all processes together at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharePoint {
    /// Time from the start of the recording.
    pub elapsed: Duration,
    /// Proportional set size, in bytes.
    pub pss_bytes: u64,
    /// Unique set size, in bytes.
    pub uss_bytes: u64,
    /// Swapped out, in bytes.
    pub swap_bytes: u64,
}

/// One process's memory over time.
#[derive(Debug)]
pub struct ProcessMemory {
    /// Which process. A number that is used again by a later one is taken for the same.
    pub pid: Pid,
    /// Its command line, words joined with spaces; empty when it was gone before it could be asked.
    pub command: Arc<str>,
    /// Its resident memory.
    pub rss: RssSeries,
    /// The last reading's time from the start of the recording.
    pub last_elapsed: Duration,
}

/// Memory over the ticks; see the [module](self). The processes are kept apart only under
/// [`ProfileOptions::subprocesses`](crate::profile::options::ProfileOptions::subprocesses): else there is one.
#[derive(Debug, Default)]
pub struct MemorySeries {
    shares: Vec<SharePoint>,
    /// How many answers make a point.
    answers_per_point: u64,
    answers_in_last: u64,
    processes: Vec<ProcessMemory>,
    left_out: u64,
    highest: Option<Highest>,
}

/// The kernel's own mark of the highest RSS.
#[derive(Clone, Copy, Debug)]
enum Highest {
    /// Of the only process that has told.
    Of(Pid, u64),
    /// There are several; their marks are of different times and have no sum.
    Several,
}

impl MemorySeries {
    /// Adds what a tick has beyond RSS.
    pub(crate) fn add_shares(&mut self, sample: &Sample) {
        let mut point = SharePoint {
            elapsed: sample.elapsed,
            ..SharePoint::default()
        };
        let mut is_known = false;
        for reading in &sample.memory {
            self.highest = Some(match self.highest {
                None => Highest::Of(reading.pid, reading.peak_rss_bytes),
                Some(Highest::Of(pid, bytes)) if pid == reading.pid => {
                    Highest::Of(pid, bytes.max(reading.peak_rss_bytes))
                }
                _ => Highest::Several,
            });
            let MemoryReading { shares, .. } = reading;
            if let Some(shares) = shares {
                is_known = true;
                point.pss_bytes = point.pss_bytes.saturating_add(shares.pss_bytes);
                point.uss_bytes = point.uss_bytes.saturating_add(shares.uss_bytes);
                point.swap_bytes = point.swap_bytes.saturating_add(shares.swap_bytes);
            }
        }
        if is_known {
            self.push(point);
        }
    }

    fn push(&mut self, point: SharePoint) {
        self.answers_in_last += 1;
        if self.answers_in_last < self.answers_per_point {
            return;
        }
        self.answers_in_last = 0;
        if self.shares.len() >= series::MAX_POINTS {
            // Every other one stays, so that what is shown was there at that time.
            self.shares = self.shares.iter().copied().step_by(2).collect();
            self.answers_per_point = self.answers_per_point.max(1).saturating_mul(2);
        }
        self.shares.push(point);
    }

    /// Adds one process's RSS at a tick, and the name that it has by now: a fork that runs another
    /// program gets another one.
    pub(crate) fn add_process(
        &mut self,
        elapsed: Duration,
        process: &ProcessSample,
        command: Option<&Arc<str>>,
    ) {
        let Some(rss_bytes) = process.rss_bytes else {
            return;
        };
        let at = match self.processes.iter().position(|one| one.pid == process.pid) {
            Some(at) => at,
            None if self.processes.len() < MAX_PROCESSES => {
                self.processes.push(ProcessMemory {
                    pid: process.pid,
                    command: Arc::from(""),
                    rss: RssSeries::default(),
                    last_elapsed: elapsed,
                });
                self.processes.len() - 1
            }
            None => {
                self.left_out = self.left_out.saturating_add(1);
                return;
            }
        };
        if let Some(one) = self.processes.get_mut(at) {
            if let Some(command) = command.filter(|command| !Arc::ptr_eq(command, &one.command)) {
                one.command = Arc::clone(command);
            }
            one.rss.add(elapsed, rss_bytes);
            one.last_elapsed = elapsed;
        }
    }

    /// PSS, USS and swap over time, oldest first; at most one a second, and at most as many as an
    /// [`RssSeries`] has points. Empty unless memory was sampled and the kernel tells.
    pub fn shares(&self) -> &[SharePoint] {
        &self.shares
    }

    /// The processes in the order in which they were first seen: the one that was asked for, then its
    /// descendants. Empty when they were not kept apart.
    pub fn processes(&self) -> &[ProcessMemory] {
        &self.processes
    }

    /// Whether there were more than [`MAX_PROCESSES`], so that some are only in the sum.
    pub fn is_cut(&self) -> bool {
        self.left_out > 0
    }

    /// The most that the process ever had resident by the kernel's count (`VmHWM`), in bytes: before
    /// the recording and between looks too. `None` when unknown, or when there were several processes.
    pub fn kernel_peak(&self) -> Option<u64> {
        match self.highest {
            Some(Highest::Of(_, bytes)) => Some(bytes),
            Some(Highest::Several) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::os::procfs::smaps::MemoryFootprint;

    fn reading(pid: Pid, mib: u64) -> MemoryReading {
        MemoryReading {
            pid,
            shares: Some(MemoryFootprint {
                pss_bytes: mib << 20,
                uss_bytes: mib << 19,
                swap_bytes: mib,
            }),
            peak_rss_bytes: mib << 21,
        }
    }

    fn sample(seconds: u64, memory: Vec<MemoryReading>) -> Sample {
        Sample {
            elapsed: Duration::from_secs(seconds),
            memory,
            ..Sample::default()
        }
    }

    #[test]
    fn shares_of_several_processes_are_summed_and_peaks_are_not() {
        let mut series = MemorySeries::default();
        series.add_shares(&sample(0, vec![]));
        assert_eq!((series.shares().len(), series.kernel_peak()), (0, None));
        series.add_shares(&sample(1, vec![reading(7, 4)]));
        series.add_shares(&sample(2, vec![reading(7, 3)]));
        assert_eq!(series.kernel_peak(), Some(8 << 20));
        series.add_shares(&sample(3, vec![reading(7, 4), reading(8, 6)]));
        assert_eq!(series.kernel_peak(), None);
        assert_eq!(
            series.shares()[2],
            SharePoint {
                elapsed: Duration::from_secs(3),
                pss_bytes: 10 << 20,
                uss_bytes: 5 << 20,
                swap_bytes: 10,
            }
        );
        // A kernel that does not count them makes no point of zeros.
        let untold = MemoryReading {
            shares: None,
            ..reading(7, 1)
        };
        series.add_shares(&sample(4, vec![untold]));
        assert_eq!(series.shares().len(), 3);
    }

    #[test]
    fn a_day_of_shares_is_bounded_and_covers_the_day() {
        let mut series = MemorySeries::default();
        for second in 0..86_400 {
            series.add_shares(&sample(second, vec![reading(7, second)]));
        }
        let shares = series.shares();
        assert!(shares.len() <= series::MAX_POINTS);
        assert!(shares.len() > series::MAX_POINTS / 2);
        assert!(shares.is_sorted_by_key(|point| point.elapsed));
        assert!(shares[shares.len() - 1].elapsed >= Duration::from_secs(86_000));
        for point in shares {
            assert_eq!(point.swap_bytes, point.elapsed.as_secs());
        }
    }

    #[test]
    fn processes_are_kept_apart_and_their_number_is_bounded() {
        let mut series = MemorySeries::default();
        let names: Vec<Arc<str>> = vec!["fork".into(), "exec".into()];
        for tick in 0..4_u64 {
            for pid in 0..100 {
                let process = ProcessSample {
                    rss_bytes: (pid != 5).then_some(tick * 10 + pid as u64),
                    ..process_sample(pid)
                };
                let name = (pid == 1).then(|| &names[usize::from(tick > 1)]);
                series.add_process(Duration::from_secs(tick), &process, name);
            }
        }
        assert_eq!(series.processes().len(), MAX_PROCESSES);
        assert!(series.is_cut());
        let one = &series.processes()[1];
        assert_eq!((one.pid, &*one.command), (1, "exec"));
        assert_eq!((one.rss.first(), one.rss.last()), (Some(1), Some(31)));
        assert!(series.processes().iter().all(|one| one.pid != 5));
    }

    fn process_sample(pid: Pid) -> ProcessSample {
        ProcessSample {
            pid,
            traces: Vec::new(),
            rss_bytes: None,
            rss_change: None,
        }
    }
}
