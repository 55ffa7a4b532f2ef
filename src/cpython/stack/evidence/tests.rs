use super::*;

/// A read that shows nothing but unchanged roots.
const PLAIN: Evidence = Evidence {
    roots_unchanged: true,
    fully_copied: true,
    leaf: LeafState::Unknown,
    root: RootState::Unknown,
    code_was_read: false,
    hidden_leaf: false,
    hidden_caller: false,
    unlinked_root: false,
};
const ROOTS_CHANGED: Evidence = Evidence {
    roots_unchanged: false,
    ..PLAIN
};

fn with_leaf(leaf: LeafState, root: RootState, roots_unchanged: bool) -> Evidence {
    Evidence {
        roots_unchanged,
        leaf,
        root,
        ..PLAIN
    }
}

/// All combinations of leaf, root and roots, for a thread of which only the stack shows whether it
/// changed.
#[test]
fn a_running_threads_stack_is_accepted_by_leaf_root_and_roots() {
    use Decision::{Accept, Retry};
    use LeafState::{AwaitingCallee, Executing, NotReturned, Unknown};
    use RootState::{Changed, Confirmed};
    let attempts = Attempts::new(Mode::Running, true);
    // Leaf, root; the decision with changed and with unchanged roots.
    let table = [
        (Executing, RootState::Unknown, Accept, Accept),
        (Executing, Confirmed, Accept, Accept),
        (Executing, Changed, Accept, Accept),
        (NotReturned, RootState::Unknown, Retry, Accept),
        (NotReturned, Confirmed, Accept, Accept),
        (NotReturned, Changed, Retry, Retry),
        (AwaitingCallee, RootState::Unknown, Retry, Accept),
        (AwaitingCallee, Confirmed, Retry, Accept),
        (AwaitingCallee, Changed, Retry, Retry),
        (Unknown, RootState::Unknown, Retry, Accept),
        (Unknown, Confirmed, Retry, Accept),
        (Unknown, Changed, Retry, Retry),
    ];
    for (leaf, root, if_changed, if_unchanged) in table {
        for (roots_unchanged, expected) in [(false, if_changed), (true, if_unchanged)] {
            let evidence = with_leaf(leaf, root, roots_unchanged);
            let outcome = Outcome::Stack(evidence);
            let decision = decide(&outcome, ThreadState::MayHaveRun, &attempts);
            assert_eq!(decision, expected, "{evidence:?}");
            // A later read of a byte makes any of them inconsistent, and so does a code object that was read.
            for flawed in [
                Evidence {
                    fully_copied: false,
                    ..evidence
                },
                Evidence {
                    code_was_read: true,
                    ..evidence
                },
            ] {
                let outcome = Outcome::Stack(flawed);
                let decision = decide(&outcome, ThreadState::MayHaveRun, &attempts);
                assert_eq!(decision, Retry, "{flawed:?}");
            }
        }
    }
}

#[test]
fn a_hidden_leaf_is_accepted_if_it_had_started() {
    use LeafState::{Executing, NotReturned, Unknown};
    let attempts = Attempts::new(Mode::Running, true);
    // Leaf, root, roots unchanged; whether the stack is accepted.
    let table = [
        (NotReturned, RootState::Confirmed, false, false),
        (NotReturned, RootState::Confirmed, true, true),
        (NotReturned, RootState::Unknown, true, true),
        (Executing, RootState::Unknown, false, true),
        (Unknown, RootState::Unknown, true, true),
    ];
    for (leaf, root, roots_unchanged, is_accepted) in table {
        let evidence = Evidence {
            hidden_leaf: true,
            ..with_leaf(leaf, root, roots_unchanged)
        };
        let decision = decide(
            &Outcome::Stack(evidence),
            ThreadState::MayHaveRun,
            &attempts,
        );
        assert_eq!(decision == Decision::Accept, is_accepted, "{evidence:?}");
    }
}

#[test]
fn what_the_kernel_reports_decides_if_it_reports_anything() {
    use Decision::{Accept, Ended, Report, Retry, RetryFailed, RetryUnlinked};
    use ThreadState::{MayHaveRun, NotRunSince, Paused, Ran};
    let unlinked = Evidence {
        unlinked_root: true,
        ..PLAIN
    };
    let flawed = Evidence {
        fully_copied: false,
        code_was_read: true,
        hidden_leaf: true,
        ..ROOTS_CHANGED
    };
    let unlinked_and_flawed = Evidence {
        unlinked_root: true,
        ..flawed
    };
    let passing = Outcome::Failed { may_pass: true };
    let lasting = Outcome::Failed { may_pass: false };
    let table = [
        (Outcome::Stack(PLAIN), Paused, Accept),
        (Outcome::Stack(PLAIN), NotRunSince, Accept),
        (Outcome::Stack(PLAIN), MayHaveRun, Accept),
        (Outcome::Stack(PLAIN), Ran, Retry),
        (Outcome::Stack(PLAIN), ThreadState::Ended, Ended),
        // If the thread cannot have run, the stack need not be consistent by itself.
        (Outcome::Stack(flawed), Paused, Accept),
        (Outcome::Stack(flawed), NotRunSince, Accept),
        (Outcome::Stack(flawed), MayHaveRun, Retry),
        (Outcome::Stack(unlinked), Paused, RetryUnlinked),
        (Outcome::Stack(unlinked), NotRunSince, RetryUnlinked),
        (Outcome::Stack(unlinked), MayHaveRun, RetryUnlinked),
        (Outcome::Stack(unlinked), Ran, Retry),
        (Outcome::Stack(unlinked_and_flawed), Paused, RetryUnlinked),
        (Outcome::Stack(unlinked_and_flawed), MayHaveRun, Retry),
        (passing, Paused, RetryFailed),
        (passing, NotRunSince, RetryFailed),
        // An error of a thread that runs may be due to that.
        (passing, MayHaveRun, Retry),
        (passing, Ran, Retry),
        (lasting, Paused, Report),
        (lasting, NotRunSince, Report),
        (lasting, MayHaveRun, Retry),
        (lasting, Ran, Retry),
        (Outcome::Skipped, Paused, Retry),
        (Outcome::Skipped, MayHaveRun, Retry),
        (Outcome::ThreadEnded, Paused, Ended),
        (Outcome::ThreadEnded, Ran, Ended),
    ];
    let attempts = Attempts::new(Mode::AtRest, true);
    for (outcome, thread, expected) in table {
        let decision = decide(&outcome, thread, &attempts);
        assert_eq!(decision, expected, "{outcome:?}, {thread:?}");
    }
}

#[test]
fn a_hidden_caller_is_accepted_after_many_attempts_unless_the_thread_cannot_have_run() {
    let outcome = Outcome::Stack(Evidence {
        hidden_caller: true,
        ..PLAIN
    });
    let mut attempts = Attempts::new(Mode::Running, true);
    for (number, expected) in [
        (1, Decision::Retry),
        (HIDDEN_CALLER_ATTEMPTS, Decision::Retry),
        (HIDDEN_CALLER_ATTEMPTS + 1, Decision::Accept),
    ] {
        attempts.number = number;
        let decision = decide(&outcome, ThreadState::MayHaveRun, &attempts);
        assert_eq!(decision, expected, "attempt {number}");
        let decision = decide(&outcome, ThreadState::NotRunSince, &attempts);
        assert_eq!(decision, Decision::Accept, "attempt {number}");
    }
}

/// On the last attempt: the mode, whether the thread was running, and the outcome.
#[test]
fn a_thread_is_torn_after_the_last_attempt() {
    let changed = Outcome::Stack(ROOTS_CHANGED);
    let unlinked = Outcome::Stack(Evidence {
        unlinked_root: true,
        ..PLAIN
    });
    let passing = Outcome::Failed { may_pass: true };
    let (rest, running) = (Mode::AtRest, Mode::Running);
    let table = [
        (rest, false, changed, ATTEMPTS, Decision::Torn),
        (rest, true, changed, ATTEMPTS, Decision::Torn),
        (rest, true, changed, ATTEMPTS - 1, Decision::Retry),
        (running, true, changed, ATTEMPTS, Decision::Retry),
        (running, true, changed, RUNNING_ATTEMPTS, Decision::Torn),
        // Only a running thread will get out of that state.
        (rest, false, unlinked, ATTEMPTS - 1, Decision::RetryUnlinked),
        (rest, false, unlinked, ATTEMPTS, Decision::Torn),
        (rest, true, unlinked, ATTEMPTS, Decision::RetryUnlinked),
        (rest, true, unlinked, UNLINKED_ATTEMPTS, Decision::Torn),
        (rest, true, passing, ATTEMPTS, Decision::Retry),
    ];
    for (mode, active, outcome, number, expected) in table {
        let mut attempts = Attempts::new(mode, active);
        attempts.number = number;
        let mut expected = expected;
        if outcome == passing {
            // Of a thread at rest it is reported at last.
            let decision = decide(&outcome, ThreadState::Paused, &attempts);
            assert_eq!(decision, Decision::Report);
            expected = Decision::Torn;
        }
        let decision = decide(&outcome, ThreadState::MayHaveRun, &attempts);
        assert_eq!(decision, expected, "{mode:?}, {outcome:?}, {number}");
    }
    // A passing error of a thread that sleeps is reported at once.
    let attempts = Attempts::new(Mode::AtRest, false);
    let decision = decide(&passing, ThreadState::NotRunSince, &attempts);
    assert_eq!(decision, Decision::Report);
}

#[test]
fn a_root_is_confirmed_by_walks_in_a_row_with_unchanged_roots() {
    let [root, other] = [0x10, 0x20].map(|addr| Some(RemoteAddr(addr)));
    let mut history = RootHistory::default();
    for _ in 1..ROOT_CONFIRMATIONS {
        assert_eq!(history.observe(root, true), RootState::Unknown);
    }
    // A walk that raced does not count, nor does it reset the count.
    assert_eq!(history.observe(other, false), RootState::Unknown);
    assert_eq!(history.observe(root, true), RootState::Confirmed);
    assert_eq!(history.observe(root, false), RootState::Confirmed);
    assert_eq!(history.observe(other, false), RootState::Changed);
    for _ in 1..ROOT_CONFIRMATIONS {
        assert_eq!(history.observe(other, true), RootState::Changed);
    }
    assert_eq!(history.observe(other, true), RootState::Confirmed);
    assert_eq!(history.observe(root, true), RootState::Changed);
    // A stack without frames.
    for _ in 1..ROOT_CONFIRMATIONS {
        assert_eq!(history.observe(None, true), RootState::Changed);
    }
    assert_eq!(history.observe(None, true), RootState::Unknown);
}
