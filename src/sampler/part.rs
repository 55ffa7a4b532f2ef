//! [`Part`]: what a snapshot holds of one thread, and [`Race`]: which of the stacks is taken of a thread
//! that runs on while it is read.

use crate::cpython::frame::RawFrame;
use crate::cpython::inspector::{Resolved, Walk};
use crate::cpython::{PythonThread, StackTrace, ThreadInfo};
use crate::target::{Pid, RemoteAddr};

/// One thread's part of a snapshot, before stacks of one OS thread are put together.
pub struct Part<T> {
    pub thread: PythonThread,
    pub trace: StackTrace,
    pub inspected: Vec<T>,
    /// Whether its outermost frame is not linked to its caller at this very moment.
    pub is_loose: bool,
    /// Whether nothing contradicts that this was the thread's stack.
    pub is_steady: bool,
    /// Whether it looks as if it never was, though it may have been.
    pub is_suspect: bool,
    /// Where its innermost frame stands, shown or not; null without one.
    leaf: RemoteAddr,
}

impl<T> Part<T> {
    /// Of a thread of the process `pid`, what was walked and resolved of its `stack`.
    pub fn new(
        thread: &PythonThread,
        active: bool,
        pid: Pid,
        walk: Walk,
        resolved: Resolved,
        stack: &[RawFrame],
    ) -> Part<T> {
        let info = ThreadInfo {
            os_thread_id: thread.os_thread_id,
            pthread_id: thread.state.pthread_id,
            name: None,
            interpreter_ids: vec![thread.state.interpreter.id],
            active,
            waits_for_cpu: false,
            owns_gil: thread.owns_gil,
            collecting: thread.collects(stack),
            is_main: thread.os_thread_id == Some(pid),
            cpu_ns: None,
            faults: None,
        };
        Part {
            thread: thread.clone(),
            trace: StackTrace {
                thread: info,
                frames: resolved.frames,
            },
            inspected: Vec::new(),
            is_loose: stack.last().is_some_and(|frame| frame.is_loose),
            is_steady: walk.is_steady && !resolved.is_new,
            is_suspect: resolved.hides_caller,
            leaf: leaf(stack),
        }
    }

    /// Of a thread that has slept since its stack was read.
    pub fn again(thread: &PythonThread, kept: &StackTrace) -> Part<T> {
        let mut trace = kept.clone();
        trace.thread.owns_gil = thread.owns_gil;
        Part {
            thread: thread.clone(),
            trace,
            inspected: Vec::new(),
            is_loose: false,
            is_steady: true,
            is_suspect: false,
            leaf: RemoteAddr::NULL,
        }
    }
}

fn leaf(stack: &[RawFrame]) -> RemoteAddr {
    stack.first().map_or(RemoteAddr::NULL, |frame| frame.addr)
}

/// Reading a thread again and again that runs on meanwhile.
///
/// A stack that stays for long is read whole more often than one that is gone at once: who takes the first
/// that is whole sees too few of the latter. But in which frame the look found the thread, its first
/// reading says, be it whole or not. So a stack is waited for that ends in that very frame, and another is
/// only taken when none comes.
pub struct Race<T> {
    /// Where the innermost frame stood when the look found the thread.
    found: Option<RemoteAddr>,
    /// A stack that is whole, but ends elsewhere.
    spare: Option<Part<T>>,
    /// What all readings took, in frames.
    cost: usize,
}

/// How long another stack is waited for than the one that there is: some thirty readings of a few frames,
/// seven of a hundred, one of a thousand.
const MAX_COST: usize = 1_000;
/// What a reading takes beside its frames.
const READING: usize = 30;

impl<T> Default for Race<T> {
    fn default() -> Race<T> {
        Race {
            found: None,
            spare: None,
            cost: 0,
        }
    }
}

impl<T> Race<T> {
    /// Takes note of a walk. Whether its stack is of any use.
    pub fn is_of_use(&mut self, walk: Walk, stack: &[RawFrame]) -> bool {
        self.cost = self.cost.saturating_add(READING + stack.len());
        let found = *self.found.get_or_insert(walk.innermost);
        self.spare.is_none() || leaf(stack) == found
    }

    /// The part, if it is what is waited for; else it is put by.
    pub fn choose(&mut self, part: Part<T>) -> Option<Part<T>> {
        if self.found.is_none_or(|found| found == part.leaf) {
            return Some(part);
        }
        self.spare = Some(part);
        None
    }

    /// What was put by, when it is time to be content with it.
    pub fn give_up(&mut self) -> Option<Part<T>> {
        self.spare.take_if(|_| self.cost >= MAX_COST)
    }
}
