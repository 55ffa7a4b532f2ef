//! [`GrowthTable`]: how much each stack grew.

use crate::profile::tables::ids::{LabelId, StackId};
use crate::profile::tables::labels::LabelTable;
use crate::profile::tables::stacks::StackTable;
use crate::rss::attribution::Growth;
use crate::rss::attribution::by_stack::{Attribution, ObservedGrowth};

/// The growth of stacks, with the tables that know what the stacks are.
pub struct Charging<'a> {
    pub growth: &'a mut GrowthTable,
    pub stacks: &'a StackTable,
    pub labels: &'a LabelTable,
    /// What was added and released by no sampled stack.
    pub unseen: Growth,
    /// The stacks in the samples before and after that, if what they have in common has called what did it.
    pub ends: Option<(StackId, StackId)>,
}

impl Attribution<StackId> for Charging<'_> {
    fn charge(&mut self, stack: &StackId, bytes: i64) {
        self.growth.charge(*stack, bytes);
    }

    fn charge_unseen(&mut self, ends: Option<(&StackId, &StackId)>, bytes: i64) {
        self.ends = ends.map(|(before, now)| (*before, *now));
        self.unseen.count(bytes);
    }

    fn observe(&mut self, stack: &StackId, observed: ObservedGrowth) {
        if let Some(known) = slot(&mut self.growth.observed, *stack) {
            known.bytes += observed.bytes;
            known.for_ns = known.for_ns.saturating_add(observed.for_ns);
        }
    }

    fn observed(&self, stack: &StackId) -> ObservedGrowth {
        let observed = self.growth.observed.get(stack.index());
        observed.copied().unwrap_or_default()
    }

    fn are_same_functions(&self, a: &StackId, b: &StackId) -> bool {
        let [in_a, in_b] = [a, b].map(|stack| self.stacks.path(*stack));
        in_a.len() == in_b.len() && self.shared_calls(&in_a, &in_b) == in_a.len()
    }
}

impl Charging<'_> {
    /// The stack of the functions that are on both stacks, from the root: those that have called what ran in between.
    /// Their lines are those of the second stack.
    pub fn callers_of_unseen(&self) -> Option<StackId> {
        let (before, now) = self.ends?;
        let [before, path] = [before, now].map(|stack| self.stacks.path(stack));
        let mut shared = self.shared_calls(&before, &path);
        if shared == path.len() && shared == before.len() {
            // The leaf has returned, or has called something that has returned.
            shared = shared.saturating_sub(1);
        }
        let callees = path.len().saturating_sub(shared);
        Some((0..callees).fold(now, |stack, _| self.stacks.parent(stack)))
    }

    /// Number of functions that two paths share from the root.
    fn shared_calls(&self, a: &[LabelId], b: &[LabelId]) -> usize {
        let pairs = a.iter().zip(b);
        pairs
            .take_while(|(a, b)| self.labels.are_same_function(**a, **b))
            .count()
    }
}

/// Growth by stack.
#[derive(Debug, Default)]
pub struct GrowthTable {
    /// By [`StackId::index`], up to the last stack that has any.
    by_stack: Vec<Growth>,
    observed: Vec<ObservedGrowth>,
    total: Growth,
    /// Bytes added to stacks since the last [`GrowthTable::take_recent`].
    recent: Vec<(StackId, u64)>,
}

impl GrowthTable {
    /// Growth of exactly this stack.
    pub fn of(&self, stack: StackId) -> Growth {
        let growth = self.by_stack.get(stack.index());
        growth.copied().unwrap_or_default()
    }

    /// Growth by [`StackId::index`], up to the last stack that has any.
    pub fn by_stack(&self) -> &[Growth] {
        &self.by_stack
    }

    /// Growth of all stacks together.
    pub fn total(&self) -> Growth {
        self.total
    }

    /// Attributes a change in bytes to a stack.
    pub fn charge(&mut self, stack: StackId, bytes: i64) {
        if bytes == 0 {
            return;
        }
        if let Some(growth) = slot(&mut self.by_stack, stack) {
            growth.count(bytes);
            self.total.count(bytes);
            if let Ok(bytes) = u64::try_from(bytes) {
                self.recent.push((stack, bytes));
            }
        }
    }

    /// Attributes additions and releases to a stack.
    pub fn charge_both(&mut self, stack: StackId, growth: Growth) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.charge(stack, signed(growth.grown_bytes));
        self.charge(stack, -signed(growth.released_bytes));
    }

    /// Bytes added to stacks since the last call.
    pub fn take_recent(&mut self) -> impl Iterator<Item = (StackId, u64)> {
        self.recent.drain(..)
    }
}

fn slot<T: Clone + Default>(slots: &mut Vec<T>, stack: StackId) -> Option<&mut T> {
    if slots.len() <= stack.index() {
        slots.resize(stack.index() + 1, T::default());
    }
    slots.get_mut(stack.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_summed_by_stack_and_additions_are_recent_once() {
        let mut table = GrowthTable::default();
        let (a, b) = (StackId::from_index(3), StackId::from_index(1));
        table.charge(a, 10);
        table.charge(a, -4);
        table.charge(b, 0);
        table.charge(b, 5);
        let growth = |grown_bytes, released_bytes| Growth {
            grown_bytes,
            released_bytes,
        };
        assert_eq!(
            (table.of(a), table.of(b), table.total()),
            (growth(10, 4), growth(5, 0), growth(15, 4))
        );
        assert_eq!(table.of(StackId::from_index(9)), Growth::default());
        let recent: Vec<_> = table.take_recent().collect();
        assert_eq!(recent, [(a, 10), (b, 5)]);
        assert_eq!(table.take_recent().count(), 0);
    }
}
