//! The closing lines about memory: the verdict, and the stacks of a leak.

use crate::profile::Profile;
use crate::profile::tables::ids::{LabelId, StackId};
use crate::profile::tables::labels::Label;
use crate::text::units::mib;

/// Most stacks that are listed.
const SUSPECTS: usize = 3;
/// Most frames of each, from the leaf.
const FRAMES: usize = 6;

/// The lines; none if memory was not read, or was not asked for and nothing can be said of it.
pub fn lines(profile: &Profile) -> Vec<String> {
    if profile.rss().last().is_none() {
        return Vec::new();
    }
    let verdict = profile.memory_trend().verdict;
    if verdict.has_too_little_data() && !profile.options().weights.rss {
        // A short recording of time: nobody has asked.
        return Vec::new();
    }
    let mut lines = vec![format!("Memory: {verdict}")];
    if let Some(since) = verdict.leaks_since() {
        if profile.options().weights.rss {
            let suspects = profile.suspects(since, SUSPECTS).into_iter();
            lines.extend(suspects.map(|suspect| {
                let size = mib(suspect.retained_bytes);
                let place = place(profile, suspect.stack);
                let doubt = match suspect.is_certain() {
                    true => String::new(),
                    false => format!(
                        ", or near it: it added {}, nearly all of it was released",
                        mib(suspect.added_bytes)
                    ),
                };
                format!("  {size} grew {place}{doubt}")
            }));
        } else {
            lines.push("  use --memory to see which functions add it".to_owned());
        }
    }
    lines
}

/// In which stack it grew, if that is known.
fn place(profile: &Profile, stack: StackId) -> String {
    let leaf = profile.stacks().label(stack);
    let leaf = leaf.and_then(|leaf| profile.labels().get(leaf));
    if leaf != Some(Label::BetweenSamples) {
        return format!("in {}", calls(profile, stack));
    }
    match calls(profile, profile.stacks().parent(stack)) {
        callers if callers.is_empty() => "between samples, in calls that none found".to_owned(),
        callers => format!("between samples, in calls of {callers}"),
    }
}

/// A stack's frames, leaf first, and its process where there are several.
fn calls(profile: &Profile, stack: StackId) -> String {
    let path = profile.stacks().path(stack);
    let mut frames: Vec<String> = path
        .iter()
        .rev()
        .take(FRAMES)
        .map(|label| profile.text(*label))
        .collect();
    if let Some((cut @ [.., _], _)) = path.split_at_checked(path.len().saturating_sub(FRAMES)) {
        frames.push("…".to_owned());
        let is_process = |label: &&LabelId| {
            let label = profile.labels().get(**label);
            matches!(label, Some(Label::Process(_)))
        };
        let process = cut.iter().rev().find(is_process);
        frames.extend(process.map(|label| profile.text(*label)));
    }
    frames.join(" < ")
}
