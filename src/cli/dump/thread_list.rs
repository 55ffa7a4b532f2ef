//! `dump --json`: the list of threads that py-spy prints, for programs that read it.
//!
//! ```text
//! [{
//!   "pid": 8172,
//!   "thread_id": 139704207996608,  threading.Thread.ident, the pthread
//!   "thread_name": "MainThread",   or null
//!   "os_thread_id": 8172,      null when unknown
//!   "active": true,            on a CPU or waiting for one; true in a core file, where it is unknown
//!   "owns_gil": true,
//!   "frames": [{               leaf first
//!     "name": "leaf",          qualified from CPython 3.11 on
//!     "filename": "/srv/app.py",
//!     "module": null,          always: py-spy has the library of a native frame here
//!     "short_filename": "app.py",  the part below the import root
//!     "line": 11,              0 where the code has none
//!     "locals": [{             null without -l
//!       "name": "n",
//!       "addr": 139704207990800,   of the object; 0 for an int without one (3.14+)
//!       "arg": true,           a parameter of the function
//!       "repr": "0"            bounded; "<redacted>" for names of secrets
//!     }],
//!     "is_entry": false,       C called it; up to 3.10 always true, from 3.12 on always false
//!     "is_shim_entry": false   its caller is a shim (3.12+), or it is the root
//!   }],
//!   "process_info": null       always: py-spy fills it in recordings only
//! }]
//! ```
//!
//! Keys, their order and the order of threads are those of py-spy 0.4.3 (`StackTrace`, `Frame` and
//! `LocalVariable` in its `src/stack_trace.rs`), that is, the newest thread first, which is the reverse of the
//! text. Behind them are keys of our own, which [`json`](super::json) describes. With `-s` it is one list for
//! all processes. What could not be read is not in it.

use std::io::{self, Write};

use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer as _};

use super::json::{FrameExtras, ThreadExtras};
use super::model::{FrameDump, ProcessDump, ThreadDump};
use crate::cpython::values::locals;
use crate::text::escape::SafeJson;

#[derive(Serialize)]
struct Thread<'a> {
    pid: i32,
    thread_id: u64,
    thread_name: Option<&'a str>,
    os_thread_id: Option<i32>,
    active: bool,
    owns_gil: bool,
    frames: Vec<Frame<'a>>,
    process_info: (),
    #[serde(flatten)]
    extras: ThreadExtras<'a>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    filename: &'a str,
    module: (),
    short_filename: &'a str,
    line: u32,
    locals: Option<Vec<Local<'a>>>,
    is_entry: bool,
    is_shim_entry: bool,
    #[serde(flatten)]
    extras: FrameExtras,
}

#[derive(Serialize)]
struct Local<'a> {
    name: &'a str,
    addr: u64,
    arg: bool,
    repr: &'a str,
}

/// Prints the threads of all processes, parents first, each as soon as it comes.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, processes: impl Iterator<Item = ProcessDump>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, SafeJson::default());
    let mut list = serializer.serialize_seq(None)?;
    for process in processes {
        for one in process.threads.iter().rev() {
            list.serialize_element(&thread(&process, one))?;
        }
    }
    list.end()?;
    writeln!(out)
}

fn thread<'a>(process: &'a ProcessDump, dump: &'a ThreadDump) -> Thread<'a> {
    let core = process.core.as_ref();
    let info = &dump.info;
    let root = dump.frames.len().saturating_sub(1);
    let frames = dump.frames.iter().enumerate();
    Thread {
        pid: process.pid,
        thread_id: info.pthread_id,
        thread_name: info.name.as_deref(),
        os_thread_id: info.os_thread_id,
        active: core.is_some() || info.active,
        owns_gil: info.owns_gil,
        frames: frames
            .map(|(number, one)| frame(one, process.has_shims, number == root))
            .collect(),
        process_info: (),
        extras: ThreadExtras::of(info, core),
    }
}

fn frame(dump: &FrameDump, has_shims: bool, is_root: bool) -> Frame<'_> {
    let frame = &dump.frame;
    let locals = dump.locals.as_ref();
    Frame {
        name: &frame.name,
        filename: &frame.filename,
        module: (),
        short_filename: &frame.short_filename,
        line: frame.line.unwrap_or(0),
        locals: locals.map(|locals| locals.variables.iter().map(local).collect()),
        is_entry: dump.called_by_c && !has_shims,
        is_shim_entry: is_root || dump.called_by_c && has_shims,
        extras: FrameExtras::of(dump),
    }
}

fn local(local: &locals::Local) -> Local<'_> {
    Local {
        name: &local.name,
        addr: local.addr.0,
        arg: local.is_argument,
        repr: &local.value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::dump::samples;

    fn written(processes: impl IntoIterator<Item = ProcessDump>) -> String {
        let mut out = Vec::new();
        assert!(write(&mut out, processes.into_iter()).is_ok());
        String::from_utf8_lossy(&out).into_owned()
    }

    fn keys(object: &Value) -> Vec<&str> {
        let keys = object.as_object().into_iter().flatten();
        keys.map(|(key, _)| key.as_str()).collect()
    }

    /// py-spy's keys come first and in its order: programs that show JSON as it comes show the same.
    #[test]
    fn has_the_keys_of_py_spy_in_their_order() -> Result<(), serde_json::Error> {
        let text = written([samples::process()]);
        let order = |keys: &[&str]| {
            let places = keys.iter().map(|key| text.find(&format!("\"{key}\": ")));
            let places: Vec<_> = places.collect();
            assert!(places.iter().all(Option::is_some), "{keys:?}: {text}");
            assert!(places.is_sorted(), "{keys:?} at {places:?}: {text}");
        };
        // "frames" ends after the first thread's.
        order(&[
            "pid",
            "thread_id",
            "thread_name",
            "os_thread_id",
            "active",
            "owns_gil",
            "frames",
            "name",
            "filename",
            "module",
            "short_filename",
            "line",
            "locals",
            "is_entry",
            "is_shim_entry",
            "first_line",
            "process_info",
            "main",
        ]);
        order(&["addr", "arg", "repr"]);
        let list: Value = serde_json::from_str(&text)?;
        let thread = list.pointer("/1").cloned().unwrap_or_default();
        assert_eq!(
            keys(&thread).len(),
            8 + [
                "main",
                "ended",
                "system_call",
                "collecting",
                "interpreter_ids"
            ]
            .len()
        );
        Ok(())
    }

    #[test]
    fn is_one_list_with_the_newest_thread_first() -> Result<(), serde_json::Error> {
        let child = ProcessDump {
            pid: 8300,
            ..samples::process()
        };
        let list: Value = serde_json::from_str(&written([samples::process(), child]))?;
        let at = |path: &str| list.pointer(path).cloned().unwrap_or_default();
        let pids: Vec<Value> = (0..4).map(|index| at(&format!("/{index}/pid"))).collect();
        assert_eq!(pids, [8172, 8172, 8300, 8300]);
        assert_eq!(at("/0/thread_name"), json!(null));
        assert_eq!(at("/1/thread_name"), json!("MainThread"));
        assert_eq!(at("/0/frames/0/line"), json!(0));
        assert_eq!(at("/0/frames/0/locals"), json!(null));
        let local = json!({"name": "n", "addr": 0x7f0f_6c3c_0010_u64, "arg": true, "repr": "0"});
        assert_eq!(at("/1/frames/0/locals/0"), local);
        let entries = |index: usize| {
            let frame = |key| at(&format!("/1/frames/{index}/{key}"));
            (frame("is_entry"), frame("is_shim_entry"))
        };
        assert_eq!(entries(0), (json!(false), json!(false)));
        // C called it.
        assert_eq!(entries(1), (json!(false), json!(true)));
        // The root.
        assert_eq!(entries(2), (json!(false), json!(true)));
        assert_eq!(written([]), "[]\n");
        Ok(())
    }

    /// Up to 3.11 there are no shims.
    #[test]
    fn marks_entries_as_py_spy_does_where_there_are_no_shims() {
        let text = written([ProcessDump {
            has_shims: false,
            ..samples::process()
        }]);
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let frames = list.pointer("/1/frames").cloned().unwrap_or_default();
        let frames = frames.as_array().cloned().unwrap_or_default();
        let flags = |key: &str| {
            frames
                .iter()
                .map(|frame| frame[key].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(flags("is_entry"), [false, true, false]);
        assert_eq!(flags("is_shim_entry"), [false, false, true]);
    }
}
