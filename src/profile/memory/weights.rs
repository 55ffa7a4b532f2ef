//! The weight of the stacks of a [`Profile`], and the growth of each.

use std::time::Duration;

use super::timeline::FIRST_WIDTH;
use crate::profile::Profile;
use crate::profile::tables::ids::StackId;
use crate::rss::attribution::Growth;
use crate::rss::process_series::MemorySeries;

/// What a profile without memory tracking has of it.
static NO_MEMORY: MemorySeries = MemorySeries::new();

impl Profile {
    /// The self weight of a stack: the bytes that it added with [`Weights::rss`], its nanoseconds
    /// with [`Weights::time`], else its samples.
    ///
    /// [`Weights::rss`]: crate::profile::options::Weights::rss
    /// [`Weights::time`]: crate::profile::options::Weights::time
    pub fn weight(&self, stack: StackId) -> u64 {
        match &self.memory {
            Some(memory) => memory.growth.of(stack).grown_bytes,
            None => self.stacks.weight(stack),
        }
    }

    /// The total weight of each stack, by its [index](StackId::index).
    pub fn weight_totals(&self) -> Vec<u64> {
        if self.memory.is_some() {
            let totals = self.growth_totals().into_iter();
            totals.map(|growth| growth.grown_bytes).collect()
        } else {
            self.stacks.totals()
        }
    }

    /// The weight of all stacks together.
    pub fn total_weight(&self) -> u64 {
        if self.memory.is_some() {
            self.total_growth().grown_bytes
        } else if self.options.weights.time.is_some() {
            self.counts.time_ns
        } else {
            self.counts.samples
        }
    }

    /// The resident memory that exactly this stack added and released; nothing without
    /// [`Weights::rss`](crate::profile::options::Weights::rss).
    pub fn growth(&self, stack: StackId) -> Growth {
        let memory = self.memory.as_ref();
        memory.map_or_else(Growth::default, |memory| memory.growth.of(stack))
    }

    /// For each stack by its [index](StackId::index): the growth of it and of all below it.
    pub fn growth_totals(&self) -> Vec<Growth> {
        let memory = self.memory.as_ref();
        let mut totals = memory.map_or_else(Vec::new, |memory| memory.growth.by_stack().to_vec());
        totals.resize(self.stacks.len(), Growth::default());
        for id in self.stacks.ids().rev() {
            let below = totals.get(id.index()).copied().unwrap_or_default();
            if let Some(above) = totals.get_mut(self.stacks.parent(id).index()) {
                *above += below;
            }
        }
        totals
    }

    /// The growth of all stacks together. Added less released bytes are the last RSS less the first, summed
    /// over the sampled processes.
    pub fn total_growth(&self) -> Growth {
        let memory = self.memory.as_ref();
        memory.map_or_else(Growth::default, |memory| memory.growth.total())
    }

    /// RSS of each process, and PSS, USS and swap of all together; empty without
    /// [`Weights::rss`](crate::profile::options::Weights::rss).
    pub fn memory(&self) -> &MemorySeries {
        let memory = self.memory.as_ref();
        memory.map_or(&NO_MEMORY, |memory| &memory.processes)
    }

    /// The width of the cells of [`Profile::growth_by_function`].
    pub fn growth_cell_width(&self) -> Duration {
        let memory = self.memory.as_ref();
        memory.map_or(FIRST_WIDTH, |memory| memory.timeline.width())
    }
}
