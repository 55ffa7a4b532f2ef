//! The closing lines about memory: the verdict, and the stacks of a leak.

use crate::profile::Profile;
use crate::profile::tables::ids::StackId;
use crate::rss::leak::verdict::Verdict;
use crate::text::units::mib;

/// Most stacks that are listed.
const SUSPECTS: usize = 3;
/// Most frames of each, from the leaf.
const FRAMES: usize = 6;

/// The lines; none if memory was not read.
pub fn lines(profile: &Profile) -> Vec<String> {
    if profile.rss().last().is_none() {
        return Vec::new();
    }
    let verdict = profile.rss().trend().verdict;
    let mut lines = vec![format!("Memory: {verdict}")];
    if let Verdict::Growing { since, .. } = verdict {
        if profile.options().weights.rss {
            let suspects = profile.suspects(since, SUSPECTS).into_iter();
            lines.extend(suspects.map(|suspect| {
                let size = mib(suspect.retained_bytes);
                format!("  {size} not released by {}", calls(profile, suspect.stack))
            }));
        } else {
            lines.push("  use --memory to see which functions add it".to_owned());
        }
    }
    lines
}

/// A stack's frames, leaf first.
fn calls(profile: &Profile, stack: StackId) -> String {
    let path = profile.stacks().path(stack);
    let mut frames: Vec<String> = path
        .iter()
        .rev()
        .take(FRAMES)
        .map(|label| profile.text(*label))
        .collect();
    if path.len() > FRAMES {
        frames.push("…".to_owned());
    }
    frames.join(" < ")
}
