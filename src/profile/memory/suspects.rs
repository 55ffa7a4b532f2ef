//! [`Profile::suspects`]: the stacks with the largest growth that was never released.
//!
//! Memory is seldom freed where it was allocated: what a function builds is freed when its caller drops
//! it. So releases are netted against the nearest allocations: the same function, then callees of its
//! callers, up to the root; the largest first. The rest was never released.
//!
//! A program that is recorded from its start loads much before it leaks anything. So only growth after a
//! [checkpoint](super::checkpoints::Checkpoints) in the first half of the recording counts.

use std::cmp::Reverse;
use std::time::Duration;

use crate::profile::Profile;
use crate::profile::tables::ids::StackId;

/// Stacks with the largest growth that are considered.
const MAX_GROWERS: usize = 64;
/// Stacks with the largest releases that are netted against them.
const MAX_RELEASERS: usize = 256;
/// Least share of a suspect in the growth of all of them: less is noise.
const LEAST_SHARE: f64 = 0.02;

/// A stack with growth that was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub stack: StackId,
    pub retained_bytes: u64,
}

impl Profile {
    /// Up to `most` stacks with the largest unreleased growth after `since`, the largest first. Empty
    /// without [`Weights::rss`](crate::profile::options::Weights::rss).
    pub fn suspects(&self, since: Duration, most: usize) -> Vec<Suspect> {
        let Some(memory) = &self.memory else {
            return Vec::new();
        };
        let before = memory.checkpoints.after(since);
        let growth = |id: StackId| {
            let before = before.get(id.index()).copied().unwrap_or_default();
            let now = memory.growth.of(id);
            let grown = now.grown_bytes.saturating_sub(before.grown_bytes);
            let released = now.released_bytes.saturating_sub(before.released_bytes);
            (
                grown.saturating_sub(released),
                released.saturating_sub(grown),
            )
        };
        let all = self.stacks.ids().map(|id| (id, growth(id)));
        let (mut grown, mut released) = (Vec::new(), Vec::new());
        for (id, (grew, shrank)) in all {
            if grew > 0 {
                grown.push((id, grew));
            } else if shrank > 0 {
                released.push((id, shrank));
            }
        }
        largest(&mut grown, MAX_GROWERS);
        largest(&mut released, MAX_RELEASERS);
        let parent = |id| self.stacks.parent(id);
        net(&mut grown, &released, parent);
        largest(&mut grown, most);
        let sum: u64 = grown.iter().map(|(_, bytes)| *bytes).sum();
        let least = (sum as f64 * LEAST_SHARE).ceil() as u64;
        let retained = grown
            .into_iter()
            .filter(|(_, bytes)| *bytes >= least.max(1));
        retained
            .map(|(stack, retained_bytes)| Suspect {
                stack,
                retained_bytes,
            })
            .collect()
    }
}

/// Sorts by bytes and truncates to the `most` largest.
fn largest(stacks: &mut Vec<(StackId, u64)>, most: usize) {
    stacks.sort_by_key(|(id, bytes)| (Reverse(*bytes), *id));
    stacks.truncate(most);
}

/// Subtracts what was `released` from what was `grown`, nearest first.
fn net(
    grown: &mut [(StackId, u64)],
    released: &[(StackId, u64)],
    parent: impl Fn(StackId) -> StackId,
) {
    for (releaser, bytes) in released {
        let mut left = *bytes;
        // The deeper the two stacks diverge, the nearer they are. A node has a greater id than its parent.
        let mut near: Vec<(StackId, &mut u64)> = grown
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

/// The deepest common ancestor.
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
    use crate::profile::memory::tracking::MemoryTracking;
    use crate::profile::options::{ProfileOptions, Weights};
    use crate::profile::tables::labels::Label;
    use crate::rss::attribution::by_stack::Attribution as _;

    /// A profile, and the stacks whose growth was charged.
    struct Built {
        profile: Profile,
        stacks: Vec<StackId>,
    }

    impl Built {
        fn new() -> Built {
            let options = ProfileOptions {
                weights: Weights::RSS,
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

        fn memory(&mut self) -> &mut MemoryTracking {
            self.profile.memory.as_mut().unwrap()
        }

        fn charge(&mut self, names: &[&str], changes: &[i64]) {
            let id = self.stack(names);
            for change in changes {
                self.memory().growth.charge(&id, *change);
            }
        }

        fn suspects(&self, since: Duration) -> Vec<(String, u64)> {
            let named = |suspect: Suspect| {
                let label = self.profile.stacks.label(suspect.stack).unwrap();
                (
                    self.profile.name(label).into_owned(),
                    suspect.retained_bytes,
                )
            };
            let found = self.profile.suspects(since, 3);
            found.into_iter().map(named).collect()
        }
    }

    #[test]
    fn releases_of_a_caller_are_netted_against_its_callees() {
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
    fn a_release_without_a_near_allocation_is_netted_against_the_largest() {
        let mut built = Built::new();
        built.charge(&["a", "reads"], &[700]);
        built.charge(&["b", "retains"], &[500]);
        built.charge(&["c", "drops"], &[-600]);
        let found = built.suspects(Duration::ZERO);
        assert_eq!(found.first().unwrap(), &("retains".to_owned(), 500));
    }

    #[test]
    fn the_load_at_the_start_is_no_suspect() {
        let mut built = Built::new();
        built.charge(&["main", "imports"], &[100_000]);
        for at in [4, 8, 16] {
            let at = Duration::from_secs(at);
            assert!(built.memory().checkpoints.is_due(at));
            built.memory().checkpoint(at);
            assert!(!built.memory().checkpoints.is_due(at));
        }
        built.charge(&["main", "leaks"], &[300]);
        let leaks = [("leaks".to_owned(), 300)];
        assert_eq!(built.suspects(Duration::ZERO), leaks);
        assert_eq!(built.suspects(Duration::from_secs(9)), leaks);
    }

    #[test]
    fn there_are_no_suspects_without_memory_tracking() {
        let mut built = Built::new();
        built.charge(&["main"], &[100]);
        assert_eq!(built.suspects(Duration::ZERO).len(), 1);
        built.profile.memory = None;
        assert!(built.suspects(Duration::ZERO).is_empty());
    }
}
