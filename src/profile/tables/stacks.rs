//! [`StackTable`]: the prefix tree of all stacks.
//!
//! Most stacks share their roots. So a stack is stored as its leaf's *node*, which has its label and its
//! parent; the chain of parents gives the frames from the leaf to the root:
//!
//! ```text
//!   sampled                            stored: node (label, parent, weight)
//!   <module> main load    3 times      1 (<module>, root, 0)
//!   <module> main work    5 times      2 (main,     1,    1)
//!   <module> main         once         3 (load,     2,    3)
//!                                      4 (work,     2,    5)
//! ```
//!
//! A node's *weight* is its self time: the number of samples with this leaf, or their nanoseconds.
//! Its total time is the sum of the weights of it and of all nodes below it. A node is made after its
//! parent and has a greater id, so one backwards pass over the nodes computes all totals.
//!
//! The tree grows with the number of distinct stacks, never with time. When it is full, new stacks are
//! distinguished only as far as the tree has their frames; see [`StackTable::folded`].

use foldhash::HashMap;

use super::ids::{LabelId, StackId};

/// Most nodes that [`StackTable::child`] makes. Large programs have some 100,000. This many, and as many
/// folded ones, take about 60 MiB. (A hash table of 2^20 slots holds 7/8 of that.)
const MAX_NODES: usize = 450_000;

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: StackId,
    /// `None` only for the root.
    label: Option<LabelId>,
    weight: u64,
}

/// The prefix tree; see the [module](self).
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
    /// The stack with the leaf `label` below `parent`; `None` for a new one if the tree is full.
    pub fn child(&mut self, parent: StackId, label: LabelId) -> Option<StackId> {
        let known = self.children.get(&(parent, label)).copied();
        known.or_else(|| (self.nodes.len() < MAX_NODES).then(|| self.push(parent, label)))
    }

    /// The stack for all stacks below `parent` that a full tree cannot distinguish; its leaf is `too_many`.
    /// There is at most one per other node, so their number is bounded too.
    pub fn folded(&mut self, parent: StackId, too_many: LabelId) -> StackId {
        if self.label(parent) == Some(too_many) {
            return parent;
        }
        let known = self.children.get(&(parent, too_many)).copied();
        known.unwrap_or_else(|| self.push(parent, too_many))
    }

    fn push(&mut self, parent: StackId, label: LabelId) -> StackId {
        let id = StackId::from_index(self.nodes.len());
        self.nodes.push(Node {
            parent,
            label: Some(label),
            weight: 0,
        });
        self.children.insert((parent, label), id);
        id
    }

    /// Adds to the weight of a stack.
    pub fn add(&mut self, stack: StackId, weight: u64) {
        if let Some(node) = self.nodes.get_mut(stack.index()) {
            node.weight = node.weight.saturating_add(weight);
        }
    }

    /// The label of the leaf; `None` for the root.
    pub fn label(&self, stack: StackId) -> Option<LabelId> {
        self.nodes.get(stack.index()).and_then(|node| node.label)
    }

    /// The stack without its leaf; the root is its own parent.
    pub fn parent(&self, stack: StackId) -> StackId {
        self.nodes
            .get(stack.index())
            .map_or(StackId::ROOT, |node| node.parent)
    }

    /// The deepest stack that both stacks are or have below them.
    pub fn common(&self, mut a: StackId, mut b: StackId) -> StackId {
        // A node has a greater id than its parent.
        while a != b {
            if a > b {
                a = self.parent(a);
            } else {
                b = self.parent(b);
            }
        }
        a
    }

    /// The self weight of a stack.
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
        (1..self.nodes.len()).map(StackId::from_index)
    }

    /// The total weight of each node, by its [index](StackId::index).
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

    /// Number of nodes, including the root.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is only the root.
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
    fn totals_include_all_nodes_below() {
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
