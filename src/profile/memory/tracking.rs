//! [`MemoryTracking`]: all that a profile holds about memory beyond the RSS series.

use std::collections::HashMap;
use std::time::Duration;

use super::checkpoints::Checkpoints;
use super::growth_table::GrowthTable;
use super::timeline::GrowthTimeline;
use crate::os::Pid;
use crate::profile::tables::ids::StackId;
use crate::profile::tables::stacks::StackTable;
use crate::rss::attribution::ThreadDelta;
use crate::rss::attribution::by_fault::{FaultAttribution, ResidentChange, StackFault};
use crate::rss::process_series::MemorySeries;
use crate::sampler::sample::FaultGrowth;

/// Exists only with [`Weights::rss`](crate::profile::options::Weights::rss): without
/// it a tick does no work for memory but to add to the RSS series.
#[derive(Debug, Default)]
pub struct MemoryTracking {
    /// RSS per process; PSS, USS and swap of all.
    pub processes: MemorySeries,
    pub growth: GrowthTable,
    pub timeline: GrowthTimeline,
    pub checkpoints: Checkpoints,
    /// The threads' parts of one change; a field only so that the allocation is reused.
    pub deltas: Vec<ThreadDelta>,
    /// Page faults of processes that wait for a growth.
    faults: HashMap<Pid, FaultAttribution<StackId>>,
}

/// The most processes whose faults wait.
const MAX_PROCESSES: usize = 4_096;

impl MemoryTracking {
    /// Attributes what a process has added to the stacks of its page faults, and the rest to `unknown`. The number of
    /// processes whose faults wait is limited: beyond, what has waited is of the stack that is unknown now.
    pub fn attribute_faults(
        &mut self,
        pid: Pid,
        found: &FaultGrowth,
        faults: &[StackFault<StackId>],
        unknown: StackId,
    ) {
        if self.faults.len() >= MAX_PROCESSES {
            self.finish_faults(unknown);
        }
        let change = ResidentChange {
            anonymous: found.anonymous_change,
            file: found.file_change,
        };
        let (attribution, growth) = (self.faults.entry(pid).or_default(), &mut self.growth);
        let faults = faults.iter().copied();
        attribution.attribute(change, faults, found.lag_bytes, |stack, bytes| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            growth.charge(stack.unwrap_or(unknown), bytes);
        });
    }

    /// Whether there may be growth that waits for page faults.
    pub fn has_waiting_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Attributes what still waits for page faults to `unknown`.
    pub fn finish_faults(&mut self, unknown: StackId) {
        let growth = &mut self.growth;
        for (_, mut faults) in self.faults.drain() {
            faults.finish(|stack, bytes| {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                growth.charge(stack.unwrap_or(unknown), bytes);
            });
        }
    }

    /// Adds the growth that was attributed since the last call to the functions at the leaves, at the time
    /// of the last tick.
    pub fn date_growth(&mut self, stacks: &StackTable, elapsed: Duration) {
        for (stack, bytes) in self.growth.take_recent() {
            if let Some(leaf) = stacks.label(stack) {
                self.timeline.add(elapsed, leaf, bytes);
            }
        }
    }

    /// Sets a checkpoint if one is due.
    pub fn checkpoint(&mut self, elapsed: Duration) {
        if self.checkpoints.is_due(elapsed) {
            let growth = self.growth.by_stack().to_vec();
            self.checkpoints.set(elapsed, growth);
        }
    }
}
