//! [`ThreadSample`]: what a snapshot holds of one thread.

use crate::cpython::reader::{Resolved, Walk};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::cpython::stack::walk::RawFrame;
use crate::cpython::threads::list::PythonThread;
use crate::os::Pid;
use crate::os::memory::address::RemoteAddr;

/// One thread's part of a snapshot, before stacks of one OS thread are put together.
pub struct ThreadSample<T> {
    pub thread: PythonThread,
    pub trace: StackTrace,
    pub inspected: Vec<T>,
    /// Whether its outermost frame is not linked to its caller at this very moment.
    pub is_unlinked: bool,
    /// Whether nothing contradicts that this was the thread's stack.
    pub is_consistent: bool,
    /// Whether it looks as if it never was, though it may have been.
    pub has_hidden_caller: bool,
    /// Where its innermost frame stands, shown or not; null without one.
    pub leaf: RemoteAddr,
}

impl<T> ThreadSample<T> {
    /// Of a thread of the process `pid`, what was walked and resolved of its `stack`.
    pub fn new(
        thread: &PythonThread,
        active: bool,
        pid: Pid,
        walk: Walk,
        resolved: Resolved,
        stack: &[RawFrame],
    ) -> ThreadSample<T> {
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
        ThreadSample {
            thread: thread.clone(),
            trace: StackTrace {
                thread: info,
                frames: resolved.frames,
            },
            inspected: Vec::new(),
            is_unlinked: stack.last().is_some_and(|frame| frame.is_unlinked),
            is_consistent: walk.is_consistent
                && !resolved.is_new
                && (walk.leaf_has_started || !resolved.has_hidden_leaf),
            has_hidden_caller: resolved.has_hidden_caller,
            leaf: innermost(stack),
        }
    }

    /// Of a thread that has slept since its stack was read.
    pub fn again(thread: &PythonThread, kept: &StackTrace) -> ThreadSample<T> {
        let mut trace = kept.clone();
        trace.thread.owns_gil = thread.owns_gil;
        ThreadSample {
            thread: thread.clone(),
            trace,
            inspected: Vec::new(),
            is_unlinked: false,
            is_consistent: true,
            has_hidden_caller: false,
            leaf: RemoteAddr::NULL,
        }
    }
}

/// Where a stack ends, null for one without frames.
pub fn innermost(stack: &[RawFrame]) -> RemoteAddr {
    stack.first().map_or(RemoteAddr::NULL, |frame| frame.addr)
}
