//! [`Between`]: whose a change is that came between two looks; the rule is told [one up](super).

use super::{Caught, Ledger};

/// How many times more than a caller's stacks can have added must have come until others are looked for.
/// A thread that waits for a CPU while it is looked at is caught with less than it adds.
const SLACK: f64 = 4.0;
/// For how long a stack must have been looked at, in nanoseconds, until what it was caught with itself says
/// as much as what is usual below its caller: some looks.
const WELL_KNOWN_NS: f64 = 100_000.0;
/// What may have come unseen while nothing was caught, in pieces. Less than 1 in 100 have more.
const UNSEEN: f64 = 5.0;
/// Longest chain of callers that is walked.
const MAX_DEPTH: usize = 1_000;

/// A change between two looks, of one thread.
pub(super) struct Between<'a, S> {
    /// How much came or, if `released`, went.
    pub bytes: f64,
    /// Whether it went.
    pub released: bool,
    /// Time between the looks, in nanoseconds.
    pub ns: f64,
    /// Memory comes in pieces of so many bytes.
    pub piece: f64,
    /// Stacks that were caught with such a change lately, and the bytes.
    pub known: &'a [(&'a S, f64)],
}

/// Who takes part in a change, and the bytes that are to be expected of it.
type Shares<'a, S> = Vec<(&'a S, f64)>;

/// One of the stacks that the looks found, and the time that it stands for.
struct End<'a, S> {
    stack: &'a S,
    /// The callee of the deepest common caller that it is below; `None` if it is that caller itself.
    top: Option<S>,
    ns: f64,
}

impl<'a, S: Clone + PartialEq> Between<'a, S> {
    /// Who shares it if both looks found this stack, or one found it and the other one found sleep.
    pub fn of_one(&self, stack: &'a S, ledger: &impl Ledger<S>) -> Shares<'a, S> {
        let end = End {
            stack,
            top: Some(stack.clone()),
            ns: self.ns,
        };
        self.shares(&[end], ledger.caller(stack), ledger)
    }

    /// Who shares it if the looks found these two.
    pub fn of_two(&self, before: &'a S, now: &'a S, ledger: &impl Ledger<S>) -> Shares<'a, S> {
        let chains = [before, now].map(|stack| callers(stack, ledger));
        let [mut befores, mut nows] = chains.map(|chain| chain.into_iter().rev().peekable());
        let mut common = None;
        while let Some(caller) = befores.next_if(|caller| nows.peek() == Some(caller)) {
            nows.next();
            common = Some(caller);
        }
        let end = |stack, top| End {
            stack,
            top,
            ns: self.ns / 2.0,
        };
        let ends = [end(before, befores.next()), end(now, nows.next())];
        self.shares(&ends, common, ledger)
    }

    /// What the ends, and what they have called and has returned since, are to be expected to have added.
    /// Or else, if it is too much for these, all that was caught below the deepest caller of both that it
    /// is not too much for.
    fn shares(
        &self,
        ends: &[End<'a, S>],
        common: Option<S>,
        ledger: &impl Ledger<S>,
    ) -> Shares<'a, S> {
        let most_of = |end: &End<'_, S>| {
            let caught = match &end.top {
                Some(top) => ledger.caught_below(Some(top)),
                None => ledger.caught(end.stack),
            };
            self.most(caught, end.ns)
        };
        let most = ends.iter().map(most_of).sum::<f64>();
        let usual = self.usual(ledger.caught_below(common.as_ref()));
        let mut shares: Shares<'a, S> = Vec::new();
        for end in ends {
            let expected = self.own(ledger.caught(end.stack), usual) * end.ns;
            shares.push((end.stack, expected));
        }
        if let Some(caller) = self.wider(most, common, ledger) {
            self.add_known(&mut shares, ends, caller.as_ref(), self.ns, ledger);
        } else {
            for end in ends {
                if let Some(top) = &end.top {
                    self.add_known(&mut shares, ends, Some(top), end.ns, ledger);
                }
            }
        }
        shares
    }

    /// Adds what was caught below a caller, but for the ends, by how fast it comes there.
    fn add_known(
        &self,
        shares: &mut Shares<'a, S>,
        ends: &[End<'a, S>],
        caller: Option<&S>,
        ns: f64,
        ledger: &impl Ledger<S>,
    ) {
        let looked_ns = ledger.caught_below(caller).for_ns.max(1) as f64;
        for &(stack, bytes) in self.known {
            let is_end = ends.iter().any(|end| end.stack == stack);
            if !is_end && caller.is_none_or(|caller| is_below(stack, caller, ledger)) {
                shares.push((stack, bytes / looked_ns * ns));
            }
        }
    }

    /// The caller below which the change is to be looked for if it is too much for the ends, which can have
    /// added `most`; `Some(None)` for all that there is, `None` if it is not too much, or nobody is known
    /// who can have added more.
    fn wider(
        &self,
        mut most: f64,
        common: Option<S>,
        ledger: &impl Ledger<S>,
    ) -> Option<Option<S>> {
        if self.known.is_empty() {
            return None;
        }
        let mut best = None;
        let mut caller = common;
        for _ in 0..MAX_DEPTH {
            if self.bytes <= SLACK * most {
                break;
            }
            let all = self.most(ledger.caught_below(caller.as_ref()), self.ns);
            if all > most {
                most = all;
                best = Some(caller.clone());
            }
            let Some(one) = caller else {
                break;
            };
            caller = ledger.caller(&one);
        }
        best
    }

    /// How much can have come in some time at the most of what was caught with so much: with three
    /// standard deviations, and what may have been if there was nothing at all.
    fn most(&self, caught: Caught, ns: f64) -> f64 {
        let bytes = caught.bytes.side(self.released) as f64;
        let most = bytes + 3.0 * (bytes * self.piece).sqrt() + UNSEEN * self.piece;
        most * ns / caught.for_ns.max(1) as f64
    }

    /// How fast memory comes below a caller, in bytes per nanosecond; never 0.
    fn usual(&self, caught: Caught) -> f64 {
        let bytes = caught.bytes.side(self.released) as f64;
        (bytes + self.piece / 1000.0) / (caught.for_ns as f64 + WELL_KNOWN_NS)
    }

    /// How fast it comes in a stack itself. What was hardly seen is taken to be as its neighbours are.
    fn own(&self, caught: Caught, usual: f64) -> f64 {
        let bytes = caught.bytes.side(self.released) as f64;
        (bytes + usual * WELL_KNOWN_NS) / (caught.for_ns as f64 + WELL_KNOWN_NS)
    }
}

/// A stack and its callers, leaf first.
fn callers<S: Clone>(stack: &S, ledger: &impl Ledger<S>) -> Vec<S> {
    let next = |stack: &S| ledger.caller(stack);
    std::iter::successors(Some(stack.clone()), next).collect()
}

fn is_below<S: Clone + PartialEq>(stack: &S, caller: &S, ledger: &impl Ledger<S>) -> bool {
    let next = |stack: &S| ledger.caller(stack);
    let mut chain = std::iter::successors(Some(stack.clone()), next).take(MAX_DEPTH);
    chain.any(|one| one == *caller)
}
