//! Folded stacks (`-f raw`): one line per stack with its frames, root first, joined with `;`, and its
//! weight: samples, nanoseconds with
//! [`time`](crate::profile::options::Weights::time), or bytes of RSS growth with
//! [`rss`](crate::profile::options::Weights::rss). A stack without weight has no line.
//!
//! The flame graph is drawn from the same lines.

use std::io::{self, Write};

use crate::output::meta::Meta;
use crate::profile::Profile;
use crate::profile::tables::ids::{LabelId, StackId};

/// Writes one line per stack, sorted by the names of the frames.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, _meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    for_each_stack(
        profile,
        &label_texts(profile),
        Bounds::NONE,
        |stack, weight| writeln!(out, "{stack} {weight}"),
    )
}

/// Limits of [`for_each_stack`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most frames of a stack; the weight of deeper ones is attributed to the last.
    pub max_depth: usize,
    /// A frame with a smaller total weight is omitted, and its weight attributed to its caller.
    pub min_total: u64,
}

impl Bounds {
    pub const NONE: Bounds = Bounds {
        max_depth: usize::MAX,
        min_total: 0,
    };
}

/// The text of each label by its index, valid in a folded line: without the separator `;`, and without
/// `# ` at its start, which marks a comment.
pub(crate) fn label_texts(profile: &Profile) -> Vec<String> {
    let fit = |id: LabelId| {
        let text = profile.text(id).replace(';', ":");
        let text = text.trim_start();
        text.strip_prefix("# ")
            .map_or_else(|| text.to_owned(), |rest| format!("#{rest}"))
    };
    profile.labels().ids().map(fit).collect()
}

/// Calls `each` with every stack that has weight, the `texts` of its frames (by label index) joined with
/// `;`. The stacks come in the depth-first order of the tree.
pub(crate) fn for_each_stack(
    profile: &Profile,
    texts: &[String],
    bounds: Bounds,
    mut each: impl FnMut(&str, u64) -> io::Result<()>,
) -> io::Result<()> {
    let stacks = profile.stacks();
    let totals = profile.weight_totals();
    let total = |id: StackId| totals.get(id.index()).copied().unwrap_or(0);
    let text = |id: StackId| {
        let label = stacks.label(id).and_then(|label| texts.get(label.index()));
        label.map_or("?", String::as_str)
    };
    // Sorted by parent, so that the children of a node are adjacent.
    let mut by_parent: Vec<StackId> = stacks.ids().collect();
    by_parent.sort_by_key(|id| (stacks.parent(*id), text(*id)));
    let children = |parent: StackId| {
        let start = by_parent.partition_point(|id| stacks.parent(*id) < parent);
        let end = by_parent.partition_point(|id| stacks.parent(*id) <= parent);
        by_parent.get(start..end).unwrap_or_default()
    };

    // Not recursive: a Python stack can be deeper than this thread's.
    let mut line = String::new();
    let mut todo: Vec<Visit> = Vec::new();
    let visit = |id: &StackId, above: usize, depth: usize| Visit {
        id: *id,
        above,
        depth,
    };
    todo.extend(
        children(StackId::ROOT)
            .iter()
            .rev()
            .map(|id| visit(id, 0, 1)),
    );
    while let Some(Visit { id, above, depth }) = todo.pop() {
        line.truncate(above);
        if depth > 1 {
            line.push(';');
        }
        line.push_str(text(id));
        let is_included =
            |child: &StackId| depth < bounds.max_depth && total(*child) >= bounds.min_total;
        let omitted = children(id)
            .iter()
            .filter(|child| !is_included(child))
            .map(|child| total(*child));
        let weight = omitted.fold(profile.weight(id), u64::saturating_add);
        if weight > 0 {
            each(&line, weight)?;
        }
        let below = children(id).iter().rev().filter(|child| is_included(child));
        todo.extend(below.map(|child| visit(child, line.len(), depth + 1)));
    }
    Ok(())
}

struct Visit {
    id: StackId,
    /// Length of the callers' part of the line.
    above: usize,
    depth: usize,
}
