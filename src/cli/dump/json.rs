//! `dump --format json`: all of a dump. The schema, version 1:
//!
//! ```text
//! {
//!   "schema": 1,               changes when a key goes or changes its meaning; keys may be added
//!   "processes": [{            the requested process, then with -s its descendants
//!     "pid": 8172,
//!     "parent_pid": null,      for a descendant: its parent
//!     "command": ["python3.15", "app.py", "30"],
//!     "executable": "/usr/bin/python3.15",
//!     "version": "3.15.2",     CPython's
//!     "memory": {              null when the system does not report it
//!       "rss_bytes": 59873690,
//!       "peak_rss_bytes": 63963136,    or null
//!       "os_threads": 9,       or null; including those without Python. All below can be null too:
//!       "pss_bytes": 54840525,         pages that N processes share count as an Nth
//!       "uss_bytes": 52533657,         pages that are not shared
//!       "swap_bytes": 1048576,
//!       "age_seconds": 2830.0,         since it started
//!       "rss_bytes_per_minute": 1269407.5,    on average since then; null in the first minute, and
//!                              for a process that was forked without an exec
//!       "minor_faults": 15321,         page faults since then, without and with a disk
//!       "major_faults": 3,
//!       "minor_faults_per_second": 5.41,      on average since then
//!       "major_faults_per_second": 0.00106,
//!       "open_files": 14,
//!       "max_open_files": 1024,        null also for no limit
//!       "limit": {             the cgroup limit, its own or an ancestor's, with the least left
//!         "cgroup": "/docker/abc",
//!         "cgroup_version": 2,         or 1
//!         "limit_bytes": 536870912,
//!         "used_bytes": 109051904,     by all processes of the group, including page cache
//!         "reclaimable_bytes": 8388608,       of that, freed under memory pressure
//!         "left_bytes": 436207616      limit - (used - reclaimable)
//!       }
//!     },
//!     "core": {                null for a running process
//!       "file": "core.8172",
//!       "written_by": "kernel",        or "gdb"
//!       "size_bytes": 14458880,
//!       "missing_bytes": 0,    bytes missing at the end of a truncated file
//!       "os_threads": 9,       including those without Python
//!       "signal": {            null when no signal ended it
//!         "number": 11,
//!         "name": "SIGSEGV",
//!         "code": 1,           si_code of sigaction(2)
//!         "address": 8,        of a fault, else null
//!         "sender_pid": null,  these two of a signal that was sent
//!         "sender_uid": null,
//!         "os_thread_id": 8172         the thread that received it
//!       }
//!     },
//!     "interpreters": [{       all, oldest first; [] when not readable
//!       "id": 0,               0 is the main one
//!       "gil": 0,              the interpreter whose GIL it uses, its own or the main one's; null in
//!                              a free-threaded build that runs without one
//!       "gil_holder": 8172     the os_thread_id, or null
//!     }],
//!     "threads": [{            the Python threads, in the order of the text
//!       "thread_id": 139704207996608,  threading.Thread.ident, the pthread
//!       "os_thread_id": 8172,  null when unknown
//!       "thread_name": "MainThread",   or null
//!       "active": true,        on a CPU or waiting for one; null in a core file, where it is unknown
//!       "owns_gil": true,
//!       "main": true,
//!       "ended": false,        its OS thread has ended, and only the interpreter's state of it is left
//!       "system_call": null,   in a core file: its number
//!       "collecting": false,   runs a garbage collection
//!       "interpreter_ids": [0],        of the frames, the most recently entered first
//!       "frames": [{           leaf first
//!         "name": "leaf",      qualified from CPython 3.11 on
//!         "filename": "/srv/app.py",
//!         "short_filename": "app.py",  the part below the import root
//!         "line": 11,          from 1; null where the code has none
//!         "first_line": 10,    of the function
//!         "column": 4,         these three from CPython 3.11 on, else null: bytes from 0
//!         "end_line": 12,
//!         "end_column": 9,     the one after the last
//!         "locals_consistent": true,   these two only with -l: the thread did not run while they were
//!         "locals_omitted": false,     read; they were left out (see the errors)
//!         "locals": [{         null without -l
//!           "name": "n",
//!           "arg": true,       a parameter of the function
//!           "repr": "0"        bounded; "<redacted>" for names of secrets
//!         }]
//!       }]
//!     }],
//!     "errors": ["…"]          threads of this process that could not be read
//!   }],
//!   "errors": ["…"]            descendants that could not be read
//! }
//! ```
//!
//! Threads, frames and locals use py-spy's keys where py-spy has them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Write};

use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::core_json::{self, Core};
use super::model::{CoreDump, FrameDump, MemoryDump, ProcessDump, ThreadDump};
use crate::cpython::stack::trace::ThreadInfo;
use crate::cpython::values::locals;
use crate::os::procfs::cgroup::hierarchy::Version;
use crate::sampler::capture::locals::LocalsState;
use crate::text::escape::SafeJson;

/// The version of the schema.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a, P> {
    schema: u32,
    processes: P,
    errors: &'a RefCell<Vec<String>>,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: i32,
    parent_pid: Option<i32>,
    command: &'a [String],
    executable: &'a str,
    version: &'a str,
    memory: Option<Memory<'a>>,
    core: Option<Core<'a>>,
    interpreters: Vec<Interpreter>,
    threads: Vec<Thread<'a>>,
    errors: &'a [String],
}

#[derive(Serialize)]
struct Interpreter {
    id: i64,
    gil: Option<i64>,
    gil_holder: Option<i32>,
}

#[derive(Serialize)]
struct Memory<'a> {
    rss_bytes: u64,
    peak_rss_bytes: Option<u64>,
    os_threads: Option<u64>,
    pss_bytes: Option<u64>,
    uss_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    age_seconds: Option<f64>,
    rss_bytes_per_minute: Option<f64>,
    minor_faults: Option<u64>,
    major_faults: Option<u64>,
    minor_faults_per_second: Option<f64>,
    major_faults_per_second: Option<f64>,
    open_files: Option<u64>,
    max_open_files: Option<u64>,
    limit: Option<Limit<'a>>,
}

#[derive(Serialize)]
struct Limit<'a> {
    cgroup: Cow<'a, str>,
    cgroup_version: u8,
    limit_bytes: u64,
    used_bytes: u64,
    reclaimable_bytes: u64,
    left_bytes: u64,
}

#[derive(Serialize)]
struct Thread<'a> {
    thread_id: u64,
    os_thread_id: Option<i32>,
    thread_name: Option<&'a str>,
    active: Option<bool>,
    owns_gil: bool,
    #[serde(flatten)]
    extras: ThreadExtras<'a>,
    frames: Vec<Frame<'a>>,
}

/// Keys of a thread that py-spy does not have.
#[derive(Serialize)]
pub(super) struct ThreadExtras<'a> {
    main: bool,
    ended: bool,
    system_call: Option<u32>,
    collecting: bool,
    interpreter_ids: &'a [i64],
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    filename: &'a str,
    short_filename: &'a str,
    line: Option<u32>,
    #[serde(flatten)]
    extras: FrameExtras,
    locals: Option<Vec<Local<'a>>>,
}

/// Keys of a frame that py-spy does not have.
#[derive(Serialize)]
pub(super) struct FrameExtras {
    first_line: u32,
    column: Option<u32>,
    end_line: Option<u32>,
    end_column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locals_consistent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locals_omitted: Option<bool>,
}

#[derive(Serialize)]
struct Local<'a> {
    name: &'a str,
    arg: bool,
    repr: &'a str,
}

/// Prints the processes, parents first, each as soon as it comes; then the errors, which may be added
/// meanwhile.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(
    out: &mut impl Write,
    processes: impl Iterator<Item = ProcessDump>,
    errors: &RefCell<Vec<String>>,
) -> io::Result<()> {
    let document = Document {
        schema: SCHEMA,
        processes: Coming(RefCell::new(processes)),
        errors,
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, SafeJson::default());
    document.serialize(&mut serializer)?;
    writeln!(out)
}

/// Processes that are dumped while they are written.
struct Coming<I>(RefCell<I>);

impl<I: Iterator<Item = ProcessDump>> Serialize for Coming<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        for dump in &mut *self.0.borrow_mut() {
            array.serialize_element(&process(&dump))?;
        }
        array.end()
    }
}

fn process(process: &ProcessDump) -> Process<'_> {
    Process {
        pid: process.pid,
        parent_pid: process.parent.as_ref().map(|(pid, _)| *pid),
        interpreters: process
            .interpreters
            .iter()
            .map(|interpreter| Interpreter {
                id: interpreter.id,
                gil: interpreter.gil,
                gil_holder: process.gil_holder(*interpreter),
            })
            .collect(),
        command: &process.command,
        executable: &process.executable,
        version: &process.version,
        memory: process.memory.as_ref().map(memory),
        core: process.core.as_ref().map(core_json::core),
        threads: process
            .threads
            .iter()
            .map(|one| thread(one, process.core.as_ref()))
            .collect(),
        errors: &process.errors,
    }
}

fn memory(memory: &MemoryDump) -> Memory<'_> {
    let seconds = memory.age.map(|age| age.as_secs_f64());
    #[allow(
        clippy::cast_precision_loss,
        reason = "an average over a length of time"
    )]
    let per_second = |count: u64| Some(count as f64 / seconds.filter(|seconds| *seconds > 0.0)?);
    let (shares, faults) = (memory.shares, memory.faults);
    Memory {
        rss_bytes: memory.rss_bytes,
        peak_rss_bytes: memory.peak_rss_bytes,
        os_threads: memory.threads,
        pss_bytes: shares.map(|shares| shares.pss_bytes),
        uss_bytes: shares.map(|shares| shares.uss_bytes),
        swap_bytes: memory.swap_bytes,
        age_seconds: seconds,
        rss_bytes_per_minute: memory.growth_per_minute(),
        minor_faults: faults.map(|faults| faults.minor),
        major_faults: faults.map(|faults| faults.major),
        minor_faults_per_second: faults.and_then(|faults| per_second(faults.minor)),
        major_faults_per_second: faults.and_then(|faults| per_second(faults.major)),
        open_files: memory.open_files,
        max_open_files: memory.max_open_files,
        limit: memory.limit.as_ref().map(|limit| Limit {
            cgroup: limit.group.to_string_lossy(),
            cgroup_version: match limit.version {
                Version::V1 => 1,
                Version::V2 => 2,
            },
            limit_bytes: limit.limit_bytes,
            used_bytes: limit.used_bytes,
            reclaimable_bytes: limit.reclaimable_bytes,
            left_bytes: limit.left_bytes(),
        }),
    }
}

impl<'a> ThreadExtras<'a> {
    pub(super) fn of(info: &'a ThreadInfo, core: Option<&CoreDump>) -> ThreadExtras<'a> {
        let call = core.and_then(|core| core.system_call_of(info.os_thread_id));
        ThreadExtras {
            main: info.is_main,
            ended: info.has_ended,
            system_call: call.flatten(),
            collecting: info.collecting,
            interpreter_ids: &info.interpreter_ids,
        }
    }
}

fn thread<'a>(thread: &'a ThreadDump, core: Option<&CoreDump>) -> Thread<'a> {
    let info = &thread.info;
    Thread {
        thread_id: info.pthread_id,
        os_thread_id: info.os_thread_id,
        thread_name: info.name.as_deref(),
        active: core.is_none().then_some(info.active),
        owns_gil: info.owns_gil,
        extras: ThreadExtras::of(info, core),
        frames: thread.frames.iter().map(frame).collect(),
    }
}

impl FrameExtras {
    pub(super) fn of(dump: &FrameDump) -> FrameExtras {
        let frame = &dump.frame;
        let state = dump.locals.as_ref().map(|locals| locals.state);
        FrameExtras {
            first_line: frame.first_line,
            column: frame.columns.map(|columns| columns.start),
            end_line: frame.columns.map(|columns| columns.end_line),
            end_column: frame.columns.map(|columns| columns.end),
            locals_consistent: state.map(|state| state == LocalsState::Consistent),
            locals_omitted: state.map(|state| state == LocalsState::Omitted),
        }
    }
}

fn frame(dump: &FrameDump) -> Frame<'_> {
    let frame = &dump.frame;
    Frame {
        name: &frame.name,
        filename: &frame.filename,
        short_filename: &frame.short_filename,
        line: frame.line,
        locals: dump
            .locals
            .as_ref()
            .map(|locals| locals.variables.iter().map(local).collect()),
        extras: FrameExtras::of(dump),
    }
}

fn local(local: &locals::Local) -> Local<'_> {
    Local {
        name: &local.name,
        arg: local.is_argument,
        repr: &local.value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::dump::samples;

    #[test]
    fn follows_the_schema() -> Result<(), serde_json::Error> {
        let mut child = samples::process();
        child.parent = Some((8172, vec![]));
        let mut out = Vec::new();
        // It becomes known while the processes are written.
        let errors = RefCell::default();
        let processes = [samples::process(), child].into_iter().inspect(|_| {
            errors.replace(vec!["process 8300: gone".to_owned()]);
        });
        assert!(write(&mut out, processes, &errors).is_ok());
        // The name's bell and direction override do not reach a terminal.
        let text = String::from_utf8_lossy(&out);
        assert!(!text.contains(['\u{202e}', '\x1b', '\x07']), "{text}");

        let value: Value = serde_json::from_slice(&out)?;
        let at = |path: &str| value.pointer(path).cloned().unwrap_or_default();
        assert_eq!(at("/schema"), json!(1));
        assert_eq!(at("/errors"), json!(["process 8300: gone"]));
        assert_eq!(at("/processes/0/parent_pid"), json!(null));
        assert_eq!(at("/processes/1/parent_pid"), json!(8172));
        assert_eq!(at("/processes/0/memory/rss_bytes"), json!(59_873_690));
        assert_eq!(at("/processes/0/errors"), json!(["thread 9: torn"]));
        assert_eq!(
            at("/processes/0/interpreters"),
            json!([{"id": 0, "gil": 0, "gil_holder": 8172}])
        );
        let memory = at("/processes/0/memory");
        let key = |name: &str| memory.get(name).cloned().unwrap_or_default();
        assert_eq!(key("pss_bytes"), json!(54_840_525));
        assert_eq!(key("uss_bytes"), json!(52_533_657));
        assert_eq!(key("swap_bytes"), json!(1 << 20));
        assert_eq!(key("major_faults"), json!(3));
        assert_eq!(key("open_files"), json!(14));
        assert_eq!(
            key("limit"),
            json!({
                "cgroup": "/docker/a\u{1b}[31m", "cgroup_version": 2, "limit_bytes": 512 << 20,
                "used_bytes": 104 << 20, "reclaimable_bytes": 8 << 20, "left_bytes": 416 << 20,
            })
        );
        for (name, expected) in [
            ("age_seconds", 2_830.0),
            ("rss_bytes_per_minute", 59_873_690.0 * 60.0 / 2_830.0),
            ("minor_faults_per_second", 15_321.0 / 2_830.0),
            ("major_faults_per_second", 3.0 / 2_830.0),
        ] {
            let close = |value: f64| (value / expected - 1.0).abs() < 1e-9;
            assert!(
                key(name).as_f64().is_some_and(close),
                "{name}: {}",
                key(name)
            );
        }
        let thread = at("/processes/0/threads/0");
        assert_eq!(thread.get("thread_name"), Some(&json!("MainThread")));
        assert_eq!(
            at("/processes/0/threads/0/frames/0"),
            json!({
                "name": "leaf", "filename": "/srv/app.py", "short_filename": "app.py",
                "line": 11, "first_line": 10, "column": 4, "end_line": 12, "end_column": 9,
                "locals": [
                    {"name": "n", "arg": true, "repr": "0"},
                    {"name": "s", "arg": true, "repr": "\"a\u{1b}[31m\""},
                    {"name": "loc", "arg": false, "repr": "1.5"},
                ],
                "locals_consistent": true, "locals_omitted": false,
            })
        );
        assert_eq!(at("/processes/0/threads/0/frames/1/locals"), json!(null));
        // Without -l the document is as it was before there were these keys.
        let without = at("/processes/0/threads/0/frames/1");
        assert!(without.get("locals_consistent").is_none() && without.is_object());
        assert_eq!(
            at("/processes/0/threads/1/frames/0/name"),
            json!("evil\u{202e}\n")
        );
        Ok(())
    }
}
