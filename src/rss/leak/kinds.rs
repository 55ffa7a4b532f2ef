//! [`KindSeries`]: the kinds of resident memory over time, and what they make of a verdict on the sum.
//!
//! RSS is the sum of memory that only the program can free and of pages that the kernel takes back on its own when
//! it needs room: of mapped files, and those that were freed lazily (`MADV_FREE`). Growth of the latter is no leak.
//! And RSS does not change when a page that was shared with another process is copied, although more memory is
//! used.

use std::time::Duration;

use super::verdict::{Reclaimable, Verdict};
use crate::rss::thinned::Thinned;
use crate::sampler::sample::Sample;

/// The share of the growth that the kernel must be able to take back for it to be no leak: the rest is not judged
/// on its own, and grows a little in most programs.
const RECLAIMABLE_SHARE: f64 = 0.9;
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
            } => self
                .reclaimable(since, elapsed)
                .map_or(verdict, |what| Verdict::Reclaimable {
                    bytes_per_minute,
                    since,
                    what,
                }),
            Verdict::Stable | Verdict::Settled { .. } => self
                .unshared()
                .map_or(verdict, |bytes| Verdict::Unshared { bytes }),
            _ => verdict,
        }
    }

    /// What has grown since then, if the kernel can take nearly all of it back.
    fn reclaimable(&self, since: Duration, until: Duration) -> Option<Reclaimable> {
        let points = self.points.points();
        let first = points.iter().find(|point| point.elapsed >= since)?;
        let last = points.last()?;
        let covered = last.elapsed.saturating_sub(first.elapsed);
        if covered.as_secs_f64() < COVERED * until.saturating_sub(since).as_secs_f64() {
            return None;
        }
        let grown = last.rss_bytes.saturating_sub(first.rss_bytes);
        let files = last.file_bytes.saturating_sub(first.file_bytes);
        let freed = last.lazy_free_bytes.saturating_sub(first.lazy_free_bytes);
        let is_nearly_all = files.saturating_add(freed) as f64 >= RECLAIMABLE_SHARE * grown as f64;
        (grown > 0 && is_nearly_all).then_some(if files >= freed {
            Reclaimable::MappedFiles
        } else {
            Reclaimable::FreedLazily
        })
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
    };

    /// Readings of a minute, in which each kind of memory changes evenly by so many MiB; 100 MiB at first.
    fn series(rss: i64, file: i64, lazy_free: i64, unshared: i64) -> KindSeries {
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
        for (series, what) in [
            (series(300, 298, 0, 0), Some(Reclaimable::MappedFiles)),
            (series(240, 0, 238, 0), Some(Reclaimable::FreedLazily)),
            (series(240, 100, 138, 0), Some(Reclaimable::FreedLazily)),
            // A leak beside a file is a leak.
            (series(300, 200, 0, 0), None),
            (series(60, 0, 0, 0), None),
            (KindSeries::default(), None),
        ] {
            let verdict = series.explain(GROWING, MINUTE);
            assert_eq!(verdict.is_leak(), what.is_none(), "{verdict}");
            if let Some(what) = what {
                assert_eq!(
                    verdict,
                    Verdict::Reclaimable {
                        bytes_per_minute: 60 << 20,
                        since: Duration::ZERO,
                        what
                    }
                );
            }
        }
        // What was read of a recording of ten minutes in its first is not enough.
        assert_eq!(
            series(300, 298, 0, 0).explain(GROWING, 10 * MINUTE),
            GROWING
        );
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
