//! [`MemorySeries`]: the RSS of each process over time, and PSS, USS and swap, for which the kernel walks
//! all pages.

use std::sync::Arc;
use std::time::Duration;

use super::series::RssSeries;
use super::thinned::Thinned;
use crate::os::Pid;
use crate::sampler::sample::{ProcessSample, Sample};

/// Most processes with a series of their own: 64 take 2 MiB. Later ones only count in the sum.
pub const MAX_PROCESSES: usize = 64;

/// PSS, USS and swap of all processes together at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FootprintPoint {
    /// Time from the start of the recording.
    pub elapsed: Duration,
    /// Proportional set size, in bytes.
    pub pss_bytes: u64,
    /// Unique set size, in bytes.
    pub uss_bytes: u64,
    /// Swapped out, in bytes.
    pub swap_bytes: u64,
}

/// One process's RSS over time.
#[derive(Debug)]
pub struct ProcessMemory {
    /// A PID that is reused by a later process counts as the same process.
    pub pid: Pid,
    /// Command line, words joined with spaces; empty if the process exited before it was read.
    pub command: Arc<str>,
    pub rss: RssSeries,
    /// Time of the last reading, from the start of the recording.
    pub last_elapsed: Duration,
}

/// Memory over the ticks; see the [module](self). There are processes only if child processes are
/// sampled.
#[derive(Debug)]
pub struct MemorySeries {
    footprints: Thinned<FootprintPoint>,
    processes: Vec<ProcessMemory>,
    highest: Option<Highest>,
}

/// The kernel's count of the highest RSS (`VmHWM`).
#[derive(Clone, Copy, Debug)]
enum Highest {
    /// Of the only process so far, in bytes.
    Of(Pid, u64),
    /// There are several: their peaks are of different times and have no sum.
    Several,
}

impl Default for MemorySeries {
    fn default() -> Self {
        MemorySeries::new()
    }
}

impl MemorySeries {
    /// An empty series.
    pub const fn new() -> MemorySeries {
        MemorySeries {
            footprints: Thinned::new(),
            processes: Vec::new(),
            highest: None,
        }
    }

    /// Adds the PSS, USS and swap of a tick.
    pub fn add_footprints(&mut self, sample: &Sample) {
        let mut point = FootprintPoint {
            elapsed: sample.elapsed,
            ..FootprintPoint::default()
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
            if let Some(part) = reading.shares {
                is_known = true;
                point.pss_bytes = point.pss_bytes.saturating_add(part.pss_bytes);
                point.uss_bytes = point.uss_bytes.saturating_add(part.uss_bytes);
                point.swap_bytes = point.swap_bytes.saturating_add(part.swap_bytes);
            }
        }
        if is_known {
            self.footprints.push(point);
        }
    }

    /// Adds one process's RSS at a tick, and its current command line: exec replaces it.
    pub fn add_process(
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
            None => return,
        };
        if let Some(one) = self.processes.get_mut(at) {
            if let Some(command) = command.filter(|command| !Arc::ptr_eq(command, &one.command)) {
                one.command = Arc::clone(command);
            }
            one.rss.add(elapsed, rss_bytes);
            one.last_elapsed = elapsed;
        }
    }

    /// PSS, USS and swap over time, oldest first: at most one a second and [`MAX_POINTS`](super::series::MAX_POINTS) in all.
    /// Empty if the kernel does not report them.
    pub fn footprints(&self) -> &[FootprintPoint] {
        self.footprints.points()
    }

    /// The processes in the order in which they were first sampled: the root, then its descendants. Empty
    /// if child processes are not sampled.
    pub fn processes(&self) -> &[ProcessMemory] {
        &self.processes
    }

    /// The highest RSS that the kernel has counted for the process (`VmHWM`), in bytes, including the time
    /// before the recording and between samples. `None` if unknown or if there were several processes.
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
    use crate::rss::series;
    use crate::sampler::sample::MemoryReading;
    use crate::testing::process;

    fn reading(pid: Pid, mib: u64) -> MemoryReading {
        MemoryReading {
            pid,
            shares: Some(MemoryFootprint {
                pss_bytes: mib << 20,
                uss_bytes: mib << 19,
                swap_bytes: mib,
                ..MemoryFootprint::default()
            }),
            rss_bytes: mib << 20,
            file_bytes: 0,
            shmem_bytes: 0,
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
    fn footprints_of_several_processes_are_summed_and_peaks_are_not() {
        let mut series = MemorySeries::default();
        series.add_footprints(&sample(0, vec![]));
        assert_eq!((series.footprints().len(), series.kernel_peak()), (0, None));
        series.add_footprints(&sample(1, vec![reading(7, 4)]));
        series.add_footprints(&sample(2, vec![reading(7, 3)]));
        assert_eq!(series.kernel_peak(), Some(8 << 20));
        series.add_footprints(&sample(3, vec![reading(7, 4), reading(8, 6)]));
        assert_eq!(series.kernel_peak(), None);
        assert_eq!(
            series.footprints()[2],
            FootprintPoint {
                elapsed: Duration::from_secs(3),
                pss_bytes: 10 << 20,
                uss_bytes: 5 << 20,
                swap_bytes: 10,
            }
        );
        // A kernel that does not report them adds no point of zeros.
        let unreported = MemoryReading {
            shares: None,
            ..reading(7, 1)
        };
        series.add_footprints(&sample(4, vec![unreported]));
        assert_eq!(series.footprints().len(), 3);
    }

    #[test]
    fn a_day_of_footprints_is_bounded_and_covers_the_day() {
        let mut series = MemorySeries::default();
        for second in 0..86_400 {
            series.add_footprints(&sample(second, vec![reading(7, second)]));
        }
        let footprints = series.footprints();
        assert!(footprints.len() <= series::MAX_POINTS);
        assert!(footprints.len() > series::MAX_POINTS / 2);
        assert!(footprints.is_sorted_by_key(|point| point.elapsed));
        assert!(footprints[footprints.len() - 1].elapsed >= Duration::from_secs(86_000));
        for point in footprints {
            assert_eq!(point.swap_bytes, point.elapsed.as_secs());
        }
    }

    #[test]
    fn each_process_has_a_series_and_their_number_is_bounded() {
        let mut series = MemorySeries::default();
        let names: Vec<Arc<str>> = vec!["fork".into(), "exec".into()];
        for tick in 0..4_u64 {
            for pid in 0..100 {
                let process = ProcessSample {
                    rss_bytes: (pid != 5).then_some(tick * 10 + pid as u64),
                    ..process(pid, Vec::new())
                };
                let name = (pid == 1).then(|| &names[usize::from(tick > 1)]);
                series.add_process(Duration::from_secs(tick), &process, name);
            }
        }
        assert_eq!(series.processes().len(), MAX_PROCESSES);
        let one = &series.processes()[1];
        assert_eq!((one.pid, &*one.command), (1, "exec"));
        assert_eq!((one.rss.first(), one.rss.last()), (Some(1), Some(31)));
        assert!(series.processes().iter().all(|one| one.pid != 5));
    }
}
