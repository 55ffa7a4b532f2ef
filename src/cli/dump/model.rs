//! What a dump shows: plain data between the reading of a process and the two ways to print it.

use std::collections::HashMap;
use std::time::Duration;

use crate::cpython::code::frame_table::Frame;
use crate::cpython::stack::trace::ThreadInfo;
use crate::cpython::threads::gil::InterpreterGil;
use crate::cpython::values::locals::Local;
use crate::os::core_file::Writer;
use crate::os::core_file::signal::Signal;
use crate::os::process::TargetProcess;
use crate::os::process::usage::PageFaults;
use crate::os::procfs::cgroup::MemoryLimit;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::os::{Pid, Tid};

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
    /// Of a core file: what it tells besides. Whether threads were active is then not known.
    pub core: Option<CoreDump>,
    /// Its interpreters, those without threads too, oldest first; empty when they could not be read.
    pub interpreters: Vec<InterpreterGil>,
    /// Its Python threads.
    pub threads: Vec<ThreadDump>,
    /// Threads and structures that could not be read.
    pub errors: Vec<String>,
}

/// What a core file tells that a process does not.
#[derive(Clone, Debug)]
pub struct CoreDump {
    /// Its path, as it was given.
    pub file: String,
    /// Who wrote it.
    pub writer: Writer,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// How many it should have.
    pub whole_size_bytes: u64,
    /// What ended the process, and the thread that got it.
    pub signal: Option<(Signal, Tid)>,
    /// All threads, those without Python too, and the number of the system call that each was in.
    pub system_calls: HashMap<Tid, Option<u32>>,
}

impl CoreDump {
    /// The signal, for the thread that got it.
    pub fn signal_of(&self, tid: Option<Tid>) -> Option<Signal> {
        let (signal, hit) = self.signal?;
        (Some(hit) == tid).then_some(signal)
    }

    /// The number of the system call that a thread was in; the outer `None` when the thread is not
    /// known.
    pub fn system_call_of(&self, tid: Option<Tid>) -> Option<Option<u32>> {
        self.system_calls.get(&tid?).copied()
    }
}

impl ProcessDump {
    /// The thread that holds an interpreter's GIL; of several that share one, each has that thread. A thread
    /// that is inside of several interpreters holds the innermost one's.
    pub fn gil_holder(&self, of: InterpreterGil) -> Option<Pid> {
        let gil = of.gil?;
        let shares = |id: &i64| {
            let mut all = self.interpreters.iter();
            all.any(|other| other.id == *id && other.gil == Some(gil))
        };
        let mut holders = self.threads.iter().map(|thread| &thread.info);
        let holder =
            holders.find(|info| info.owns_gil && info.interpreter_ids.first().is_some_and(shares));
        holder?.os_thread_id
    }
}

/// A process's memory, and what else tells of its state. `None` for what the system does not tell.
#[derive(Clone, Debug, Default)]
pub struct MemoryDump {
    /// Resident set size.
    pub rss_bytes: u64,
    /// The largest that the RSS ever was.
    pub peak_rss_bytes: Option<u64>,
    /// Threads of the process, those without Python too.
    pub threads: Option<u64>,
    /// What of its memory is its own.
    pub shares: Option<MemoryFootprint>,
    /// Swapped out, in bytes.
    pub swap_bytes: Option<u64>,
    /// The tightest limit that its control groups set.
    pub limit: Option<MemoryLimit>,
    /// How long ago it started.
    pub age: Option<Duration>,
    /// Page faults since then.
    pub faults: Option<PageFaults>,
    /// Its open file descriptors.
    pub open_files: Option<u64>,
    /// How many of those it may have.
    pub max_open_files: Option<u64>,
}

/// Of a younger process, what it grew by in a minute is not told: loading is no trend.
const A_MINUTE: Duration = Duration::from_secs(60);

impl MemoryDump {
    /// What a process uses now; `None` when it has ended. Of what is read here, only the shares cost
    /// more than some microseconds, and none of it holds the process up.
    pub fn of(target: &TargetProcess) -> Option<MemoryDump> {
        let memory = target.memory_usage().ok()?;
        Some(MemoryDump {
            rss_bytes: memory.rss_bytes,
            peak_rss_bytes: Some(memory.peak_rss_bytes),
            threads: Some(memory.threads).filter(|threads| *threads > 0),
            shares: target.memory_shares().ok(),
            swap_bytes: memory.swap_bytes,
            limit: target.memory_limit(),
            age: target.age().ok(),
            faults: target.page_faults().ok(),
            open_files: target.open_files().ok(),
            max_open_files: target.max_open_files(),
        })
    }

    /// By how many bytes the RSS has grown in a minute, as an average over the process's life; `None`
    /// when it is younger than a minute.
    pub fn growth_per_minute(&self) -> Option<f64> {
        let minutes = self.age.filter(|age| *age >= A_MINUTE)?.as_secs_f64() / 60.0;
        #[allow(
            clippy::cast_precision_loss,
            reason = "53 bits of bytes are 8 PiB, and the time is less exact"
        )]
        Some(self.rss_bytes as f64 / minutes)
    }
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
pub(crate) mod samples {
    //! One dump that has every feature, for the tests of both printers.

    use std::sync::Arc;
    use std::time::Duration;

    use super::{FrameDump, InterpreterGil, Local, MemoryDump, ProcessDump, ThreadDump};
    use crate::cpython::code::frame_table::{Columns, Frame};
    use crate::cpython::stack::trace::ThreadInfo;
    use crate::os::process::usage::PageFaults;
    use crate::os::procfs::cgroup::{MemoryLimit, Version};
    use crate::os::procfs::smaps::MemoryFootprint;

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
                shares: Some(MemoryFootprint {
                    pss_bytes: 54_840_525,
                    uss_bytes: 52_533_657,
                    swap_bytes: 0,
                }),
                swap_bytes: Some(1 << 20),
                limit: Some(MemoryLimit {
                    group: "/docker/a\x1b[31m".into(),
                    version: Version::V2,
                    limit_bytes: 512 << 20,
                    used_bytes: 104 << 20,
                    reclaimable_bytes: 8 << 20,
                }),
                age: Some(Duration::from_secs(2_830)),
                faults: Some(PageFaults {
                    minor: 15_321,
                    major: 3,
                }),
                open_files: Some(14),
                max_open_files: Some(1024),
            }),
            core: None,
            interpreters: vec![InterpreterGil {
                id: 0,
                gil: Some(0),
            }],
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
