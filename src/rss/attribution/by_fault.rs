//! [`FaultAttribution`]: attributes growth to the stacks whose page faults added it. Pure.
//!
//! The kernel engine records page faults with their stacks. A fault usually adds one page; but it may add many (a huge
//! page, pages of a file around the one that was accessed), or none (a copy of a page that was shared since a
//! `fork`), and what it added may be released again at once. So the faults say *who* added memory, and the readings of
//! the RSS say *how much* stayed:
//!
//! - Growth between two readings is shared by the faults in that time, by their bytes. If it is more than these, they
//!   are scaled up, [`MAX_SCALE`] or [`MAX_FILE_SCALE`] times at most; the rest waits for the faults of the next readings
//!   ([`MAX_WAIT`]), and is then of no known stack.
//! - If it is less, something was released in the same time, or added nothing. All faults lose the same part.
//! - Anonymous memory and files have counters of their own, and are attributed separately.
//!
//! **Remaining errors.** The kernel sums up its counters only after some pages on each CPU, so the last faults may
//! belong to a growth that is not visible yet. They wait for the next reading. What was added and released between two
//! readings does not show. Where only a part of the faults is recorded, a share p of the growth is known to
//! √(p(1−p)/N) after N of them.

use std::collections::VecDeque;

/// How many times its faults' bytes a growth may be: the kernel may add anonymous pages of up to 64 KiB at once, and maps
/// up to 2 MiB of a file around an access.
const MAX_SCALE: u64 = 16;
const MAX_FILE_SCALE: u64 = 512;
/// For so many readings a growth waits for its faults: where only a part of them is recorded, the next that is stands for
/// those before it.
const MAX_WAIT: u32 = 5;

/// The changes of a process's resident memory between two readings, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentChange {
    pub anonymous: i64,
    /// Of mapped files and shared memory.
    pub file: i64,
}

/// A page fault, or several, with the stack that they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackFault<S> {
    pub stack: S,
    /// How much memory was touched, in bytes.
    pub bytes: u64,
    pub is_file: bool,
}

/// The page faults of one process that wait for a reading that shows what they added; `S` identifies a stack.
#[derive(Debug)]
pub struct FaultAttribution<S> {
    anonymous: Waiting<S>,
    file: Waiting<S>,
}

impl<S> Default for FaultAttribution<S> {
    fn default() -> Self {
        FaultAttribution {
            anonymous: Waiting::default(),
            file: Waiting::default(),
        }
    }
}

impl<S: Copy> FaultAttribution<S> {
    /// Attributes what was added between two readings. `faults`: those in that time, in order. `lag`: how many bytes
    /// the counters may be behind. `charge` gets each stack with its bytes; `None`: no stack is known.
    pub fn attribute(
        &mut self,
        change: ResidentChange,
        faults: impl Iterator<Item = StackFault<S>>,
        lag: u64,
        mut charge: impl FnMut(Option<S>, u64),
    ) {
        for fault in faults {
            let waiting = match fault.is_file {
                true => &mut self.file,
                false => &mut self.anonymous,
            };
            waiting.add(fault.stack, fault.bytes);
        }
        let kinds = [
            (&mut self.anonymous, change.anonymous, MAX_SCALE),
            (&mut self.file, change.file, MAX_FILE_SCALE),
        ];
        for (waiting, added, max_scale) in kinds {
            waiting.take(added, lag, max_scale, &mut charge);
            // Older ones were counted, and have been released or have added nothing.
            let counted = waiting.bytes.saturating_sub(lag);
            waiting.remove(counted, |_, _| ());
        }
    }
}

impl<S: Copy> FaultAttribution<S> {
    /// Attributes what still waits for faults to no stack: there are no more readings.
    pub fn finish(&mut self, mut charge: impl FnMut(Option<S>, u64)) {
        self.anonymous.give_up(&mut charge);
        self.file.give_up(&mut charge);
    }
}

/// Faults in order, with their bytes.
#[derive(Debug)]
struct Waiting<S> {
    faults: VecDeque<(S, u64)>,
    bytes: u64,
    /// Growth that is more than its faults explain, and for how many readings it has waited.
    unexplained: u64,
    waited: u32,
}

impl<S> Default for Waiting<S> {
    fn default() -> Self {
        Waiting {
            faults: VecDeque::new(),
            bytes: 0,
            unexplained: 0,
            waited: 0,
        }
    }
}

impl<S: Copy> Waiting<S> {
    fn add(&mut self, stack: S, bytes: u64) {
        self.faults.push_back((stack, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Attributes a change of so many bytes, if it is a growth.
    fn take(
        &mut self,
        change: i64,
        lag: u64,
        max_scale: u64,
        charge: &mut impl FnMut(Option<S>, u64),
    ) {
        if change < 0 {
            // What had no faults has gone again.
            self.give_up(charge);
        }
        let added = u64::try_from(change).unwrap_or(0);
        let added = added.saturating_add(self.unexplained);
        if added == 0 {
            return;
        }
        let all = self.bytes;
        // Those that the counters surely include.
        let counted = all.saturating_sub(lag);
        let mut left = 0;
        if added <= counted {
            self.share(counted, added, charge);
        } else if added <= all {
            // The oldest of the rest are the likeliest.
            self.share(added, added, charge);
        } else {
            let known = added.min(all.saturating_mul(max_scale));
            self.share(all, known, charge);
            left = added - known;
        }
        self.waited = match self.unexplained {
            0 => 0,
            _ => self.waited + 1,
        };
        self.unexplained = left;
        if self.waited >= MAX_WAIT {
            self.give_up(charge);
        }
    }

    /// Attributes what has waited to no stack.
    fn give_up(&mut self, charge: &mut impl FnMut(Option<S>, u64)) {
        self.waited = 0;
        let unexplained = std::mem::take(&mut self.unexplained);
        if unexplained > 0 {
            charge(None, unexplained);
        }
    }

    /// Removes the oldest faults of so many bytes, and shares so much growth among them.
    fn share(&mut self, bytes: u64, growth: u64, charge: &mut impl FnMut(Option<S>, u64)) {
        // Of the sum so far, so that no rounding error is lost.
        let (mut bytes_so_far, mut growth_so_far) = (0_u128, 0);
        self.remove(bytes, |stack, part| {
            bytes_so_far += u128::from(part);
            let sum = u128::from(growth) * bytes_so_far / u128::from(bytes);
            let share = u64::try_from(sum - growth_so_far).unwrap_or(u64::MAX);
            growth_so_far = sum;
            if share > 0 {
                charge(Some(stack), share);
            }
        });
    }

    /// Removes the oldest faults of so many bytes, of the last perhaps a part.
    fn remove(&mut self, bytes: u64, mut removed: impl FnMut(S, u64)) {
        let mut left = bytes.min(self.bytes);
        self.bytes -= left;
        while left > 0
            && let Some((stack, of_fault)) = self.faults.front_mut()
        {
            let part = left.min(*of_fault);
            removed(*stack, part);
            left -= part;
            *of_fault -= part;
            if *of_fault == 0 {
                self.faults.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const LAG: u64 = 100;

    /// What stacks get for a growth of anonymous memory, faults first.
    fn grow(
        growth: &mut FaultAttribution<char>,
        added: i64,
        faults: &[(char, u64)],
    ) -> BTreeMap<char, u64> {
        let faults = faults.iter().map(|(stack, bytes)| StackFault {
            stack: *stack,
            bytes: *bytes,
            is_file: false,
        });
        let change = ResidentChange {
            anonymous: added,
            file: 0,
        };
        let mut charged = BTreeMap::new();
        growth.attribute(change, faults, LAG, |stack, bytes| {
            *charged.entry(stack.unwrap_or('?')).or_default() += bytes;
        });
        charged
    }

    #[test]
    fn what_faults_explain_is_theirs() {
        let mut growth = FaultAttribution::default();
        let faults = [('a', 640), ('b', 160), ('a', 40)];
        assert_eq!(
            grow(&mut growth, 840, &faults),
            [('a', 680), ('b', 160)].into()
        );
        assert_eq!(grow(&mut growth, 0, &[]), BTreeMap::new());
    }

    #[test]
    fn growth_without_faults_waits_for_some() {
        let mut growth = FaultAttribution::default();
        assert_eq!(grow(&mut growth, 50, &[]), BTreeMap::new());
        // The next fault that is recorded stands for those before.
        let charged = grow(&mut growth, 10, &[('a', 60)]);
        assert_eq!(charged, [('a', 60)].into());
        assert_eq!(grow(&mut growth, 70, &[]), BTreeMap::new());
        for _ in 1..MAX_WAIT {
            assert_eq!(grow(&mut growth, 0, &[]), BTreeMap::new());
        }
        assert_eq!(grow(&mut growth, 0, &[]), [('?', 70)].into());
        assert_eq!(grow(&mut growth, 80, &[]), BTreeMap::new());
        let mut left = Vec::new();
        growth.finish(|stack, bytes| left.push((stack, bytes)));
        growth.finish(|stack, bytes| left.push((stack, bytes)));
        assert_eq!(left, [(None, 80)]);
    }

    #[test]
    fn growth_that_is_counted_late_is_of_the_faults_that_waited() {
        let mut growth = FaultAttribution::default();
        assert_eq!(grow(&mut growth, 0, &[('a', 60)]), BTreeMap::new());
        assert_eq!(
            grow(&mut growth, 80, &[('b', 40)]),
            [('a', 60), ('b', 20)].into()
        );
        assert_eq!(grow(&mut growth, 20, &[]), [('b', 20)].into());
    }

    #[test]
    fn faults_share_what_stayed() {
        let mut growth = FaultAttribution::default();
        // 900 are surely counted, of which 90 stayed.
        let faults = [('a', 600), ('b', 300), ('c', 100)];
        assert_eq!(
            grow(&mut growth, 90, &faults),
            [('a', 60), ('b', 30)].into()
        );
        // The last ones may not have been counted yet.
        assert_eq!(grow(&mut growth, 100, &[]), [('c', 100)].into());
        // Only released: no more than the lag waits.
        assert_eq!(
            grow(&mut growth, -50, &[('a', 500), ('d', 70)]),
            BTreeMap::new()
        );
        assert_eq!(grow(&mut growth, 100, &[]), [('a', 30), ('d', 70)].into());
    }

    #[test]
    fn a_growth_of_more_than_its_faults_scales_them_up() {
        let mut growth = FaultAttribution::default();
        let faults = [('a', 300), ('b', 100)];
        assert_eq!(
            grow(&mut growth, 1_600, &faults),
            [('a', 1_200), ('b', 400)].into()
        );
        let most = 10 * MAX_SCALE;
        assert_eq!(grow(&mut growth, 1_000, &[('a', 10)]), [('a', most)].into());
        assert_eq!(
            grow(&mut growth, 0, &[('b', 900)]),
            [('b', 1_000 - most)].into()
        );
    }

    #[test]
    fn files_have_a_growth_of_their_own() {
        let mut growth = FaultAttribution::default();
        let fault = |stack, is_file| StackFault {
            stack,
            bytes: 400,
            is_file,
        };
        let faults = [fault('a', false), fault('f', true)];
        let mut charged = Vec::new();
        let change = ResidentChange {
            anonymous: -70,
            file: 6_400,
        };
        growth.attribute(change, faults.into_iter(), LAG, |stack, bytes| {
            charged.push((stack, bytes));
        });
        assert_eq!(charged.iter().map(|(_, bytes)| bytes).sum::<u64>(), 6_400);
        assert!(
            charged.iter().all(|(stack, _)| *stack == Some('f')),
            "{charged:?}"
        );
    }
}
