//! [`KindSeries`]: the kinds of resident memory over time, and what they make of a verdict on the sum.
//!
//! RSS is the sum of memory that only the program can free and of pages that the kernel takes back on its own when
//! it needs room: of mapped files, and those that were freed lazily (`MADV_FREE`). Growth of the latter is no leak.
//! Shared memory can be freed by the program, too, but others may hold it as well. And RSS does not change when a page
//! that was shared with another process is copied, although more memory is used.

use std::time::Duration;

use super::verdict::{Kind, Verdict};
use crate::rss::thinned::Thinned;
use crate::sampler::sample::Sample;

/// The share of the growth that must be of a kind for the verdict to be on that kind: the rest is not judged on its
/// own, and grows a little in most programs.
const NEARLY_ALL: f64 = 0.9;
/// A step has ended within this part of the recording from where it began; see
/// [`plateau`](super::plateau).
const STEP_PART: u32 = 8;
/// The least share of the judged time that the readings must cover.
const COVERED: f64 = 0.5;
/// The least memory that is reported as no longer shared, in bytes: as for the least leak.
const MIN_UNSHARED: u64 = 1 << 20;
/// The same, as a share of what was shared: an interpreter copies some pages when it starts to run.
const MIN_UNSHARED_SHARE: f64 = 0.05;

/// The kinds of memory of all processes together at one time, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindPoint {
    /// Time from the start of the recording.
    pub elapsed: Duration,
    /// All that is resident.
    pub rss_bytes: u64,
    /// Pages of mapped files, without shared memory.
    pub file_bytes: u64,
    /// Pages of shared memory.
    pub shmem_bytes: u64,
    /// Pages that were freed by `MADV_FREE` and are still resident.
    pub lazy_free_bytes: u64,
    /// Written pages that only one process maps.
    pub private_dirty_bytes: u64,
    /// Written pages that several processes map.
    pub shared_dirty_bytes: u64,
}

/// The kinds of memory over time; see the [module](self).
#[derive(Debug, Default)]
pub struct KindSeries {
    points: Thinned<KindPoint>,
}

impl KindSeries {
    /// Adds the readings of a tick, if it has any.
    pub fn add(&mut self, sample: &Sample) {
        let mut sum = KindPoint {
            elapsed: sample.elapsed,
            ..KindPoint::default()
        };
        for reading in &sample.memory {
            let shares = reading.shares.unwrap_or_default();
            for (sum, bytes) in [
                (&mut sum.rss_bytes, reading.rss_bytes),
                (&mut sum.file_bytes, reading.file_bytes),
                (&mut sum.shmem_bytes, reading.shmem_bytes),
                (&mut sum.lazy_free_bytes, shares.lazy_free_bytes),
                (&mut sum.private_dirty_bytes, shares.private_dirty_bytes),
                (&mut sum.shared_dirty_bytes, shares.shared_dirty_bytes),
            ] {
                *sum = sum.saturating_add(bytes);
            }
        }
        if !sample.memory.is_empty() {
            self.points.push(sum);
        }
    }

    /// The verdict, or what it is in view of the kinds of memory; `elapsed`: the length of the recording.
    pub fn explain(&self, verdict: Verdict, elapsed: Duration) -> Verdict {
        match verdict {
            Verdict::Growing {
                bytes_per_minute,
                since,
                ..
            } => Verdict::Growing {
                bytes_per_minute,
                since,
                kind: self.kind_of_growth(since, elapsed),
            },
            Verdict::Step { bytes, at, .. } => {
                let before = at.saturating_sub(elapsed / STEP_PART);
                let kind = self.kind_of_growth(before, elapsed);
                Verdict::Step { bytes, at, kind }
            }
            Verdict::Stable | Verdict::Settled { .. } => self
                .unshared()
                .map_or(verdict, |bytes| Verdict::Unshared { bytes }),
            _ => verdict,
        }
    }

    /// Of what kind nearly all is that has grown since then.
    fn kind_of_growth(&self, since: Duration, until: Duration) -> Option<Kind> {
        let points = self.points.points();
        let first = points.iter().find(|point| point.elapsed >= since)?;
        let last = points.last()?;
        let covered = last.elapsed.saturating_sub(first.elapsed);
        if covered.as_secs_f64() < COVERED * until.saturating_sub(since).as_secs_f64() {
            return None;
        }
        let grown = |of: fn(&KindPoint) -> u64| of(last).saturating_sub(of(first));
        let all = grown(|point| point.rss_bytes);
        let files = grown(|point| point.file_bytes);
        let freed = grown(|point| point.lazy_free_bytes);
        let shared = grown(|point| point.shmem_bytes);
        let is_nearly_all = |bytes: u64| all > 0 && bytes as f64 >= NEARLY_ALL * all as f64;
        if is_nearly_all(files.saturating_add(freed)) {
            return Some(match files >= freed {
                true => Kind::MappedFiles,
                false => Kind::FreedLazily,
            });
        }
        is_nearly_all(shared).then_some(Kind::Shared)
    }

    /// How much memory was shared first and is private now, if that is much.
    fn unshared(&self) -> Option<u64> {
        let [first, .., last] = self.points.points() else {
            return None;
        };
        let private = last
            .private_dirty_bytes
            .saturating_sub(first.private_dirty_bytes);
        let no_longer = first
            .shared_dirty_bytes
            .saturating_sub(last.shared_dirty_bytes);
        let bytes = private.min(no_longer);
        let least = MIN_UNSHARED_SHARE * first.shared_dirty_bytes as f64;
        (bytes >= MIN_UNSHARED && bytes as f64 >= least).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::procfs::smaps::MemoryFootprint;
    use crate::sampler::sample::MemoryReading;

    const MINUTE: Duration = Duration::from_secs(60);
    const GROWING: Verdict = Verdict::Growing {
        bytes_per_minute: 60 << 20,
        since: Duration::ZERO,
        kind: None,
    };

    /// Readings of a minute, in which each kind of memory changes evenly by so many MiB; 100 MiB at first.
    fn series(rss: i64, file: i64, lazy_free: i64, unshared: i64) -> KindSeries {
        series_of(rss, file, 0, lazy_free, unshared)
    }

    /// The same, with shared memory.
    fn series_of(rss: i64, file: i64, shmem: i64, lazy_free: i64, unshared: i64) -> KindSeries {
        let mut series = KindSeries::default();
        for second in (5..=60_u64).step_by(5) {
            let mib = |by: i64| {
                let bytes = (100 << 20) + (by << 20) * second.cast_signed() / 60;
                bytes.cast_unsigned()
            };
            let reading = MemoryReading {
                pid: 7,
                rss_bytes: mib(rss),
                file_bytes: mib(file),
                shmem_bytes: mib(shmem),
                peak_rss_bytes: 0,
                shares: Some(MemoryFootprint {
                    lazy_free_bytes: mib(lazy_free),
                    private_dirty_bytes: mib(unshared),
                    shared_dirty_bytes: mib(-unshared),
                    ..MemoryFootprint::default()
                }),
            };
            series.add(&Sample {
                elapsed: Duration::from_secs(second),
                memory: vec![reading],
                ..Sample::default()
            });
            series.add(&Sample::default());
        }
        series
    }

    /// A file that was read through a mapping, and memory that was freed lazily, were called leaks.
    #[test]
    fn what_the_kernel_can_take_back_is_no_leak() {
        for (series, kind) in [
            (series(300, 298, 0, 0), Some(Kind::MappedFiles)),
            (series(240, 0, 238, 0), Some(Kind::FreedLazily)),
            (series(240, 100, 138, 0), Some(Kind::FreedLazily)),
            // A leak beside a file is a leak.
            (series(300, 200, 0, 0), None),
            (series(60, 0, 0, 0), None),
            (KindSeries::default(), None),
        ] {
            let verdict = series.explain(GROWING, MINUTE);
            assert_eq!(verdict.is_leak(), kind.is_none(), "{verdict}");
            let expected = Verdict::Growing {
                bytes_per_minute: 60 << 20,
                since: Duration::ZERO,
                kind,
            };
            assert_eq!(verdict, expected);
        }
        // What was read of a recording of ten minutes in its first is not enough.
        assert_eq!(
            series(300, 298, 0, 0).explain(GROWING, 10 * MINUTE),
            GROWING
        );
    }

    /// A program that fills `/dev/shm` was said to leak as if the memory were its own.
    #[test]
    fn shared_memory_is_named() {
        let shared = series_of(300, 0, 290, 0, 0).explain(GROWING, MINUTE);
        assert!(shared.is_leak(), "{shared}");
        assert!(shared.to_string().ends_with(": shared memory"), "{shared}");
        assert_eq!(
            series_of(300, 100, 190, 0, 0).explain(GROWING, MINUTE),
            GROWING
        );
    }

    /// A file that was mapped and read once was one step, as if it had been allocated.
    #[test]
    fn a_step_says_of_what_kind_it_is() {
        let (bytes, at) = (60 << 20, MINUTE / 2);
        let step = |kind| Verdict::Step { bytes, at, kind };
        for (series, kind) in [
            (series(60, 59, 0, 0), Some(Kind::MappedFiles)),
            (series_of(60, 0, 59, 0, 0), Some(Kind::Shared)),
            (series(60, 0, 0, 0), None),
        ] {
            assert_eq!(series.explain(step(None), MINUTE), step(kind));
        }
    }

    /// A forked child that copies its parent's pages was called stable.
    #[test]
    fn stable_does_not_stand_alone_when_pages_are_copied() {
        let settled = Verdict::Settled {
            bytes: 2 << 20,
            since: MINUTE / 2,
        };
        for verdict in [Verdict::Stable, settled] {
            let copied = series(0, 0, 0, 60).explain(verdict, MINUTE);
            assert_eq!(copied, Verdict::Unshared { bytes: 55 << 20 });
            assert_eq!(copied.word(), "stable");
            for series in [series(0, 0, 0, 0), series(0, 0, 0, 2), series(0, 0, 0, -60)] {
                assert_eq!(series.explain(verdict, MINUTE), verdict);
            }
        }
    }
}
