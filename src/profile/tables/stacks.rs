//! [`StackTable`]: the prefix tree of all stacks.
//!
//! Stacks that were seen at different ticks mostly share their roots. So a stack is not stored as
//! a list but as its leaf's *node*; the node knows its label and its parent, and walking the
//! parents gives the frames from the leaf to the root:
//!
//! ```text
//!   seen                               kept: node (label, parent, weight)
//!   <module> main load    3 times      1 (<module>, root, 0)
//!   <module> main work    5 times      2 (main,     1,    1)
//!   <module> main         once         3 (load,     2,    3)
//!                                      4 (work,     2,    5)
//! ```
//!
//! A node's *weight* is the number of samples that ended exactly there, or their nanoseconds on a CPU:
//! its self time. Its total time is the sum of the weights below it. A node is always made after its
//! parent, so its number is greater, and one backwards pass over the nodes sums up the totals.
//!
//! The tree grows with the number of distinct stacks, never with time. When it is full, stacks that
//! are new are told apart only as far as the tree knows them; see [`StackTable::folded`].

use foldhash::HashMap;

use super::labels::LabelId;

/// Most nodes that [`StackTable::child`] makes. Large programs have some 100,000; these, and as many
/// folded ones, take about 60 MiB. (A hash table of 2^20 places holds 7/8 of that.)
const MAX_NODES: usize = 450_000;

/// A node of a [`StackTable`]: one distinct stack, named by its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(u32);

impl StackId {
    /// The empty stack, above all others.
    pub const ROOT: StackId = StackId(0);

    /// The node's place in the table: dense, from 0 for the root.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: StackId,
    /// `None` for the root only.
    label: Option<LabelId>,
    weight: u64,
}

/// The prefix tree; see the [module](self) for the model.
#[derive(Debug)]
pub struct StackTable {
    nodes: Vec<Node>,
    children: HashMap<(StackId, LabelId), StackId>,
}

impl Default for StackTable {
    fn default() -> Self {
        StackTable {
            nodes: vec![Node {
                parent: StackId::ROOT,
                label: None,
                weight: 0,
            }],
            children: HashMap::default(),
        }
    }
}

impl StackTable {
    /// The stack that has `label` as its leaf, called from `parent`; new or known. `None` for a new
    /// one when the tree is full.
    pub fn child(&mut self, parent: StackId, label: LabelId) -> Option<StackId> {
        let known = self.children.get(&(parent, label)).copied();
        known.or_else(|| (self.nodes.len() < MAX_NODES).then(|| self.push(parent, label)))
    }

    /// The stack that stands for all those below `parent` that a full tree cannot tell apart; its
    /// leaf is `too_many`. There is at most one for every other node, so these end, too.
    pub fn folded(&mut self, parent: StackId, too_many: LabelId) -> StackId {
        if self.label(parent) == Some(too_many) {
            return parent;
        }
        let known = self.children.get(&(parent, too_many)).copied();
        known.unwrap_or_else(|| self.push(parent, too_many))
    }

    fn push(&mut self, parent: StackId, label: LabelId) -> StackId {
        let id = StackId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node {
            parent,
            label: Some(label),
            weight: 0,
        });
        self.children.insert((parent, label), id);
        id
    }

    /// Counts `weight` samples, or nanoseconds of samples, that ended in this stack.
    pub fn add(&mut self, stack: StackId, weight: u64) {
        if let Some(node) = self.nodes.get_mut(stack.index()) {
            node.weight = node.weight.saturating_add(weight);
        }
    }

    /// The label of this stack's leaf; `None` for the root.
    pub fn label(&self, stack: StackId) -> Option<LabelId> {
        self.nodes.get(stack.index()).and_then(|node| node.label)
    }

    /// The stack without its leaf; the root is its own parent.
    pub fn parent(&self, stack: StackId) -> StackId {
        self.nodes
            .get(stack.index())
            .map_or(StackId::ROOT, |node| node.parent)
    }

    /// Samples that ended exactly in this stack, or their nanoseconds.
    pub fn weight(&self, stack: StackId) -> u64 {
        self.nodes.get(stack.index()).map_or(0, |node| node.weight)
    }

    /// The labels of a stack, root first.
    pub fn path(&self, stack: StackId) -> Vec<LabelId> {
        let mut path = Vec::new();
        let mut at = stack;
        while let Some(label) = self.label(at) {
            path.push(label);
            at = self.parent(at);
        }
        path.reverse();
        path
    }

    /// All stacks but the root, parents before children.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = StackId> + use<> {
        (1..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(StackId)
    }

    /// For each node by its [index](StackId::index): the weights of it and of all below it.
    pub fn totals(&self) -> Vec<u64> {
        let mut totals: Vec<u64> = self.nodes.iter().map(|node| node.weight).collect();
        for id in self.ids().rev() {
            let total = totals.get(id.index()).copied().unwrap_or(0);
            if let Some(above) = totals.get_mut(self.parent(id).index()) {
                *above = above.saturating_add(total);
            }
        }
        totals
    }

    /// How many nodes there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether only the root is there.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::profile::tables::labels::{Label, LabelTable};
    use crate::profile::tables::strings::StringTable;

    fn labels(names: &[&str]) -> Vec<LabelId> {
        let (mut strings, mut table) = (StringTable::default(), LabelTable::default());
        names
            .iter()
            .map(|name| table.intern(Label::Process(strings.intern(name).unwrap())))
            .collect()
    }

    fn insert(tree: &mut StackTable, path: &[LabelId]) -> StackId {
        path.iter()
            .fold(StackId::ROOT, |at, label| tree.child(at, *label).unwrap())
    }

    #[test]
    fn shared_roots_are_stored_once() {
        let l = labels(&["module", "main", "load", "work"]);
        let mut tree = StackTable::default();
        let load = insert(&mut tree, &[l[0], l[1], l[2]]);
        let work = insert(&mut tree, &[l[0], l[1], l[3]]);
        assert_eq!(tree.len(), 1 + 4);
        assert_eq!(tree.parent(load), tree.parent(work));
        assert_eq!(insert(&mut tree, &[l[0], l[1], l[2]]), load);
        assert_eq!(tree.path(work), [l[0], l[1], l[3]]);
    }

    #[test]
    fn the_same_label_under_other_callers_is_another_stack() {
        let l = labels(&["a", "b"]);
        let mut tree = StackTable::default();
        let ab = insert(&mut tree, &[l[0], l[1]]);
        let aab = insert(&mut tree, &[l[0], l[0], l[1]]);
        assert_ne!(ab, aab);
        assert_eq!(tree.path(aab), [l[0], l[0], l[1]]);
    }

    #[test]
    fn totals_sum_what_is_below() {
        let l = labels(&["module", "main", "load", "work"]);
        let mut tree = StackTable::default();
        for (path, weight) in [
            (vec![l[0], l[1], l[2]], 3),
            (vec![l[0], l[1], l[3]], 5),
            (vec![l[0], l[1]], 1),
        ] {
            let id = insert(&mut tree, &path);
            tree.add(id, weight);
        }
        let totals = tree.totals();
        let main = insert(&mut tree, &[l[0], l[1]]);
        assert_eq!(tree.weight(main), 1);
        assert_eq!(totals[main.index()], 9);
        assert_eq!(totals[StackId::ROOT.index()], 9);
    }

    #[test]
    fn a_tree_20_000_deep_needs_no_recursion() {
        let l = labels(&["f"]);
        let mut tree = StackTable::default();
        let deep = insert(&mut tree, &vec![l[0]; 20_000]);
        tree.add(deep, 2);
        assert_eq!(tree.path(deep).len(), 20_000);
        assert_eq!(tree.totals()[0], 2);
    }
}
