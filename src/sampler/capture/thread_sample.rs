//! [`ThreadSample`]: what one sample holds of one thread.

use std::sync::Arc;

use crate::cpython::code::frame_table::FrameId;
use crate::cpython::frame::RawFrame;
use crate::cpython::stack::trace::{StackTrace, ThreadInfo};
use crate::cpython::threads::list::PythonThread;
use crate::os::Pid;

/// One thread of a sample, before the stacks of one OS thread in several interpreters are merged.
pub struct ThreadSample<T> {
    pub thread: PythonThread,
    pub trace: StackTrace,
    /// What was recorded of each frame.
    pub inspected: Vec<T>,
}

impl<T> ThreadSample<T> {
    /// A thread of the process `pid`. `frames` are those of its `stack` that are shown.
    pub fn new(
        thread: &PythonThread,
        active: bool,
        pid: Pid,
        frames: Arc<[FrameId]>,
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
            has_ended: thread.has_ended,
            is_main: thread.os_thread_id == Some(pid),
            time_ns: None,
            faults: None,
        };
        ThreadSample {
            thread: thread.clone(),
            trace: StackTrace {
                thread: info,
                frames,
            },
            inspected: Vec::new(),
        }
    }

    /// A thread that has slept since its stack was read.
    pub fn from_cached(thread: &PythonThread, trace: &StackTrace) -> ThreadSample<T> {
        let mut trace = trace.clone();
        trace.thread.owns_gil = thread.owns_gil;
        ThreadSample {
            thread: thread.clone(),
            trace,
            inspected: Vec::new(),
        }
    }
}
