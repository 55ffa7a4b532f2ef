//! A dump with every feature, for the tests of both printers.

use std::sync::Arc;
use std::time::Duration;

use super::model::{FrameDump, LocalsDump, MemoryDump, ProcessDump, ThreadDump};
use crate::cpython::code::frame_table::{Columns, Frame};
use crate::cpython::stack::trace::ThreadInfo;
use crate::cpython::threads::gil::InterpreterGil;
use crate::cpython::values::locals::Local;
use crate::os::memory::address::RemoteAddr;
use crate::os::process::usage::PageFaults;
use crate::os::procfs::cgroup::hierarchy::Version;
use crate::os::procfs::cgroup::memory::MemoryLimit;
use crate::os::procfs::smaps::MemoryFootprint;
use crate::sampler::capture::locals::LocalsState;

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
        called_by_c: false,
        locals: None,
    }
}

fn local(name: &str, value: &str, is_argument: bool) -> Local {
    Local {
        name: name.to_owned(),
        value: value.to_owned(),
        addr: RemoteAddr(0x7f0f_6c3c_0010),
        is_argument,
    }
}

// Long: one literal.
pub fn process() -> ProcessDump {
    let main = ThreadInfo {
        os_thread_id: Some(8172),
        pthread_id: 0x7f0f_6c3c_a990,
        name: Some(Arc::from("MainThread")),
        interpreter_ids: vec![0],
        active: true,
        owns_gil: true,
        collecting: false,
        has_ended: false,
        waits_for_cpu: false,
        is_main: true,
        time_ns: None,
        faults: None,
    };
    let unknown = ThreadInfo {
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
    leaf.locals = Some(LocalsDump {
        variables: vec![
            local("n", "0", true),
            local("s", "\"a\x1b[31m\"", true),
            local("loc", "1.5", false),
        ],
        state: LocalsState::Consistent,
    });
    let mut method = frame("Thing.method", "pkg/mod.py", Some(20));
    method.called_by_c = true;
    let mut module = frame("<module>", "app.py", Some(31));
    module.locals = Some(LocalsDump {
        variables: Vec::new(),
        state: LocalsState::Consistent,
    });
    ProcessDump {
        pid: 8172,
        parent: None,
        command: vec!["python3.15".into(), "app.py".into(), "30".into()],
        version: "3.15.2".into(),
        has_shims: true,
        executable: "/usr/bin/python3.15".into(),
        memory: Some(MemoryDump {
            rss_bytes: 59_873_690,
            peak_rss_bytes: Some(63_963_136),
            threads: Some(9),
            shares: Some(MemoryFootprint {
                pss_bytes: 54_840_525,
                uss_bytes: 52_533_657,
                swap_bytes: 0,
                ..MemoryFootprint::default()
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
            was_forked: false,
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
                frames: vec![leaf, method, module],
            },
            ThreadDump {
                info: unknown,
                frames: vec![frame("evil\u{202e}\n", "a\x07.py", None)],
            },
        ],
        errors: vec!["thread 9: torn".into()],
    }
}
