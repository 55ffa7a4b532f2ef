//! [`decide`]: whether the stack that was read is the stack that the thread had.
//!
//! A stack is accepted when the thread cannot have run while it was read (it was paused, or the kernel
//! has not scheduled it since), or when the bytes that were read show by themselves that they belong
//! together. Everything else is read again, and after the last attempt it counts as torn. All inputs
//! are plain data, so that the rule can be tested as a table.

use crate::os::memory::address::RemoteAddr;

/// Whether the thread may run on while its stack is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is paused or off the CPU; if it runs all the same, the caller finds out.
    AtRest,
    /// It runs and is not paused.
    Running,
}

/// What the frames themselves show about the leaf ([`Mode::Running`] only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafState {
    /// Nothing.
    Unknown,
    /// The leaf is marked as executing (`stacktop`, 3.11 to 3.13).
    Executing,
    /// The leaf was the current frame right before the copy, no frame had returned when it was copied,
    /// and all frames are on the thread's data stack. Entry shims (C stack) and generator frames
    /// (heap) are copied later, so their memory may already belong to another call.
    NotReturned,
    /// The leaf waits for a callee whose frame is not in the chain.
    AwaitingCallee,
}

/// The root frame compared with that of earlier walks. Only for running threads of versions that clear the
/// executable of a frame that returns (3.14+), and of those before 3.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootState {
    /// No root has been confirmed yet, or the version needs none.
    Unknown,
    /// It is the confirmed root.
    Confirmed,
    /// Another root was confirmed. In 3.14 and later a call from C is linked through a shim on the C stack; that
    /// memory may have been reused, which cuts the chain short. Before 3.11 the chain may end at a generator
    /// that is just resumed.
    Changed,
}

/// How many walks in a row must have found the same root frame to confirm it.
const ROOT_CONFIRMATIONS: u32 = 4;

/// The root frames of a thread's walks.
#[derive(Debug, Default)]
pub struct RootHistory {
    candidate: Option<RemoteAddr>,
    confirmations: u32,
    confirmed: Option<RemoteAddr>,
}

impl RootHistory {
    /// Counts the root of a walk, if the thread state did not change during the copy, and compares it with
    /// the confirmed one.
    pub fn observe(&mut self, root: Option<RemoteAddr>, roots_unchanged: bool) -> RootState {
        if roots_unchanged {
            self.confirmations = match root == self.candidate {
                true => self.confirmations.saturating_add(1),
                false => 1,
            };
            self.candidate = root;
            if self.confirmations >= ROOT_CONFIRMATIONS {
                self.confirmed = root;
            }
        }
        match self.confirmed {
            None => RootState::Unknown,
            confirmed if confirmed == root => RootState::Confirmed,
            Some(_) => RootState::Changed,
        }
    }
}

/// What is known of one read of one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The thread state, and in 3.11 and 3.12 its `_PyCFrame`, were equal before and after the copy.
    pub roots_unchanged: bool,
    /// Every byte came from the one copy, none from a later read.
    pub fully_copied: bool,
    pub leaf: LeafState,
    pub root: RootState,
    /// A code object had to be read from the target, which a running thread may have freed since.
    pub code_was_read: bool,
    /// The leaf is not shown.
    pub hidden_leaf: bool,
    /// A frame that is not shown has a callee. A few such frames are CPython's own; usually it is a
    /// frame that was only being set up when it was copied. Only of a running thread.
    pub hidden_caller: bool,
    /// The root frame lacks its link to the caller.
    pub unlinked_root: bool,
}

/// What a read produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stack(Evidence),
    /// A stack that is of no use, since its leaf is not the expected one.
    Skipped,
    /// An error. `may_pass`: it is one that a later read may not meet.
    Failed {
        may_pass: bool,
    },
    /// The thread state does not belong to the thread any more.
    ThreadEnded,
}

/// Whether the thread can have run between the first and the last byte of the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// It was paused throughout.
    Paused,
    /// It has not been scheduled since its state was queried.
    NotRunSince,
    /// It may have run: only the stack itself can show that it did not change.
    MayHaveRun,
    /// It has run, or holds the GIL by now.
    Ran,
    /// It has ended.
    Ended,
}

/// Attempts to read a thread that is paused or off the CPU.
const ATTEMPTS: u32 = 4;
/// Attempts to read a thread that runs and is not to be paused; each takes some microseconds. With 64,
/// on 3.10, none was consistent in up to 8 % of the samples of a program that calls all the time.
const RUNNING_ATTEMPTS: u32 = 192;
/// Attempts to read a running thread whose root is unlinked. In CPython that state lasts a few instructions,
/// but greenlet unlinks frames around each switch, which a program that does little else is in a
/// quarter of its time.
const UNLINKED_ATTEMPTS: u32 = 16;
/// Attempts in which a stack with a hidden caller is not accepted.
const HIDDEN_CALLER_ATTEMPTS: u32 = 8;

/// The attempts to read one thread in one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// The number of the current one, from 1.
    pub number: u32,
    limit: u32,
    pub mode: Mode,
    /// Whether the thread was running before the first one.
    active: bool,
}

impl Attempts {
    pub fn new(mode: Mode, active: bool) -> Attempts {
        Attempts {
            number: 1,
            limit: match mode {
                Mode::Running => RUNNING_ATTEMPTS,
                Mode::AtRest => ATTEMPTS,
            },
            mode,
            active,
        }
    }

    /// The next one, in the mode that the thread is to be read in now. One that slept or waited for the GIL may run by
    /// now: only the bytes can show that they are one stack, which takes more attempts.
    pub fn next(self, mode: Mode) -> Attempts {
        match (self.mode, mode) {
            (Mode::AtRest, Mode::Running) => Attempts::new(mode, self.active),
            _ => Attempts {
                number: self.number.saturating_add(1),
                ..self
            },
        }
    }

    pub fn is_last(&self) -> bool {
        self.number >= self.limit
    }

    /// Whether the thread must now be paused whenever it runs, if it may be paused at all.
    pub fn force_pause(&self) -> bool {
        self.number >= ATTEMPTS / 2
    }

    /// Whether the state of the thread is to be queried again. A running thread may exit or go to sleep;
    /// that is checked every few attempts.
    pub fn needs_refresh(&self) -> bool {
        self.mode == Mode::AtRest || self.number.is_multiple_of(ATTEMPTS)
    }

    /// The same with more attempts, if the thread was running: its root was unlinked.
    pub fn extended_for_unlinked(mut self) -> Attempts {
        if self.active {
            self.limit = self.limit.max(UNLINKED_ATTEMPTS);
        }
        self
    }
}

/// What to do after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is the thread's stack.
    Accept,
    /// The thread may have run during the read: read it again.
    Retry,
    /// The thread is where no whole stack exists (its root is unlinked): resume it and read it again.
    RetryUnlinked,
    /// The same for an error that may pass.
    RetryFailed,
    /// No attempt is left.
    Torn,
    /// The error is not due to the thread running: report it.
    Report,
    /// The thread has ended.
    Ended,
}

impl Evidence {
    /// Whether the bytes that were read show by themselves that they are one stack, even of a thread that
    /// ran meanwhile.
    fn is_consistent(&self) -> bool {
        let is_whole = match (self.leaf, self.root) {
            (LeafState::Executing, _) | (LeafState::NotReturned, RootState::Confirmed) => true,
            (_, RootState::Changed) => false,
            _ => self.roots_unchanged,
        };
        // A leaf that is not shown may be one that was only being set up.
        let leaf_has_started = self.leaf != LeafState::NotReturned || self.roots_unchanged;
        is_whole
            && self.fully_copied
            && !self.code_was_read
            && (leaf_has_started || !self.hidden_leaf)
    }
}

impl Outcome {
    /// Whether the read alone shows that its stack is the thread's. A hidden caller that is there in each
    /// of many attempts is one of CPython's own.
    pub fn is_consistent(&self, attempts: &Attempts) -> bool {
        let Outcome::Stack(evidence) = self else {
            return false;
        };
        evidence.is_consistent()
            && (!evidence.hidden_caller || attempts.number > HIDDEN_CALLER_ATTEMPTS)
    }
}

/// What to do after a read.
pub fn decide(outcome: &Outcome, thread: ThreadState, attempts: &Attempts) -> Decision {
    let did_not_change = match thread {
        ThreadState::Paused | ThreadState::NotRunSince => true,
        ThreadState::MayHaveRun => outcome.is_consistent(attempts),
        ThreadState::Ran => false,
        ThreadState::Ended => return Decision::Ended,
    };
    let unless_last = |retry, attempts: Attempts| match attempts.is_last() {
        true => Decision::Torn,
        false => retry,
    };
    match outcome {
        Outcome::ThreadEnded => Decision::Ended,
        Outcome::Stack(evidence) if did_not_change && evidence.unlinked_root => {
            unless_last(Decision::RetryUnlinked, attempts.extended_for_unlinked())
        }
        Outcome::Stack(_) if did_not_change => Decision::Accept,
        Outcome::Failed { may_pass } if did_not_change => {
            match *may_pass && attempts.active && !attempts.is_last() {
                true => Decision::RetryFailed,
                false => Decision::Report,
            }
        }
        _ => unless_last(Decision::Retry, *attempts),
    }
}

#[cfg(test)]
mod tests;
