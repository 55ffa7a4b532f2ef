//! How far a share that was sampled may be from the true one, from binomial statistics.

use super::Stack;

/// How many standard deviations a share may be off. Honest samples are as far off as 4.5 once in
/// 150,000 times, those at a random moment of each period at most as often. But one that is late comes right after the one before and
/// adds nothing; half a deviation more allows for one in five of that kind.
pub const SIGMAS: f64 = 5.0;

/// One function's share among samples, and what the program itself says.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Samples of the function.
    pub hits: u64,
    /// Samples in all.
    pub all: u64,
    /// The true share is between these two, which are equal on a machine with time to spare.
    pub truth: [f64; 2],
    /// The part of the ticks that were missed because a sample took too long: on a crowded machine a
    /// pause takes until the thread has got a CPU. What ran then is unknown.
    pub missed: f64,
}

impl Share {
    /// `truths`, in any order, and `missed` are of the same stretch of time as the samples.
    pub fn new(hits: u64, all: u64, truths: [f64; 2], missed: f64) -> Self {
        let [one, other] = truths;
        Self {
            hits,
            all,
            truth: [one.min(other), one.max(other)],
            missed,
        }
    }

    /// Several recordings as one, in which a small bias shows that each of them hides.
    #[allow(clippy::cast_precision_loss, reason = "counts of samples")]
    pub fn pooled<'a>(shares: impl Iterator<Item = &'a Self>) -> Self {
        let (mut hits, mut all) = (0, 0);
        let (mut truth, mut missed) = ([0.0; 2], 0.0);
        for share in shares {
            hits += share.hits;
            all += share.all;
            for (sum, own) in truth.iter_mut().zip(share.truth) {
                *sum += own * share.all as f64;
            }
            missed += share.missed * share.all as f64;
        }
        let mean = |sum: f64| sum / all as f64;
        Self::new(hits, all, truth.map(mean), mean(missed))
    }

    /// The share of the samples.
    #[allow(clippy::cast_precision_loss, reason = "counts of samples")]
    pub fn sampled(&self) -> f64 {
        self.hits as f64 / self.all as f64
    }

    /// How far off it may be: [`SIGMAS`] standard deviations of a binomial distribution, and a third
    /// of the ticks that were missed.
    pub fn allowed(&self) -> f64 {
        let wide = |share: f64| deviation(share.clamp(0.0, 1.0), self.all);
        SIGMAS * wide(self.truth[0]).max(wide(self.truth[1])) + self.missed / 3.0
    }

    /// How far off it is.
    pub fn error(&self) -> f64 {
        let [low, high] = self.truth;
        let sampled = self.sampled();
        sampled - sampled.clamp(low, high)
    }

    /// For people.
    pub fn describe(&self) -> String {
        format!(
            "{:.2} % of {} samples, truth {:.2} to {:.2} %, {:.2} points off, {:.2} allowed \
             ({:.0} % missed)",
            self.sampled() * 100.0,
            self.all,
            self.truth[0] * 100.0,
            self.truth[1] * 100.0,
            self.error() * 100.0,
            self.allowed() * 100.0,
            self.missed * 100.0
        )
    }

    /// Whether it is no further off than chance allows, or than `points` (of a hundred).
    pub fn is_near(&self, points: f64) -> bool {
        self.error().abs() <= self.allowed().max(points / 100.0)
    }

    /// Whether the program had to wait for a CPU, or we had to. Then what it says of the time between its
    /// two answers need not be true of the part of it that was sampled.
    pub fn is_cpu_contended(&self) -> bool {
        self.missed > 0.01 || self.truth[1] - self.truth[0] > 0.01
    }

    /// Fails if it is further off.
    #[track_caller]
    pub fn assert_near(&self, what: &str, points: f64) {
        assert!(self.is_near(points), "{what}: {}", self.describe());
    }
}

/// The standard deviation of a share among `all` independent samples.
#[allow(clippy::cast_precision_loss, reason = "counts of samples")]
pub fn deviation(share: f64, all: u64) -> f64 {
    (share * (1.0 - share) / all as f64).sqrt()
}

/// How many of `all` may be so when each is with probability `share`, as far as chance goes.
#[allow(clippy::cast_precision_loss, reason = "counts of samples")]
pub fn at_most(share: f64, all: u64) -> f64 {
    (share + SIGMAS * deviation(share, all)) * all as f64
}

/// Samples whose leaf frame is of this function.
pub fn samples_at(stacks: &[Stack], function: &str) -> u64 {
    let is_at = |stack: &&Stack| stack.functions().last() == Some(&function);
    stacks.iter().filter(is_at).map(|stack| stack.count).sum()
}
