//! How much the leaves of stacks grew: the functions and lines that memory was added and given back in.

use super::{Growth, LabelId, Profile};

impl Profile {
    /// The growth of all stacks that end in a label, for each label that has any.
    pub fn growth_by_leaf(&self) -> Vec<(LabelId, Growth)> {
        let mut sums: Vec<Option<(LabelId, Growth)>> = Vec::new();
        for stack in self.stacks.ids() {
            let growth = self.growth(stack);
            let Some(leaf) = self
                .stacks
                .label(stack)
                .filter(|_| growth != Growth::default())
            else {
                continue;
            };
            if sums.len() <= leaf.index() {
                sums.resize(leaf.index() + 1, None);
            }
            if let Some(slot) = sums.get_mut(leaf.index()) {
                slot.get_or_insert((leaf, Growth::default())).1 += growth;
            }
        }
        sums.into_iter().flatten().collect()
    }
}
