//! What a dump shows: plain data between the reading of a process and the two ways to print it.

use crate::cpython::locals::Local;
use crate::cpython::{Frame, ThreadInfo};
use crate::target::Pid;

/// One process in a dump.
#[derive(Clone, Debug)]
pub struct ProcessDump {
    /// Its id.
    pub pid: Pid,
    /// For a child that `--subprocesses` found: its parent and that one's command line.
    pub parent: Option<(Pid, Vec<String>)>,
    /// Its command line.
    pub command: Vec<String>,
    /// CPython's version, as in `3.11.7`.
    pub version: String,
    /// The file of its executable.
    pub executable: String,
    /// Its memory; `None` when the system did not tell.
    pub memory: Option<MemoryDump>,
    /// Its Python threads.
    pub threads: Vec<ThreadDump>,
    /// Threads and structures that could not be read.
    pub errors: Vec<String>,
}

/// A process's memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryDump {
    /// Resident set size.
    pub rss_bytes: u64,
    /// The largest that the RSS ever was.
    pub peak_rss_bytes: Option<u64>,
    /// Threads of the process, those without Python too.
    pub threads: Option<u64>,
}

/// One Python thread in a dump.
#[derive(Clone, Debug)]
pub struct ThreadDump {
    /// Who it is.
    pub info: ThreadInfo,
    /// Its frames, leaf first.
    pub frames: Vec<FrameDump>,
}

/// One frame in a dump.
#[derive(Clone, Debug)]
pub struct FrameDump {
    /// Where it is.
    pub frame: Frame,
    /// Its variables in the order of the code's; `None` when nobody asked.
    pub locals: Option<Vec<Local>>,
}

#[cfg(test)]
pub(super) mod samples {
    //! One dump that has every feature, for the tests of both printers.

    use std::sync::Arc;

    use super::{FrameDump, Local, MemoryDump, ProcessDump, ThreadDump};
    use crate::cpython::{Columns, Frame, ThreadInfo};

    fn frame(name: &str, file: &str, line: Option<u32>) -> FrameDump {
        FrameDump {
            frame: Frame {
                name: Arc::from(name),
                filename: Arc::from(format!("/srv/{file}")),
                short_filename: Arc::from(file),
                line,
                first_line: 10,
                columns: None,
            },
            locals: None,
        }
    }

    fn local(name: &str, value: &str, is_argument: bool) -> Local {
        Local {
            name: name.to_owned(),
            value: value.to_owned(),
            is_argument,
        }
    }

    pub fn process() -> ProcessDump {
        let main = ThreadInfo {
            os_thread_id: Some(8172),
            pthread_id: 0x7f0f_6c3c_a990,
            name: Some(Arc::from("MainThread")),
            interpreter_ids: vec![0],
            active: true,
            owns_gil: true,
            collecting: false,
            waits_for_cpu: false,
            is_main: true,
            cpu_ns: None,
            faults: None,
        };
        let stranger = ThreadInfo {
            os_thread_id: None,
            name: None,
            active: false,
            owns_gil: false,
            is_main: false,
            ..main.clone()
        };
        let mut leaf = frame("leaf", "app.py", Some(11));
        leaf.frame.columns = Some(Columns {
            start: 4,
            end_line: 12,
            end: 9,
        });
        leaf.locals = Some(vec![
            local("n", "0", true),
            local("s", "\"a\x1b[31m\"", true),
            local("loc", "1.5", false),
        ]);
        let mut module = frame("<module>", "app.py", Some(31));
        module.locals = Some(vec![]);
        ProcessDump {
            pid: 8172,
            parent: None,
            command: vec!["python3.15".into(), "app.py".into(), "30".into()],
            version: "3.15.2".into(),
            executable: "/usr/bin/python3.15".into(),
            memory: Some(MemoryDump {
                rss_bytes: 59_873_690,
                peak_rss_bytes: Some(63_963_136),
                threads: Some(9),
            }),
            threads: vec![
                ThreadDump {
                    info: main,
                    frames: vec![leaf, frame("Thing.method", "pkg/mod.py", Some(20)), module],
                },
                ThreadDump {
                    info: stranger,
                    frames: vec![frame("evil\u{202e}\n", "a\x07.py", None)],
                },
            ],
            errors: vec!["thread 9: torn".into()],
        }
    }
}
