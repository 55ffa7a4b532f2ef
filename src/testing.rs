//! Builders of samples for tests: `thread(7).named("main").gil().stack(&[f, g])`.
//!
//! Integration tests include this file too (`#[path = "../src/testing.rs"] mod testing;`), so it imports
//! only the public names of the crate, from the module that declares it.
#![allow(dead_code, missing_docs)] // No test needs all of it.

use std::time::Duration;

use super::{
    Frame, FrameId, FrameTable, Pid, ProcessSample, RssChange, Sample, StackTrace, ThreadInfo, Tid,
};

/// A frame of `/srv/app.py`.
pub fn frame(name: &str, line: u32) -> Frame {
    frame_in("/srv/app.py", name, line)
}

/// A frame of another file, whose shown path is the last component; line 0 is no line.
pub fn frame_in(file: &str, name: &str, line: u32) -> Frame {
    Frame {
        name: name.into(),
        filename: file.into(),
        short_filename: file.rsplit('/').next().unwrap_or(file).into(),
        line: (line > 0).then_some(line),
        first_line: 1,
        columns: None,
    }
}

/// An empty table of frames.
pub fn frames() -> Frames {
    Frames::default()
}

#[derive(Debug, Default)]
pub struct Frames {
    pub table: FrameTable,
}

impl Frames {
    /// The id of a [`frame`].
    pub fn id(&mut self, name: &str, line: u32) -> FrameId {
        self.table.intern(frame(name, line))
    }
}

/// A thread on a CPU, without the GIL.
pub fn thread(tid: Tid) -> ThreadBuilder {
    ThreadBuilder(ThreadInfo {
        os_thread_id: Some(tid),
        pthread_id: 1,
        name: None,
        interpreter_ids: vec![0],
        active: true,
        owns_gil: false,
        collecting: false,
        has_ended: false,
        waits_for_cpu: false,
        is_main: false,
        time_ns: None,
        faults: None,
    })
}

/// The main thread, on a CPU with the GIL.
pub fn main_thread(tid: Tid) -> ThreadBuilder {
    ThreadBuilder(ThreadInfo {
        is_main: true,
        ..thread(tid).gil().info()
    })
}

#[derive(Clone, Debug)]
pub struct ThreadBuilder(ThreadInfo);

impl ThreadBuilder {
    pub fn named(mut self, name: &str) -> Self {
        self.0.name = Some(name.into());
        self
    }

    pub fn active(mut self, active: bool) -> Self {
        self.0.active = active;
        self
    }

    pub fn idle(self) -> Self {
        self.active(false)
    }

    pub fn owns_gil(mut self, owns_gil: bool) -> Self {
        self.0.owns_gil = owns_gil;
        self
    }

    pub fn gil(self) -> Self {
        self.owns_gil(true)
    }

    pub fn waits_for_cpu(mut self) -> Self {
        self.0.waits_for_cpu = true;
        self
    }

    pub fn collecting(mut self) -> Self {
        self.0.collecting = true;
        self
    }

    pub fn time_ns(mut self, ns: impl Into<Option<u64>>) -> Self {
        self.0.time_ns = ns.into();
        self
    }

    pub fn faults(mut self, faults: impl Into<Option<u64>>) -> Self {
        self.0.faults = faults.into();
        self
    }

    pub fn pthread_id(mut self, id: u64) -> Self {
        self.0.pthread_id = id;
        self
    }

    pub fn info(self) -> ThreadInfo {
        self.0
    }

    /// The thread with this stack, root first.
    pub fn stack(self, root_first: &[FrameId]) -> StackTrace {
        StackTrace {
            thread: self.0,
            frames: root_first.iter().rev().copied().collect(),
        }
    }
}

/// A process without a reading of its RSS.
pub fn process(pid: Pid, traces: Vec<StackTrace>) -> ProcessSample {
    ProcessSample {
        pid,
        traces,
        rss_bytes: None,
        rss_change: None,
        fault_growth: Vec::new(),
    }
}

/// A process whose RSS has changed by so many bytes between two samples.
pub fn grown_process(
    pid: Pid,
    rss_bytes: u64,
    change: i64,
    traces: Vec<StackTrace>,
) -> ProcessSample {
    ProcessSample {
        rss_bytes: Some(rss_bytes),
        rss_change: Some(RssChange {
            bytes: change,
            ..RssChange::default()
        }),
        ..process(pid, traces)
    }
}

/// A sample of process 1.
pub fn sample(at_ms: u64, traces: Vec<StackTrace>) -> Sample {
    sample_of(at_ms, vec![process(1, traces)])
}

/// A sample of several processes.
pub fn sample_of(at_ms: u64, processes: Vec<ProcessSample>) -> Sample {
    Sample {
        elapsed: Duration::from_millis(at_ms),
        processes,
        ..Sample::default()
    }
}
