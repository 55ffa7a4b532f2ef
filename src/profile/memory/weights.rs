//! What the stacks of a [`Profile`] weigh, and how much each of them grew.

use crate::profile::Profile;
use crate::profile::tables::stacks::StackId;
use crate::rss::attribution::Growth;
use crate::rss::attribution::by_stack::{Attribution, ObservedGrowth};

impl Profile {
    /// What a stack by itself weighs: the bytes that it added with [`ProfileOptions::memory`], its
    /// nanoseconds with [`ProfileOptions::cpu_time`], else its samples.
    ///
    /// [`ProfileOptions::memory`]: crate::profile::options::ProfileOptions::memory
    /// [`ProfileOptions::cpu_time`]: crate::profile::options::ProfileOptions::cpu_time
    pub fn weight(&self, stack: StackId) -> u64 {
        if self.options.memory {
            self.growth(stack).grown_bytes
        } else {
            self.stacks.weight(stack)
        }
    }

    /// For each stack by its [index](StackId::index): the [weights](Profile::weight) of it and of all
    /// below it.
    pub fn weight_totals(&self) -> Vec<u64> {
        if self.options.memory {
            let totals = self.growth_totals().into_iter();
            totals.map(|growth| growth.grown_bytes).collect()
        } else {
            self.stacks.totals()
        }
    }

    /// What all stacks weigh together.
    pub fn total_weight(&self) -> u64 {
        if self.options.memory {
            self.growth.total.grown_bytes
        } else if self.options.cpu_time {
            self.counts.cpu_ns
        } else {
            self.counts.samples
        }
    }

    /// The resident memory that this very stack added and gave back; nothing without
    /// [`ProfileOptions::memory`](crate::profile::options::ProfileOptions::memory).
    pub fn growth(&self, stack: StackId) -> Growth {
        self.growth
            .by_stack
            .get(stack.index())
            .copied()
            .unwrap_or_default()
    }

    /// For each stack by its [index](StackId::index): the growth of it and of all below it.
    pub fn growth_totals(&self) -> Vec<Growth> {
        let mut totals = self.growth.by_stack.clone();
        totals.resize(self.stacks.len(), Growth::default());
        for id in self.stacks.ids().rev() {
            let below = totals.get(id.index()).copied().unwrap_or_default();
            if let Some(above) = totals.get_mut(self.stacks.parent(id).index()) {
                *above += below;
            }
        }
        totals
    }

    /// For each stack by its [index](StackId::index): its own growth, as far as there is any.
    pub(crate) fn growth_by_stack(&self) -> Vec<Growth> {
        self.growth.by_stack.clone()
    }

    /// The growth of all stacks together. What was added less what was given back is the last
    /// reading of resident memory less the first one, of each process that was looked at.
    pub fn total_growth(&self) -> Growth {
        self.growth.total
    }
}

/// How much each stack grew.
#[derive(Debug, Default)]
pub(crate) struct GrowthTable {
    /// By [`StackId::index`], as far as there is any.
    by_stack: Vec<Growth>,
    observed: Vec<ObservedGrowth>,
    total: Growth,
    /// Bytes added to stacks since they were last [taken](GrowthTable::take_news).
    news: Vec<(StackId, u64)>,
}

fn slot<T: Clone + Default>(slots: &mut Vec<T>, stack: StackId) -> Option<&mut T> {
    if slots.len() <= stack.index() {
        slots.resize(stack.index() + 1, T::default());
    }
    slots.get_mut(stack.index())
}

impl GrowthTable {
    /// What was added to which stacks since the last time, for those who want to know when.
    pub fn take_news(&mut self) -> impl Iterator<Item = (StackId, u64)> {
        self.news.drain(..)
    }
}

impl Attribution<StackId> for GrowthTable {
    fn charge(&mut self, stack: &StackId, bytes: i64) {
        if bytes == 0 {
            return;
        }
        if let Some(growth) = slot(&mut self.by_stack, *stack) {
            growth.count(bytes);
            self.total.count(bytes);
            if let Ok(bytes) = u64::try_from(bytes) {
                self.news.push((*stack, bytes));
            }
        }
    }

    fn observe(&mut self, stack: &StackId, observed: ObservedGrowth) {
        if let Some(known) = slot(&mut self.observed, *stack) {
            known.bytes += observed.bytes;
            known.for_ns = known.for_ns.saturating_add(observed.for_ns);
        }
    }

    fn observed(&self, stack: &StackId) -> ObservedGrowth {
        self.observed
            .get(stack.index())
            .copied()
            .unwrap_or_default()
    }
}
