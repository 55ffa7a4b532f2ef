//! [`Profile::suspects`]: the stacks that grew resident memory most and never gave it back.
//!
//! Memory is seldom freed where it was made: what a function builds goes when its caller drops it. So
//! what a stack gave back is set off against what was added nearest to it: in the same function first,
//! then in what its callers called, and so on up to the whole program, the largest first. What is left
//! was never given back.
//!
//! A program that is recorded from its start has loaded much before it leaks anything. So only what
//! came after a [`Checkpoints`] counts, somewhere in the first half.

use std::cmp::Reverse;
use std::time::Duration;

use crate::profile::Profile;
use crate::profile::tables::stacks::StackId;
use crate::rss::attribution::Growth;

/// The first mark; each is twice as late as the one before.
const FIRST_MARK: Duration = Duration::from_secs(4);
/// Of how many stacks with the largest growth the suspects are taken.
const MAX_GROWERS: usize = 64;
/// How many stacks that gave back most are set off against them.
const MAX_RELEASERS: usize = 256;
/// A suspect has at least this share of what all of them kept: the rest is noise.
const LEAST_SHARE: f64 = 0.02;

/// A stack that grew resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Which.
    pub stack: StackId,
    /// What it added and nothing gave back, in bytes.
    pub kept_bytes: u64,
}

/// What each stack had grown by at two moments of the recording, the later one twice as late: at the
/// end, the earlier one lies between a quarter and a half.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    earlier: Mark,
    later: Mark,
}

#[derive(Debug, Default)]
struct Mark {
    at: Duration,
    /// By [`StackId::index`].
    growth: Vec<Growth>,
}

impl Checkpoints {
    /// Whether it is time for the next one.
    pub fn is_due(&self, elapsed: Duration) -> bool {
        elapsed >= FIRST_MARK.max(self.later.at.saturating_mul(2))
    }

    /// Sets a mark.
    pub fn set(&mut self, at: Duration, growth: Vec<Growth>) {
        self.earlier = std::mem::replace(&mut self.later, Mark { at, growth });
    }

    /// The growth at the earlier mark or, where `since` is after it, at the later one.
    fn after(&self, since: Duration) -> &[Growth] {
        let mark = if since > self.earlier.at {
            &self.later
        } else {
            &self.earlier
        };
        &mark.growth
    }
}

impl Profile {
    /// Up to `most` stacks that grew most after `since` and never gave it back, the first one first.
    /// None without [`ProfileOptions::memory`](crate::profile::options::ProfileOptions::memory).
    pub fn suspects(&self, since: Duration, most: usize) -> Vec<Suspect> {
        if !self.options.memory {
            return Vec::new();
        }
        let before = self.marks.after(since);
        let growth = |id: StackId| {
            let before = before.get(id.index()).copied().unwrap_or_default();
            let now = self.growth(id);
            let grown = now.grown_bytes.saturating_sub(before.grown_bytes);
            let released = now.released_bytes.saturating_sub(before.released_bytes);
            (
                grown.saturating_sub(released),
                released.saturating_sub(grown),
            )
        };
        let all = self.stacks.ids().map(|id| (id, growth(id)));
        let (mut kept, mut released) = (Vec::new(), Vec::new());
        for (id, (grew, gave)) in all {
            if grew > 0 {
                kept.push((id, grew));
            } else if gave > 0 {
                released.push((id, gave));
            }
        }
        largest(&mut kept, MAX_GROWERS);
        largest(&mut released, MAX_RELEASERS);
        let parent = |id| self.stacks.parent(id);
        set_off(&mut kept, &released, parent);
        largest(&mut kept, most);
        let sum: u64 = kept.iter().map(|(_, bytes)| *bytes).sum();
        let least = (sum as f64 * LEAST_SHARE).ceil() as u64;
        let kept = kept.into_iter().filter(|(_, bytes)| *bytes >= least.max(1));
        kept.map(|(stack, kept_bytes)| Suspect { stack, kept_bytes })
            .collect()
    }
}

/// Sorts by bytes, and keeps the `most` largest.
fn largest(stacks: &mut Vec<(StackId, u64)>, most: usize) {
    stacks.sort_by_key(|(id, bytes)| (Reverse(*bytes), *id));
    stacks.truncate(most);
}

/// Takes what was `released` from what was `kept`, nearest first.
fn set_off(
    kept: &mut [(StackId, u64)],
    released: &[(StackId, u64)],
    parent: impl Fn(StackId) -> StackId,
) {
    for (releaser, bytes) in released {
        let mut left = *bytes;
        // Where the two stacks part; the deeper, the nearer. A node has a greater id than its parent.
        let mut near: Vec<(StackId, &mut u64)> = kept
            .iter_mut()
            .map(|(id, bytes)| (shared(*id, *releaser, &parent), bytes))
            .collect();
        near.sort_by_key(|(shared, bytes)| Reverse((*shared, **bytes)));
        for (_, bytes) in near {
            let taken = left.min(*bytes);
            *bytes -= taken;
            left -= taken;
        }
    }
}

/// The deepest stack that both come from.
fn shared(mut a: StackId, mut b: StackId, parent: impl Fn(StackId) -> StackId) -> StackId {
    while a != b {
        if a > b {
            a = parent(a);
        } else {
            b = parent(b);
        }
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::profile::options::ProfileOptions;
    use crate::profile::tables::labels::Label;
    use crate::rss::attribution::by_stack::Attribution as _;

    /// A profile with these stacks, root first, and what each added and gave back.
    struct Built {
        profile: Profile,
        stacks: Vec<StackId>,
    }

    impl Built {
        fn new() -> Built {
            let options = ProfileOptions {
                memory: true,
                ..ProfileOptions::default()
            };
            Built {
                profile: Profile::new(options),
                stacks: Vec::new(),
            }
        }

        fn stack(&mut self, names: &[&str]) -> StackId {
            let Profile {
                strings,
                labels,
                stacks,
                ..
            } = &mut self.profile;
            let id = names.iter().fold(StackId::ROOT, |above, name| {
                let name = strings.intern(name).unwrap();
                let label = labels.intern(Label::Process(name));
                stacks.child(above, label).unwrap()
            });
            self.stacks.push(id);
            id
        }

        fn charge(&mut self, names: &[&str], changes: &[i64]) {
            let id = self.stack(names);
            for change in changes {
                self.profile.growth.charge(&id, *change);
            }
        }

        fn suspects(&self, since: Duration) -> Vec<(String, u64)> {
            let named = |suspect: Suspect| {
                let label = self.profile.stacks.label(suspect.stack).unwrap();
                (self.profile.name(label).into_owned(), suspect.kept_bytes)
            };
            let found = self.profile.suspects(since, 3);
            found.into_iter().map(named).collect()
        }
    }

    #[test]
    fn what_a_caller_gives_back_was_made_by_what_it_called() {
        let mut built = Built::new();
        built.charge(&["main", "handle", "parse"], &[9_000]);
        built.charge(&["main", "handle", "remember"], &[800]);
        built.charge(&["main", "handle"], &[-8_990]);
        built.charge(&["main", "load"], &[5_000, -4_990]);
        let found = built.suspects(Duration::ZERO);
        let first = found.first().unwrap();
        assert_eq!(first, &("remember".to_owned(), 800));
        assert_eq!(found.len(), 1, "the others are noise: {found:?}");
    }

    #[test]
    fn what_nobody_near_gives_back_is_taken_from_the_largest() {
        let mut built = Built::new();
        built.charge(&["a", "reads"], &[700]);
        built.charge(&["b", "keeps"], &[500]);
        built.charge(&["c", "drops"], &[-600]);
        let found = built.suspects(Duration::ZERO);
        assert_eq!(found.first().unwrap(), &("keeps".to_owned(), 500));
    }

    #[test]
    fn the_load_at_the_start_is_no_suspect() {
        let mut built = Built::new();
        built.charge(&["main", "imports"], &[100_000]);
        for at in [4, 8, 16] {
            let at = Duration::from_secs(at);
            assert!(built.profile.marks.is_due(at));
            let growth = built.profile.growth_by_stack();
            built.profile.marks.set(at, growth);
            assert!(!built.profile.marks.is_due(at));
        }
        built.charge(&["main", "leaks"], &[300]);
        let leaks = [("leaks".to_owned(), 300)];
        assert_eq!(built.suspects(Duration::ZERO), leaks);
        assert_eq!(built.suspects(Duration::from_secs(9)), leaks);
    }

    #[test]
    fn nothing_without_memory() {
        let mut built = Built::new();
        built.charge(&["main"], &[100]);
        assert_eq!(built.suspects(Duration::ZERO).len(), 1);
        built.profile.options.memory = false;
        assert!(built.suspects(Duration::ZERO).is_empty());
    }
}
