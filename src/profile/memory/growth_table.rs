//! [`GrowthTable`]: how much each stack grew.

use crate::profile::tables::ids::StackId;
use crate::rss::attribution::Growth;
use crate::rss::attribution::by_stack::{Attribution, ObservedGrowth};

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

    /// Bytes added to stacks since the last call.
    pub fn take_recent(&mut self) -> impl Iterator<Item = (StackId, u64)> {
        self.recent.drain(..)
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
                self.recent.push((*stack, bytes));
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
        let observed = self.observed.get(stack.index());
        observed.copied().unwrap_or_default()
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
        table.charge(&a, 10);
        table.charge(&a, -4);
        table.charge(&b, 0);
        table.charge(&b, 5);
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
