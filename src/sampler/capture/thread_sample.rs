//! [`Part`]: what a snapshot holds of one thread.

use crate::cpython::reader::{Resolved, Walk};
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::cpython::stack::walk::RawFrame;
use crate::cpython::threads::list::PythonThread;
use crate::os::Pid;
use crate::os::memory::address::RemoteAddr;

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
    pub leaf: RemoteAddr,
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
            is_steady: walk.is_steady
                && !resolved.is_new
                && (walk.has_begun || !resolved.hides_leaf),
            is_suspect: resolved.hides_caller,
            leaf: innermost(stack),
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

/// Where a stack ends, null for one without frames.
pub fn innermost(stack: &[RawFrame]) -> RemoteAddr {
    stack.first().map_or(RemoteAddr::NULL, |frame| frame.addr)
}
