//! The JSON of a dump of a core file.

use serde::Serialize;

use super::model::CoreDump;
use crate::os::core_file::Writer;
use crate::os::core_file::signal::Origin;

/// The key `core` of a process; see [`json`](super::json).
#[derive(Serialize)]
pub(crate) struct Core<'a> {
    file: &'a str,
    written_by: &'static str,
    size_bytes: u64,
    missing_bytes: u64,
    os_threads: usize,
    signal: Option<CoreSignal>,
}

#[derive(Serialize)]
struct CoreSignal {
    number: i32,
    name: String,
    code: i32,
    address: Option<u64>,
    sender_pid: Option<i32>,
    sender_uid: Option<u32>,
    os_thread_id: i32,
}

pub(crate) fn core(core: &CoreDump) -> Core<'_> {
    Core {
        file: &core.file,
        written_by: match core.writer {
            Writer::Kernel => "kernel",
            Writer::Gdb => "gdb",
        },
        size_bytes: core.size_bytes,
        missing_bytes: core.whole_size_bytes.saturating_sub(core.size_bytes),
        os_threads: core.system_calls.len(),
        signal: core.signal.map(|(signal, os_thread_id)| {
            let (address, sender) = match signal.origin {
                Origin::Fault(address) => (Some(address), None),
                Origin::Process { pid, uid } => (None, Some((pid, uid))),
                Origin::Kernel => (None, None),
            };
            CoreSignal {
                number: signal.number,
                name: signal.name(),
                code: signal.code,
                address,
                sender_pid: sender.map(|(pid, _)| pid),
                sender_uid: sender.map(|(_, uid)| uid),
                os_thread_id,
            }
        }),
    }
}
