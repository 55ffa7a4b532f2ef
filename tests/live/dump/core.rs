//! `dump --core`: what a core file shows is what the program reported before it was dumped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cores::{crash, dump_by_gdb, exe_of, kernel_dumps, start};
use crate::support::{Dump, Target, for_each_interpreter, for_each_kind, pyspy_rs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyspy_rs::internals::{CoreFile, CoreOptions};

fn assert_victim(dump: &Dump) {
    let victim = dump.thread("victim");
    let frame = victim.frame("victim");
    let local = |name: &str| frame.local(name).trim_start_matches('u').to_owned();
    assert_eq!(local("count"), "42");
    assert_eq!(local("text").replace('"', "'"), "'crash me'");
    assert_eq!(local("password"), "<redacted>");
    assert_eq!(
        local("items").replace('"', "'"),
        "[42, 'crash me', None, 2.5]"
    );
}

#[test]
fn cores_by_the_kernel() {
    if !kernel_dumps() {
        return;
    }
    for_each_interpreter("core-kernel", .., |python| {
        let dumped = crash(python);
        let exe = exe_of(python);
        let arguments: Vec<&str> = exe.iter().flat_map(|exe| ["--exe", exe]).collect();
        let dump = dumped.dump(&[&["-l"], &*arguments].concat());
        assert_eq!(dump.version, python.version.to_string());
        assert_victim(&dump);
        // All of the words, and more than the kernel stores in cores.
        let folder = dumped.place.seen.to_str().unwrap();
        assert_eq!(dump.command.last().map(String::as_str), Some(folder));
        assert!(dump.command.concat().len() > 80, "{:?}", dump.command);
        let name = match python.version.minor_pair() < (3, 3) {
            true => "MainThread",
            false => "victim",
        };
        let hit = dumped.truth.thread(name).native_id;
        let core = &dump.json["core"];
        assert_eq!(core["written_by"], "kernel");
        assert_eq!(core["missing_bytes"], 0);
        assert_eq!(core["os_threads"], dump.threads.len());
        assert_eq!(core["signal"]["name"], "SIGSEGV");
        assert_eq!(core["signal"]["sender_pid"], std::process::id());
        assert_eq!(core["signal"]["os_thread_id"].as_u64(), hit);
        let text = dumped.text(&arguments);
        let hit = hit.unwrap();
        let line = format!("Thread {hit} (SIGSEGV): \"{name}\"\n");
        assert!(text.contains(&line), "{text}");
        let line = format!("(uid 0), received by thread {hit}\n");
        if nix::unistd::getuid().is_root() {
            assert!(text.contains(&line), "{text}");
        }
        if let Some(root) = python.root.as_ref().and_then(|root| root.to_str()) {
            assert_victim(&dumped.dump(&["-l", "--sysroot", root]));
        }
        // On another machine than the one that it crashed on there may be no Python at all.
        let empty = tempfile::tempdir().unwrap();
        let root = empty.path().to_str().unwrap();
        let dump = dumped.dump(&["--sysroot", root]);
        assert_eq!(dump.version, python.version.to_string());
    });
}

/// Empties the C stacks of all threads but the main one, as gcore leaves them with glibc 2.42 and later.
fn empty_c_stacks(core: &Path, main: u32) {
    let mut bytes = fs::read(core).unwrap();
    let opened = CoreFile::open(core, &CoreOptions::default()).unwrap();
    let count = usize::from(bytes[56]) + 256 * usize::from(bytes[57]);
    let mut emptied = 0;
    for header in 0..count {
        // p_type, p_offset, p_vaddr and p_filesz of elf(5).
        let at = 64 + 56 * header;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (kind, offset, start, size) = (bytes[at], word(at + 8), word(at + 16), word(at + 32));
        if kind != 1 {
            continue;
        }
        for thread in opened.threads() {
            // The C library's own data of a thread, which this points to, is above its stack.
            let end = thread.fs_base.checked_sub(start);
            let Some(end) = end.filter(|end| *end < size && thread.tid != main.cast_signed())
            else {
                continue;
            };
            let range = offset + end.saturating_sub(256 << 10)..offset + end;
            bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
                .fill(0);
            emptied += 1;
        }
    }
    assert!(emptied >= 4, "{emptied} stacks");
    fs::write(core, bytes).unwrap();
}

#[test]
fn cores_without_c_stacks() {
    if !kernel_dumps() {
        return;
    }
    for_each_interpreter("core-c-stacks", (3, 11).., |python| {
        let dumped = crash(python);
        empty_c_stacks(&dumped.core, dumped.pid);
        if python.version.minor_pair() >= (3, 13) {
            dumped.dump(&[]);
            return;
        }
        // There nothing leads to the leaf frame, and that is reported.
        let dump = Dump::run(dumped.command(&[]).arg("--format=json"));
        assert!(dump.errors.len() >= 4, "{:?}", dump.errors);
        assert!(
            dump.errors[0].contains("frames are missing"),
            "{:?}",
            dump.errors
        );
    });
}

#[test]
fn cores_by_gcore() {
    for_each_kind("core-gcore", |python| {
        let (target, place) = start(python);
        let Some(dumped) = dump_by_gdb(&target, place) else {
            return;
        };
        let dump = dumped.dump(&["-l"]);
        assert_eq!(dump.version, python.version.to_string());
        assert_victim(&dump);
        assert_eq!(dump.json["core"]["written_by"], "gdb");
        assert!(dump.json["core"]["signal"].is_null(), "it lives on");
    });
}

/// The crash that people have: the thread, its line and the address, with the GIL still held.
#[test]
fn a_crash_in_c_is_shown_in_its_line() {
    if !kernel_dumps() {
        return;
    }
    for_each_kind("core-segfault", |python| {
        let place = python.new_place("cores");
        let folder = place.seen.to_str().unwrap();
        let mut target = Target::start(python, "segfault.py", &[folder]);
        target.finish();
        let core = fs::read_dir(&place.host).unwrap().next().unwrap();
        let mut command = pyspy_rs();
        command
            .args(["dump", "-l", "--core"])
            .arg(core.unwrap().path());
        if let Some(root) = &python.root {
            command.arg("--sysroot").arg(root);
        }
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = "Signal: SIGSEGV at address 0x8, which is not mapped, received by thread ";
        let (_, rest) = text.split_once(line).unwrap_or_else(|| panic!("{text}"));
        let hit = rest.lines().next().unwrap();
        let line =
            format!("Thread {hit} (SIGSEGV, gil): \"crasher\"\n    string_at (ctypes/__init__.py:");
        assert!(text.contains(&line), "{text}");
        assert!(text.contains("    crash (segfault.py:15)\n"), "{text}");
        assert!(text.contains("            address: 8\n"), "{text}");
    });
}

/// A stopped process has the same dump from its core, down to the last variable.
#[test]
fn a_core_shows_what_the_process_showed() {
    for_each_kind("core-as-live", |python| {
        let mut fixtures = vec![("locals.py", "")];
        if python.version.minor_pair() >= (3, 12) {
            fixtures.push(("subinterpreters.py", ""));
        }
        // Many chunks of the data stack, and where gdb cannot read C stacks, no link between some.
        if python.version.minor_pair() >= (3, 13) {
            fixtures.push(("recursion.py", "3000"));
        }
        for (fixture, argument) in fixtures {
            let arguments: Vec<&str> = Some(argument)
                .filter(|a| !a.is_empty())
                .into_iter()
                .collect();
            let target = Target::start(python, fixture, &arguments);
            let live = target.dump(&["-l"]);
            let Some(dumped) = dump_by_gdb(&target, python.new_place("cores")) else {
                return;
            };
            let mut command = dumped.command(&["-l", "--format=json"]);
            if let Some(root) = &python.root {
                command.arg("--sysroot").arg(root);
            }
            let dump = Dump::run(&mut command);
            assert!(dump.errors.is_empty(), "{:?}", dump.errors);
            // A thread in two interpreters counted as two, so that there were more than the process had.
            let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
            if let Some((_, count)) = said.split_once("C stacks of ") {
                let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
                let all = dump.json["core"]["os_threads"].as_u64().unwrap();
                assert!(count <= all, "{all} threads: {said}");
            }
            assert_eq!(dump.command, live.command);
            assert_eq!(dump.threads.len(), live.threads.len());
            for (thread, alive) in dump.threads.iter().zip(&live.threads) {
                assert_eq!(thread.os_thread_id, alive.os_thread_id);
                assert_eq!(thread.owns_gil, alive.owns_gil);
                assert_eq!(thread.interpreter_ids, alive.interpreter_ids);
            }
            let frames = |dump: &Dump| -> Vec<serde_json::Value> {
                let threads = dump.json["threads"].as_array().unwrap();
                threads
                    .iter()
                    .map(|thread| thread["frames"].clone())
                    .collect()
            };
            assert!(frames(&dump) == frames(&live), "{fixture}");
        }
    });
}

/// What went wrong, as it is printed.
fn failure(file: &Path, arguments: &[&str]) -> String {
    let mut command = pyspy_rs();
    command.args(["dump", "--core"]).arg(file).args(arguments);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        matches!(lines[..], [.., error, hint] if error.starts_with("error: ") && hint.starts_with("hint: ")),
        "{said}"
    );
    said
}

#[test]
fn what_is_no_core_of_python_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(path(name), bytes).unwrap();
        path(name)
    };
    let program = fs::read("/proc/self/exe").unwrap();
    let mut header = program[..64].to_vec();
    header[16] = 4; // ET_CORE
    let change = |place: usize, byte: u8| {
        let mut changed = header.clone();
        changed[place] = byte;
        changed
    };
    for (file, expected) in [
        (path("none"), "No such file"),
        (folder.path().to_path_buf(), "a directory"),
        (write("empty", b""), "is empty"),
        (write("text", b"import os\n"), "not a core file"),
        (write("zstd", b"\x28\xb5\x2f\xfd...."), "compressed (zstd)"),
        (write("apport", b"ProblemType: Crash\n"), "apport-unpack"),
        (PathBuf::from("/proc/self/exe"), "not a core file"),
        (write("short", &header[..40]), "truncated"),
        (write("header", &header), "truncated"),
        (write("small", &change(4, 1)), "32-bit"),
        (write("big", &change(5, 2)), "big-endian"),
        (write("arm", &change(18, 183)), "another machine"),
    ] {
        let said = failure(&file, &[]);
        assert!(said.contains(expected), "{expected:?}: {said}");
    }
}

#[test]
fn a_core_of_another_program_is_named() {
    if !kernel_dumps() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "ulimit -c unlimited && exec sleep 100";
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let exe = format!("/proc/{}/exe", child.id());
    crate::support::wait_until("sleep runs", || {
        fs::read_link(&exe).is_ok_and(|path| path.ends_with("sleep"))
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGABRT).unwrap();
    child.wait().unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
    let core = file.unwrap().path();
    let said = failure(&core, &[]);
    assert!(said.contains("sleep, not of a Python program"), "{said}");
    // Another program in the same core folder.
    let said = failure(&core, &["--exe", "/bin/sh"]);
    assert!(
        said.contains("is not the program that dumped this core"),
        "{said}"
    );
    let said = failure(&core, &["--exe", "/etc/passwd"]);
    assert!(said.contains("cannot use /etc/passwd"), "{said}");
}
