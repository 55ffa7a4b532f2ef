//! [`MemoryTracking`]: all that a profile holds about memory beyond the RSS series.

use std::time::Duration;

use super::checkpoints::Checkpoints;
use super::growth_table::GrowthTable;
use super::timeline::GrowthTimeline;
use crate::profile::tables::stacks::StackTable;
use crate::rss::attribution::ThreadDelta;
use crate::rss::process_series::MemorySeries;

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
}

impl MemoryTracking {
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
