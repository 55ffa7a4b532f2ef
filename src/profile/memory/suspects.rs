//! [`Profile::kept`] and [`Profile::suspects`]: the growth of each stack that was never released.
//!
//! Memory is seldom freed where it was allocated: what a function builds is freed when its caller drops
//! it. So releases are netted against the nearest allocations: the same function, then callees of its
//! callers, up to the root; the largest first. What was released between samples is netted against all near
//! allocations in proportion. The rest was never released. It *grew in* these stacks: they
//! touched the pages. Who keeps what lies there is unknown, as a program fills the room of freed objects first.
//!
//! A program that is recorded from its start loads much before it leaks anything. So only growth after a
//! [checkpoint](super::checkpoints::Checkpoints) in the first half of the recording counts for suspects.
//! First are those that grew before and after the next checkpoint: what grows once is a load, what grows
//! whenever it runs may be a leak. Last are those that released nearly all that they added, since what remains of
//! such sums may have been added by others: by a call of a few microseconds between two of theirs.

use std::cmp::Reverse;
use std::time::Duration;

use crate::profile::Profile;
use crate::profile::tables::ids::StackId;
use crate::profile::tables::labels::Label;
use crate::profile::tables::stacks::StackTable;
use crate::rss::attribution::Growth;

/// Stacks with the largest growth that are considered.
const MAX_GROWERS: usize = 128;
/// Stacks with the largest releases that are netted against them.
const MAX_RELEASERS: usize = 256;
/// Least share of a suspect in the growth of all of them: less is noise.
const LEAST_SHARE: f64 = 0.02;
/// Least length of the time after a checkpoint, as a share of that before it, for growth to recur in it.
const LEAST_LENGTH: f64 = 0.25;

/// Least share of what a stack has added that must remain for it to be the stack's own. Beside a function that
/// allocates and frees 500 MB/s, a leak of 1 MB/s by calls of 20 kB was left over as 0.1 % of what that had added.
const CERTAIN_SHARE: f64 = 0.01;

/// A stack with growth that was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub stack: StackId,
    pub retained_bytes: u64,
    /// All that it has added in the same time.
    pub added_bytes: u64,
}

impl Suspect {
    /// Whether enough has remained of what it added to be its own.
    pub fn is_certain(&self) -> bool {
        self.retained_bytes as f64 >= CERTAIN_SHARE * self.added_bytes as f64
    }
}

impl Profile {
    /// The bytes that were added and never released, by [`StackId::index`]: of the stacks with the largest
    /// growth, 0 for others. Empty without [`Weights::rss`](crate::profile::options::Weights::rss).
    pub fn kept(&self) -> Vec<u64> {
        if self.memory.is_none() {
            return Vec::new();
        }
        let mut kept = vec![0; self.stacks.len()];
        for (id, bytes) in self.kept_since(&[]) {
            if let Some(slot) = kept.get_mut(id.index()) {
                *slot = bytes;
            }
        }
        kept
    }

    /// Up to `most` stacks with unreleased growth after `since`: first those that grew repeatedly, the largest
    /// first; last those that are not [certain](Suspect::is_certain). Empty without [`Weights::rss`](crate::profile::options::Weights::rss).
    pub fn suspects(&self, since: Duration, most: usize) -> Vec<Suspect> {
        let Some(memory) = &self.memory else {
            return Vec::new();
        };
        let before = memory.checkpoints.after(since);
        let kept = self.kept_since(before).into_iter();
        let mut suspects: Vec<Suspect> = kept
            .map(|(stack, retained_bytes)| Suspect {
                stack,
                retained_bytes,
                added_bytes: growth_since(before, stack, self.growth(stack)).grown_bytes,
            })
            .collect();
        let recurring = self.recurring(since);
        let key = |one: &Suspect| {
            let bytes = one.retained_bytes;
            let recurring = recurring.as_ref().map(|of| of(one.stack).min(bytes));
            Reverse((one.is_certain(), recurring.unwrap_or(bytes), bytes))
        };
        suspects.sort_by_key(|one| (key(one), one.stack));
        suspects.truncate(most);
        let sum: u64 = suspects.iter().map(|one| one.retained_bytes).sum();
        let least = (sum as f64 * LEAST_SHARE).ceil() as u64;
        suspects.retain(|one| one.retained_bytes >= least.max(1));
        suspects
    }

    /// The growth of the stacks that grew most, less the releases near them, since `before`: the growth of
    /// each stack until then.
    fn kept_since(&self, before: &[Growth]) -> Vec<(StackId, u64)> {
        let growth = |id: StackId| {
            let growth = growth_since(before, id, self.growth(id));
            let (grown, released) = (growth.grown_bytes, growth.released_bytes);
            (
                grown.saturating_sub(released),
                released.saturating_sub(grown),
            )
        };
        let all = self.stacks.ids().map(|id| (id, growth(id)));
        let (mut grown, mut released) = (Vec::new(), Vec::new());
        let mut unseen = Vec::new();
        for (id, (grew, shrank)) in all {
            if self.is_unseen(id) {
                let growth = growth_since(before, id, self.growth(id));
                grown.extend((growth.grown_bytes > 0).then_some((id, growth.grown_bytes)));
                unseen.extend((growth.released_bytes > 0).then_some((id, growth.released_bytes)));
            } else if grew > 0 {
                grown.push((id, grew));
            } else if shrank > 0 {
                released.push((id, shrank));
            }
        }
        largest(&mut grown, MAX_GROWERS);
        largest(&mut released, MAX_RELEASERS);
        net(&mut grown, &released, &self.stacks);
        self.net_unseen(&mut grown, &unseen);
        grown
    }

    /// Whether growth of this stack is of an unknown one.
    fn is_unseen(&self, stack: StackId) -> bool {
        let label = self.stacks.label(stack);
        label.and_then(|label| self.labels.get(label)) == Some(Label::BetweenSamples)
    }

    /// Subtracts what was released by unknown stacks from what was grown, by known and unknown ones alike, in proportion:
    /// the nearest first.
    fn net_unseen(&self, grown: &mut [(StackId, u64)], released: &[(StackId, u64)]) {
        let place = |id| {
            if self.is_unseen(id) {
                self.stacks.parent(id)
            } else {
                id
            }
        };
        for (releaser, bytes) in released {
            let mut left = *bytes;
            let mut near: Vec<(StackId, &mut u64)> = grown
                .iter_mut()
                .map(|(id, bytes)| (self.stacks.common(place(*id), place(*releaser)), bytes))
                .collect();
            near.sort_by_key(|(shared, _)| Reverse(*shared));
            for group in near.chunk_by_mut(|a, b| a.0 == b.0) {
                let all = group
                    .iter()
                    .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(**bytes));
                let taken = left.min(all);
                for (_, bytes) in group {
                    let part = u128::from(**bytes) * u128::from(taken) / u128::from(all.max(1));
                    **bytes -= u64::try_from(part).unwrap_or(**bytes);
                }
                left -= taken;
            }
        }
    }

    /// The bytes that a stack would have added if it had always grown at the lower of its rates before and
    /// after the later checkpoint. `None` if one of these times is too short.
    fn recurring(&self, after: Duration) -> Option<impl Fn(StackId) -> u64> {
        let checkpoints = &self.memory.as_ref()?.checkpoints;
        let (first, second) = checkpoints.pair().filter(|(first, _)| after <= first.at)?;
        let before = second.at.saturating_sub(first.at).as_secs_f64();
        let later = self.last_elapsed.saturating_sub(second.at).as_secs_f64();
        (later >= LEAST_LENGTH * before).then_some(move |id: StackId| {
            let until = second.growth.get(id.index()).copied().unwrap_or_default();
            let rates = [
                growth_since(&first.growth, id, until).grown_bytes as f64 / before,
                growth_since(&second.growth, id, self.growth(id)).grown_bytes as f64 / later,
            ];
            (rates[0].min(rates[1]) * (before + later)) as u64
        })
    }
}

/// What a stack has added and released since `before`: the growth of each stack until then.
fn growth_since(before: &[Growth], id: StackId, now: Growth) -> Growth {
    let before = before.get(id.index()).copied().unwrap_or_default();
    Growth {
        grown_bytes: now.grown_bytes.saturating_sub(before.grown_bytes),
        released_bytes: now.released_bytes.saturating_sub(before.released_bytes),
    }
}

/// Sorts by bytes and truncates to the `most` largest.
fn largest(stacks: &mut Vec<(StackId, u64)>, most: usize) {
    stacks.sort_by_key(|(id, bytes)| (Reverse(*bytes), *id));
    stacks.truncate(most);
}

/// Subtracts what was `released` from what was `grown`, nearest first.
fn net(grown: &mut [(StackId, u64)], released: &[(StackId, u64)], stacks: &StackTable) {
    for (releaser, bytes) in released {
        let mut left = *bytes;
        // The deeper the two stacks diverge, the nearer they are. A node has a greater id than its parent.
        let mut near: Vec<(StackId, &mut u64)> = grown
            .iter_mut()
            .map(|(id, bytes)| (stacks.common(*id, *releaser), bytes))
            .collect();
        near.sort_by_key(|(shared, bytes)| Reverse((*shared, **bytes)));
        for (_, bytes) in near {
            let taken = left.min(*bytes);
            *bytes -= taken;
            left -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;
    use crate::profile::memory::tracking::MemoryTracking;
    use crate::profile::options::{ProfileOptions, Weights};
    use crate::profile::tables::labels::Label;

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
                self.memory().growth.charge(id, *change);
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

    /// A cache that was filled at once ranked above a leak.
    #[test]
    fn what_grows_again_and_again_ranks_before_what_grew_once() {
        let mut built = Built::new();
        let sample = |built: &mut Built, second| {
            built.charge(&["main", "leaks"], &[1_000]);
            let at = Duration::from_secs(second);
            built.profile.last_elapsed = at;
            built.memory().checkpoint(at);
        };
        for second in 1..=14 {
            sample(&mut built, second);
        }
        built.charge(&["main", "fills"], &[100_000]);
        let found = built.suspects(Duration::ZERO);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["leaks", "fills"], "{found:?}");
        // Right after a checkpoint nothing has recurred yet.
        sample(&mut built, 16);
        assert_eq!(built.suspects(Duration::ZERO)[0].0, "fills");
    }

    /// What was released unseen was subtracted from what was added unseen alone, and the function that had added most
    /// of it seemed to keep the rest.
    #[test]
    fn what_is_released_unseen_was_added_by_seen_and_unseen_calls_alike() {
        let mut built = Built::new();
        built.charge(&["main", "work", "churn"], &[600]);
        let work = built.stack(&["main", "work"]);
        let label = built.profile.labels.intern(Label::BetweenSamples);
        let unseen = built.profile.stacks.child(work, label).unwrap();
        let growth = Growth {
            grown_bytes: 5_400,
            released_bytes: 5_000,
        };
        built.memory().growth.charge_both(unseen, growth);
        built.charge(&["main", "load_chunk"], &[300]);
        let kept = built.profile.kept();
        assert_eq!(kept[unseen.index()], 900);
        assert_eq!(kept[built.stacks[0].index()], 100);
        assert_eq!(kept[built.stacks[2].index()], 300);
    }

    /// What a function builds and returns is freed at its caller's line.
    #[test]
    fn kept_is_what_no_caller_released() {
        let mut built = Built::new();
        built.charge(&["main", "churn"], &[2_700]);
        built.charge(&["main"], &[-2_600, 10]);
        built.charge(&["main", "load_chunk"], &[75, 75]);
        let kept = built.profile.kept();
        let of: Vec<u64> = built.stacks.iter().map(|id| kept[id.index()]).collect();
        assert_eq!(of, [110, 0, 150]);
        assert_eq!(built.suspects(Duration::ZERO)[0].0, "load_chunk");
    }

    /// What was left over of gigabytes that came and went ranked before the leak.
    #[test]
    fn what_released_nearly_all_ranks_last() {
        let mut built = Built::new();
        built.charge(&["main", "work", "churn"], &[1_000_000]);
        built.charge(&["main", "work"], &[-994_000]);
        built.charge(&["main", "leak"], &[3_000]);
        let found = built.suspects(Duration::ZERO);
        let expected = [("leak", 3_000), ("churn", 6_000)];
        assert_eq!(
            found,
            expected.map(|(name, bytes)| (name.to_owned(), bytes))
        );
        let suspects = built.profile.suspects(Duration::ZERO, 3);
        let certain: Vec<bool> = suspects.iter().map(Suspect::is_certain).collect();
        assert_eq!(certain, [true, false]);
    }

    #[test]
    fn there_are_no_suspects_without_memory_tracking() {
        let mut built = Built::new();
        built.charge(&["main"], &[100]);
        assert_eq!(built.suspects(Duration::ZERO).len(), 1);
        built.profile.memory = None;
        assert!(built.suspects(Duration::ZERO).is_empty());
        assert!(built.profile.kept().is_empty());
    }
}
