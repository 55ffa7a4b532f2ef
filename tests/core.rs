//! `dump --core`: what a core file tells is what the program said of itself before it was dumped.

// A broken assumption ends the test, and the message says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyspy_rs::cpython::{FrameTable, PythonCore, ValueOptions};
use pyspy_rs::sampler::post_mortem::examine;
use pyspy_rs::target::{CoreFile, CoreOptions};
use support::{
    Dump, Interpreter, Place, Target, Truth, for_each_interpreter, for_each_kind, pyspy_rs,
};

/// A program's core file, and what the program had said of itself.
struct Dumped {
    core: PathBuf,
    truth: Truth,
    pid: u32,
    place: Place,
}

/// Whether the kernel puts a core file into the folder of the process that it is of.
fn kernel_dumps() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let plain = !pattern.is_empty() && !pattern.starts_with(['|', '/', '@']);
    if !plain {
        println!(
            "SKIPPED: cores by the kernel go elsewhere: /proc/sys/kernel/core_pattern is {pattern:?}"
        );
    }
    plain
}

fn start(python: &Interpreter) -> (Target, Place) {
    let place = python.new_place("cores");
    let folder = place.seen.to_str().unwrap();
    (Target::start(python, "crashing.py", &[folder]), place)
}

/// Lets the kernel dump a program.
fn crash(python: &Interpreter) -> Dumped {
    let (mut target, place) = start(python);
    let (truth, pid) = (target.truth(), target.pid());
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSEGV).unwrap();
    let status = target.wait();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(Signal::SIGSEGV as i32)
    );
    let mut files = fs::read_dir(&place.host).unwrap();
    let file = files.next().expect("the kernel writes a core file");
    Dumped {
        core: file.unwrap().path(),
        truth,
        pid,
        place,
    }
}

/// Lets gdb dump a program, which goes on.
fn gcore(target: &Target, place: Place) -> Option<Dumped> {
    let prefix = place.host.join("gcore");
    let output = Command::new("gcore")
        .arg("-o")
        .args([&prefix, Path::new(&target.pid().to_string())])
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no gcore (of the package gdb)");
        return None;
    };
    let core = place.host.join(format!("gcore.{}", target.pid()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(core.is_file(), "gcore wrote none: {said}");
    Some(Dumped {
        core,
        truth: target.truth(),
        pid: target.pid(),
        place,
    })
}

impl Dumped {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pyspy_rs();
        command.args(["dump", "--core"]).arg(&self.core);
        command.args(arguments);
        command
    }

    fn dump(&self, arguments: &[&str]) -> Dump {
        let dump = Dump::run(self.command(arguments).arg("--json"));
        dump.assert_matches(&self.truth);
        assert_eq!(dump.pid, u64::from(self.pid));
        // Nobody can know these from a core.
        assert!(dump.json["memory"].is_null());
        for thread in dump.json["threads"].as_array().unwrap() {
            assert!(thread["active"].is_null());
            // All of them read from a pipe.
            assert_eq!(thread["system_call"], 0);
        }
        dump
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Where the program of a chrooted interpreter is for us.
fn exe_of(python: &Interpreter) -> Option<String> {
    let root = python.root.as_ref()?;
    let inside = python.executable.strip_prefix("/").unwrap();
    Some(root.join(inside).to_str().unwrap().to_owned())
}

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
        // All of the words, and more than the kernel keeps for cores.
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
        let line = format!("(uid 0), got by thread {hit}\n");
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
        // There nothing leads to the innermost frame, and that is said.
        let dump = Dump::run(dumped.command(&[]).arg("--json"));
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
        let Some(dumped) = gcore(&target, place) else {
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
        let line = "Signal: SIGSEGV at address 0x8, where nothing is mapped, got by thread ";
        let (_, rest) = text.split_once(line).unwrap_or_else(|| panic!("{text}"));
        let hit = rest.lines().next().unwrap();
        let line =
            format!("Thread {hit} (SIGSEGV, gil): \"crasher\"\n    string_at (ctypes/__init__.py:");
        assert!(text.contains(&line), "{text}");
        assert!(text.contains("    crash (segfault.py:15)\n"), "{text}");
        assert!(text.contains("            address: 8\n"), "{text}");
    });
}

/// A process that stands still looks the same from its core, down to the last variable.
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
            let Some(dumped) = gcore(&target, python.new_place("cores")) else {
                return;
            };
            let mut command = dumped.command(&["-l", "--json"]);
            if let Some(root) = &python.root {
                command.arg("--sysroot").arg(root);
            }
            let dump = Dump::run(&mut command);
            assert!(dump.errors.is_empty(), "{:?}", dump.errors);
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
        (folder.path().to_path_buf(), "a folder"),
        (write("empty", b""), "is empty"),
        (write("text", b"import os\n"), "no core file"),
        (write("zstd", b"\x28\xb5\x2f\xfd...."), "compressed (zstd)"),
        (write("apport", b"ProblemType: Crash\n"), "apport-unpack"),
        (PathBuf::from("/proc/self/exe"), "not a core file"),
        (write("short", &header[..40]), "cut off"),
        (write("header", &header), "cut off"),
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
    support::wait_until("sleep runs", || {
        fs::read_link(&exe).is_ok_and(|path| path.ends_with("sleep"))
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGABRT).unwrap();
    child.wait().unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
    let core = file.unwrap().path();
    let said = failure(&core, &[]);
    assert!(said.contains("sleep, not of a Python program"), "{said}");
    // Somebody else's program beside it.
    let said = failure(&core, &["--exe", "/bin/sh"]);
    assert!(
        said.contains("is not the program that left this core"),
        "{said}"
    );
    let said = failure(&core, &["--exe", "/etc/passwd"]);
    assert!(said.contains("cannot use /etc/passwd"), "{said}");
}

/// All that a dump reads, in this process. Whatever the file holds, it ends, with a result or an error.
fn read_all(core: &Path) -> Result<usize, String> {
    let core = CoreFile::open(core, &CoreOptions::default()).map_err(|e| e.to_string())?;
    let mut core = PythonCore::find(core).map_err(|e| e.to_string())?;
    let mut frames = FrameTable::default();
    let options = ValueOptions::level(1, false);
    let inspect = |core: &PythonCore, frame: &_| core.frame_locals(frame, options).is_ok();
    let snapshot = examine(&mut core, &mut frames, inspect).map_err(|e| e.to_string())?;
    Ok(snapshot.traces.iter().map(|trace| trace.frames.len()).sum())
}

/// A file of which some is changed and then put back.
struct Changed<'a> {
    file: &'a File,
    at: u64,
    before: Vec<u8>,
}

impl<'a> Changed<'a> {
    fn new(file: &'a File, at: u64, bytes: &[u8]) -> Self {
        let mut before = vec![0; bytes.len()];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(bytes, at).unwrap();
        Changed { file, at, before }
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.file.write_all_at(&self.before, self.at).unwrap();
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let mut words = line.unwrap().split_whitespace();
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn cut_and_changed_cores_are_survived() {
    if !kernel_dumps() {
        return;
    }
    for_each_kind("core-hostile", |python| {
        let dumped = crash(python);
        let whole = read_all(&dumped.core);
        assert!(whole.is_ok(), "{whole:?}");
        let before = peak_kib();
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(&dumped.core)
            .unwrap();
        let size = file.seek(SeekFrom::End(0)).unwrap();
        let mut head = vec![0; 64 << 10];
        file.read_exact_at(&mut head, 0).unwrap();
        let notes = u64::from_le_bytes(head[64 + 8..64 + 16].try_into().unwrap());
        let words = [
            0u64,
            1,
            0xffff,
            1 << 12,
            1 << 31,
            1 << 40,
            u64::MAX - 7,
            u64::MAX,
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 8) % below
        };
        let mut survived = 0;
        for round in 0..120 {
            // In turn: a header, a note, some memory; a word of 4 or 8 bytes.
            let at = match round % 4 {
                0 | 1 => random(notes),
                2 => notes + random(12 << 10),
                _ => random(size - 8),
            } & !3;
            let word = match random(4) {
                0 => random(size),
                _ => words[usize::try_from(random(8)).unwrap()],
            };
            let length = if random(2) == 0 { 4 } else { 8 };
            let _changed = Changed::new(&file, at, &word.to_le_bytes()[..length]);
            survived += usize::from(read_all(&dumped.core).is_ok());
        }
        assert!(survived > 20, "{survived} of 120 could be read");
        // From the end on, so that each cut is of the same file.
        let mut lengths: Vec<u64> = (1..12).map(|part| size / 12 * part).collect();
        lengths.extend([
            1,
            63,
            64,
            100,
            notes,
            notes + 200,
            notes + 3000,
            notes + 9000,
        ]);
        lengths.sort_unstable();
        for length in lengths.into_iter().rev() {
            file.set_len(length).unwrap();
            let read = read_all(&dumped.core);
            assert!(length > notes + 400 || read.is_err(), "{length}: {read:?}");
        }
        let grown = peak_kib().saturating_sub(before);
        assert!(grown < 300 << 10, "{grown} KiB were taken");
        file.flush().unwrap();
    });
}
