//! The text of a dump of a core file: a line about the file, one about the signal, and the threads'
//! states.

use super::model::{CoreDump, ProcessDump};
use crate::cpython::stack::trace::ThreadInfo;
use crate::os::core_file::Writer;
use crate::os::core_file::signal::Origin;
use crate::os::core_file::syscall_names::name as system_call_name;
use crate::text::escape::for_terminal;
use crate::text::units::mib;

/// The lines below Python's version; none for a running process.
pub(crate) fn lines(process: &ProcessDump) -> Vec<String> {
    let Some(core) = &process.core else {
        return Vec::new();
    };
    let writer = match core.writer {
        Writer::Kernel => "the kernel",
        Writer::Gdb => "gdb",
    };
    let count = core.system_calls.len();
    let mut file = format!(
        "Core file: {}, {} by {writer}, {count} thread{}",
        for_terminal(&core.file),
        mib(core.size_bytes),
        if count == 1 { "" } else { "s" }
    );
    if core.whole_size_bytes > core.size_bytes {
        file += &format!(", truncated from {}", mib(core.whole_size_bytes));
    }
    let mut lines = vec![file];
    if let Some((signal, tid)) = core.signal {
        let what = match signal.origin {
            Origin::Process { pid, .. } if pid == process.pid => {
                format!("{} raised by itself", signal.name())
            }
            _ => signal.to_string(),
        };
        let mut python = process.threads.iter();
        let is_python = python.any(|thread| thread.info.os_thread_id == Some(tid));
        let is_whole = process.errors.is_empty();
        let note = if is_python || !is_whole {
            ""
        } else {
            ", which runs no Python"
        };
        lines.push(format!("Signal: {what}, received by thread {tid}{note}"));
    }
    lines
}

/// A thread's state: its signal, the GIL, a collection, a system call. A thread outside of system calls,
/// by its registers, was running or waited for a CPU.
pub(crate) fn state(info: &ThreadInfo, core: &CoreDump) -> String {
    let signal = core.signal_of(info.os_thread_id);
    let call = core.system_call_of(info.os_thread_id);
    let mut words: Vec<String> = signal.iter().map(|signal| signal.name()).collect();
    words.extend(info.has_ended.then(|| "ended".to_owned()));
    words.extend(info.owns_gil.then(|| "gil".to_owned()));
    words.extend(info.collecting.then(|| "gc".to_owned()));
    match call.filter(|_| signal.is_none()) {
        Some(Some(call)) => words.push(match system_call_name(call) {
            Some(name) => format!("in {name}"),
            None => format!("in system call {call}"),
        }),
        Some(None) => words.push("running".to_owned()),
        None if words.is_empty() => words.push("unknown".to_owned()),
        None => {}
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dump::samples;
    use crate::os::core_file::signal::Signal;

    #[test]
    fn shows_the_signal_and_the_threads_states() {
        let mut process = samples::process();
        let signal = Signal {
            number: 11,
            code: 1,
            origin: Origin::Fault(8),
        };
        let core = CoreDump {
            file: "core\x1b".into(),
            writer: Writer::Kernel,
            size_bytes: 3 << 20,
            whole_size_bytes: 4 << 20,
            signal: Some((signal, 8172)),
            system_calls: [(8172, None), (8175, Some(202)), (8176, None)].into(),
        };
        process.core = Some(core.clone());
        assert_eq!(
            lines(&process),
            [
                "Core file: core\\x1b, 3.0 MiB by the kernel, 3 threads, truncated from 4.0 MiB",
                "Signal: SIGSEGV at address 0x8, which is not mapped, received by thread 8172",
            ]
        );
        let mut info = process.threads.remove(0).info;
        let mut text = |tid, owns_gil| {
            info.os_thread_id = tid;
            info.owns_gil = owns_gil;
            state(&info, &core)
        };
        assert_eq!(text(Some(8172), true), "SIGSEGV, gil");
        assert_eq!(text(Some(8175), false), "in futex");
        assert_eq!(text(Some(8175), true), "gil, in futex");
        assert_eq!(text(Some(8176), false), "running");
        assert_eq!(text(None, false), "unknown");
        assert_eq!(text(None, true), "gil");
        let ends_with = |process: &ProcessDump, end: &str| {
            lines(process)
                .last()
                .is_some_and(|line| line.ends_with(end))
        };
        process.threads.clear();
        // Its stack may be the one that could not be read.
        assert!(ends_with(&process, "by thread 8172"));
        process.errors.clear();
        assert!(ends_with(&process, "8172, which runs no Python"));
    }
}
