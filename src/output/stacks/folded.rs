//! Folded stacks (`-f raw`): one line a stack, root first, frames joined with `;`, and the weight: how
//! many samples or, with [`cpu_time`](crate::profile::options::ProfileOptions::cpu_time), how many nanoseconds
//! on a CPU, or, with [`memory`](crate::profile::options::ProfileOptions::memory), how many bytes of resident
//! memory it has added. A stack that weighs nothing has no line.
//!
//! Besides being a format of its own, this is how the flame graph gets its input.

use std::io::{self, Write};

use crate::output::Meta;
use crate::profile::Profile;
use crate::profile::tables::ids::{LabelId, StackId};

/// Writes one line a stack, sorted by the frames' names.
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

/// What [`for_each_stack`] leaves out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Frames of a stack that are kept; the weight of those above is the last one's.
    pub max_depth: usize,
    /// A frame that weighs less in all is not kept; its weight is its caller's.
    pub min_total: u64,
}

impl Bounds {
    /// Leaves nothing out.
    pub const NONE: Bounds = Bounds {
        max_depth: usize::MAX,
        min_total: 0,
    };
}

/// The text of each label by its index, fit for a folded line: without `;`, which separates
/// frames, and not like a comment, which starts with `# `.
pub(crate) fn label_texts(profile: &Profile) -> Vec<String> {
    let fit = |id: LabelId| {
        let text = profile.text(id).replace(';', ":");
        let text = text.trim_start();
        text.strip_prefix("# ")
            .map_or_else(|| text.to_owned(), |rest| format!("#{rest}"))
    };
    profile.labels().ids().map(fit).collect()
}

/// Calls `each` with every stack that samples ended in, its frames' `texts` (by label index) joined
/// with `;`. Neighbours in the tree are neighbours in the sequence.
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
    // Sorted by parent, so that the children of one node lie together.
    let mut by_parent: Vec<StackId> = stacks.ids().collect();
    by_parent.sort_by_key(|id| (stacks.parent(*id), text(*id)));
    let children = |parent: StackId| {
        let start = by_parent.partition_point(|id| stacks.parent(*id) < parent);
        let end = by_parent.partition_point(|id| stacks.parent(*id) <= parent);
        by_parent.get(start..end).unwrap_or_default()
    };

    // Not recursive: a stack can be deeper than ours.
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
        let kept = |child: &StackId| depth < bounds.max_depth && total(*child) >= bounds.min_total;
        let left_out = children(id)
            .iter()
            .filter(|child| !kept(child))
            .map(|child| total(*child));
        let weight = left_out.fold(profile.weight(id), u64::saturating_add);
        if weight > 0 {
            each(&line, weight)?;
        }
        let below = children(id).iter().rev().filter(|child| kept(child));
        todo.extend(below.map(|child| visit(child, line.len(), depth + 1)));
    }
    Ok(())
}

struct Visit {
    id: StackId,
    /// How much of the line belongs to the callers.
    above: usize,
    depth: usize,
}
