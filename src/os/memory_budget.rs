//! [`MemoryBudget`]: how much memory the caches of all processes may take together.
//!
//! A cache has a limit of its own, but a tree may have any number of hostile processes, each of which fills its
//! caches up to that. So the caches also share one budget:
//!
//! - A process has an [`Account`], and each of its caches a [`Charge`] to it.
//! - A cache may grow by [`Account::room`]: as long as anything is left of the budget, and in any case up to
//!   its process's *fair share*, the budget divided by the number of processes. So a process that takes little
//!   is never hindered by others that take much.
//! - When more than three quarters of the budget are taken, a process with more than three quarters of its
//!   share has to drop what it has cached, before its next sample: [`Account::is_over`]. There is always
//!   one, so soon no more than three quarters are taken; and a process that needs not do so can cache another
//!   quarter of its share at least.
//!
//! All together take the budget once, and twice if the processes that took it all are not sampled any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget for the caches of all processes that are observed. A recording's tables have limits of their own:
/// 66 MiB of frames, 60 of stacks and some 25 of texts. The whole program stays below 200 MiB.
pub static CACHES: MemoryBudget = MemoryBudget::of(40 << 20);

/// See the [module](self).
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    /// Bytes, of all accounts.
    taken: AtomicUsize,
    /// How many accounts there are. Not only those with any bytes: the share of each one that begins to cache would
    /// be larger than that of the next, and their sum several times the budget.
    accounts: AtomicUsize,
}

/// What the caches of one process take.
#[derive(Clone, Debug)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    budget: &'static MemoryBudget,
    taken: AtomicUsize,
}

/// What one cache takes; nothing when it is dropped.
#[derive(Debug)]
pub struct Charge {
    account: Account,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    pub const fn of(limit: usize) -> MemoryBudget {
        MemoryBudget {
            limit,
            taken: AtomicUsize::new(0),
            accounts: AtomicUsize::new(0),
        }
    }

    /// An account for another process.
    pub fn account(&'static self) -> Account {
        self.accounts.fetch_add(1, Ordering::Relaxed);
        Account(Arc::new(Inner {
            budget: self,
            taken: AtomicUsize::new(0),
        }))
    }

    /// The bytes of all accounts.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// What each process may have in any case; `limit`: what all may have.
    fn share(&self, limit: usize) -> usize {
        limit / self.accounts.load(Ordering::Relaxed).max(1)
    }

    /// Above this, processes that have more than their share of it drop what they have cached.
    fn high_water_mark(&self) -> usize {
        self.limit / 4 * 3
    }
}

impl Account {
    /// A charge for another cache, of nothing.
    pub fn charge(&self) -> Charge {
        Charge {
            account: self.clone(),
            bytes: 0,
        }
    }

    /// The bytes of all its caches.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// By how many bytes its caches may grow.
    pub fn room(&self) -> usize {
        let budget = self.0.budget;
        let left = budget.limit.saturating_sub(budget.taken());
        let of_share = budget.share(budget.limit).saturating_sub(self.taken());
        left.max(of_share)
    }

    /// Whether its caches have to be emptied, because others need the memory.
    pub fn is_over(&self) -> bool {
        let budget = self.0.budget;
        let mark = budget.high_water_mark();
        budget.taken() > mark && self.taken() > budget.share(mark)
    }

    fn change(&self, before: usize, after: usize) {
        let Inner { budget, taken } = &*self.0;
        // Of an account, all charges belong to one thread's caches; the totals may be read by others meanwhile,
        // which makes a limit inexact for a moment. Sums of differences wrap around to the right number.
        let change = after.wrapping_sub(before);
        taken.fetch_add(change, Ordering::Relaxed);
        budget.taken.fetch_add(change, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.budget.accounts.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Charge {
    /// Sets what the cache takes now.
    pub fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.account.change(self.bytes, bytes);
            self.bytes = bytes;
        }
    }

    /// Adds what the cache takes more.
    pub fn add(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_add(bytes));
    }

    /// What the cache takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how many bytes the cache may grow: [`Account::room`].
    pub fn room(&self) -> usize {
        self.account.room()
    }

    /// Whether the cache has to be emptied: [`Account::is_over`].
    pub fn is_over(&self) -> bool {
        self.account.is_over()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_may_take_all() {
        static BUDGET: MemoryBudget = MemoryBudget::of(1000);
        let account = BUDGET.account();
        let (mut names, mut stacks) = (account.charge(), account.charge());
        assert_eq!(account.room(), 1000);
        names.add(400);
        stacks.set(350);
        names.add(0);
        assert_eq!(
            (names.room(), account.taken(), BUDGET.taken()),
            (250, 750, 750)
        );
        assert!(!account.is_over());
        stacks.add(1);
        assert!(account.is_over());
        names.set(0);
        assert_eq!((names.bytes(), account.taken()), (0, 351));
        drop((names, stacks, account));
        assert_eq!((BUDGET.taken(), BUDGET.share(1000)), (0, 1000));
    }

    #[test]
    fn a_small_process_is_not_hindered_by_a_large_one() {
        static BUDGET: MemoryBudget = MemoryBudget::of(1000);
        let (large, small) = (BUDGET.account(), BUDGET.account());
        let (mut most, mut few) = (large.charge(), small.charge());
        most.set(1000);
        few.set(100);
        // Nothing is left, but each has a share of 500, and has to drop what is above 375 of them.
        assert_eq!((large.room(), small.room()), (0, 400));
        assert!(large.is_over() && !small.is_over());
        few.set(376);
        assert!(small.is_over());
        // What the other one drops is free for both.
        most.set(0);
        assert!(!small.is_over());
        assert_eq!((large.room(), small.room()), (624, 624));
    }

    /// Forty processes that cache as much as they may: the total never exceeds the budget by more than the
    /// shares that they have in any case, and is back below it after each has been sampled once more.
    #[test]
    fn many_greedy_processes_take_one_budget_together() {
        const LIMIT: usize = 1 << 20;
        static BUDGET: MemoryBudget = MemoryBudget::of(LIMIT);
        let mut greedy: Vec<Charge> = Vec::new();
        greedy.resize_with(40, || BUDGET.account().charge());
        let mut most = 0;
        for round in 0..5 {
            for charge in &mut greedy {
                if charge.is_over() {
                    charge.set(0);
                }
                while charge.room() > 1000 && charge.bytes() < LIMIT / 2 {
                    charge.add(1000);
                }
                most = most.max(BUDGET.taken());
            }
            // The first two have taken it all before the others were there.
            let limit = if round == 0 { LIMIT * 2 } else { LIMIT * 5 / 4 };
            assert!(BUDGET.taken() <= limit, "round {round}: {}", BUDGET.taken());
        }
        assert!(most <= LIMIT * 2, "{most}");
        // One that comes later still gets its share.
        let late = BUDGET.account().charge();
        assert!(late.room() >= LIMIT / 41);
        drop(greedy);
        assert_eq!(BUDGET.taken(), 0);
    }
}
