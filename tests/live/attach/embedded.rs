//! Programs with an interpreter in them: uWSGI, gdb, a plugin of any name, among hundreds of libraries.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::require::{has, has_root};
use crate::support::{
    Dump, Interpreter, Recording, Target, Thread, WATCHDOG, copy_program, fixtures,
    for_each_interpreter, interpreters, pyspy_rs, wait_until,
};
use serde_json::Value;

/// What the interpreter's own sysconfig says under a key.
fn config(python: &Interpreter, key: &str) -> String {
    let program = format!("import sysconfig; print(sysconfig.{key} or '')");
    let output = python.command(&["-c", &program]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A C compiler's run, which has to succeed.
fn cc(arguments: &[OsString]) {
    let mut command = Command::new("cc");
    let output = command.arg("-w").args(arguments).output();
    let output = output.expect("a C compiler");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The most libraries that a program is to have mapped for one to be found among them.
const LIBRARIES: usize = 300;

/// Copies of a library, for `LD_PRELOAD`.
fn libraries(folder: &Path) -> String {
    let source = folder.join("thing.c");
    let functions: String = (0..100)
        .map(|i| format!("int thing_{i}(int x) {{ return x + {i}; }}\n"))
        .collect();
    fs::write(&source, functions).unwrap();
    let first = folder.join("libthing.so");
    cc(&[
        "-shared".into(),
        "-fPIC".into(),
        "-o".into(),
        first.clone().into(),
        source.into(),
    ]);
    let copy = |i: usize| {
        let path = folder.join(format!("libthing{i}.so"));
        fs::copy(&first, &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (0..LIBRARIES).map(copy).collect::<Vec<_>>().join(" ")
}

fn assert_all_mapped(pid: u32) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let count = (0..LIBRARIES).filter(|i| maps.contains(&format!("libthing{i}.so")));
    assert_eq!(count.count(), LIBRARIES);
}

#[test]
fn among_three_hundred_libraries() {
    for_each_interpreter("300 libraries", (3, 11)..(3, 13), |python| {
        let place = python.new_place("lib");
        let script = python.fixture("calls.py");
        let mut command = python.command(&[script.as_os_str()]);
        command.env("LD_PRELOAD", libraries(&place.host));
        let target = Target::start_command(command);
        assert_all_mapped(target.pid());
        target.dump(&[]).assert_matches(&target.truth());
    });
}

/// The interpreter's static library inside a shared one.
fn build_plugin(python: &Interpreter, folder: &Path) -> Option<PathBuf> {
    let archive = format!(
        "{}/{}",
        config(python, "get_config_var('LIBPL')"),
        config(python, "get_config_var('LIBRARY')")
    );
    let include = config(python, "get_path('include')");
    let is_shared = config(python, "get_config_var('Py_ENABLE_SHARED')") == "1";
    let has_both = Path::new(&archive).is_file() && Path::new(&include).join("Python.h").is_file();
    if python.root.is_some() || !is_shared || !has_both {
        return None;
    }
    let library = folder.join("engine.so");
    cc(&[
        "-shared".into(),
        "-fPIC".into(),
        "-Dmain=embedded_main".into(),
        format!("-I{include}").into(),
        "-o".into(),
        library.clone().into(),
        fixtures().join("embed.c").into(),
        "-Wl,--whole-archive".into(),
        archive.into(),
        "-Wl,--no-whole-archive".into(),
        "-lm".into(),
        "-ldl".into(),
        "-lutil".into(),
        "-lpthread".into(),
    ]);
    let host = folder.join("host");
    let source = fixtures().join("plugin_host.c");
    cc(&["-o".into(), host.into(), source.into(), "-ldl".into()]);
    Some(library)
}

/// Neither the program's name nor the library's says anything of Python.
#[test]
fn in_a_plugin_among_three_hundred_libraries() {
    for_each_interpreter("plugin", (3, 12)..(3, 13), |python| {
        let place = python.new_place("lib");
        let Some(library) = build_plugin(python, &place.host) else {
            println!("SKIPPED {python}: no static library that a shared one can hold");
            return;
        };
        let host = Interpreter {
            executable: place.host.join("host"),
            ..python.clone()
        };
        let script = python.fixture("calls.py");
        let mut command = host.command(&[library.as_os_str(), script.as_os_str()]);
        command.env("PYTHONHOME", config(python, "get_config_var('prefix')"));
        command.env("LD_PRELOAD", libraries(&place.host));
        let target = Target::start_command(command);
        assert_all_mapped(target.pid());
        let dump = target.dump(&[]);
        dump.assert_matches(&target.truth());
        assert_eq!(dump.version, python.version.to_string());
    });
}

/// A static interpreter under another name, with no mapped file that is called Python: it is listed
/// nevertheless. In a namespace of its own it is the only one.
#[test]
fn the_only_python_is_found_under_another_name() {
    // Debian's sysconfig describes the shared library, which is in another package.
    let program = "print('libpython' in open('/proc/self/maps').read())";
    let is_static = |python: &&Interpreter| {
        let output = python.command(&["-c", program]).output();
        python.root.is_none()
            && python.version.minor_pair() >= (3, 4)
            && output.is_ok_and(|output| output.stdout.starts_with(b"False"))
    };
    let Some(python) = interpreters().iter().find(is_static) else {
        println!("SKIPPED: no interpreter without a shared library");
        return;
    };
    if !has_root("making namespaces") {
        return;
    }
    let place = python.new_place("bin");
    let renamed = place.host.join("accounting");
    copy_program(&python.executable, &renamed);
    let said = place.host.join("said");
    let program =
        "import time\ndef waits():\n print('ready', flush=True)\n time.sleep(1000)\nwaits()";
    // The shell is the namespace's first process: all others end with it.
    let script = r#"
        "$1" -S -c "$4" >"$3" &
        until grep -q ready "$3"; do kill -0 $! || exit 9; sleep 0.05; done
        "$2" dump"#;
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["timeout", "100", "sh", "-c", script, "sh"])
        .arg(&renamed)
        .arg(crate::support::binary())
        .arg(&said)
        .arg(program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stdout.contains("waits (<string>:4)"), "{stdout}");
    assert!(stderr.contains("the only Python process"), "{stderr}");
}

/// gdb runs Python in one of its threads, under its own name.
#[test]
fn gdb() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("waits.py");
    let text = "import time\nimport gdb\n\ndef waits():\n    print('ready')\n    gdb.flush()\n    \
                time.sleep(1000)\n\nwaits()\n";
    fs::write(&script, text).unwrap();
    let has_python = Command::new("gdb")
        .args(["-nx", "-batch", "-ex", "python print('yes')"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"yes"));
    if !has("gdb", has_python, "no gdb with Python in it") {
        return;
    }
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-x"]).arg(&script);
    let target = Target::start_command(command);
    let dump = target.dump(&[]);
    let frames = dump.threads.iter().flat_map(|thread| &thread.frames);
    let names: Vec<&str> = frames.map(|frame| &*frame.name).collect();
    assert_eq!(names, ["waits", "<module>"]);
}

/// A running uWSGI: two processes with two threads each.
struct Uwsgi {
    socket: PathBuf,
    /// Held so that requests go on.
    requests: Vec<BufReader<UnixStream>>,
    pid: u32,
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Uwsgi {
    fn start(packages: &Path) -> Uwsgi {
        let folder = tempfile::tempdir().unwrap();
        let (socket, ready) = (folder.path().join("socket"), folder.path().join("ready"));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(packages.join("bin/uwsgi"))
            .arg("--http-socket")
            .arg(&socket)
            .args(["--master", "--no-orphans", "--enable-threads"])
            .args(["--processes", "2", "--threads", "2"])
            .args(["--module", "uwsgi_app", "--chdir"])
            .arg(fixtures())
            .env("READY", &ready)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("uWSGI starts");
        let uwsgi = Uwsgi {
            socket,
            requests: Vec::new(),
            pid: child.id(),
            child,
            _folder: folder,
        };
        let lines = || fs::read_to_string(&ready).map_or(0, |text| text.lines().count());
        wait_until("uWSGI's workers are ready", || lines() == 2);
        uwsgi
    }

    /// Makes a request that never ends; what the thread that serves it says of itself.
    fn get(&mut self, path: &str) -> Value {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "no answer");
        }
        self.requests.push(stream);
        serde_json::from_str(&line).unwrap()
    }

    fn dump(&self) -> Vec<Dump> {
        let pid = self.pid.to_string();
        Dump::run_all(pyspy_rs().args(["dump", "--format=json", "-s", "--pid", &pid]))
    }
}

impl Drop for Uwsgi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The thread of a dump that a request's answer names.
fn thread<'d>(dumps: &'d [Dump], who: &Value) -> &'d Thread {
    let process = dumps
        .iter()
        .find(|dump| Some(dump.pid) == who["pid"].as_u64());
    let mut threads = process.expect("the worker").threads.iter();
    let thread = threads.find(|thread| thread.os_thread_id == who["tid"].as_u64());
    thread.expect("the worker's thread")
}

fn functions(thread: &Thread) -> Vec<&str> {
    thread.frames.iter().map(|frame| &*frame.name).collect()
}

#[test]
fn uwsgi_with_processes_and_threads() {
    for_each_interpreter("uwsgi", (3, 12)..(3, 13), |python| {
        let Some(packages) = python.packages(&["uwsgi==2.0.31"]) else {
            println!("SKIPPED: uWSGI cannot be built for {python}");
            return;
        };
        let mut uwsgi = Uwsgi::start(&packages);
        // Nothing to do: each worker has a Python thread of its own that rests.
        let mut dumps = Vec::new();
        wait_until("all of uWSGI sleeps", || {
            dumps = uwsgi.dump();
            dumps
                .iter()
                .flat_map(|dump| &dump.threads)
                .all(|thread| !thread.active)
        });
        assert_eq!(dumps.len(), 3, "a master and two workers");
        for worker in &dumps[1..] {
            assert_eq!(worker.errors, [""; 0]);
            let names: Vec<_> = worker.threads.iter().map(|t| t.name.as_deref()).collect();
            assert_eq!(names.len(), 3, "{names:?}");
            assert!(names.contains(&Some("resting")), "{names:?}");
            for thread in &worker.threads {
                let task = format!("/proc/{}/task/{}", worker.pid, thread.os_thread_id.unwrap());
                assert!(Path::new(&task).exists(), "{task}");
                // What waits for a request is in C, and has no frame.
                let rests = thread.name.as_deref() == Some("resting");
                assert_eq!(functions(thread).contains(&"rests"), rests, "{thread:?}");
            }
        }
        let pid = uwsgi.pid;
        let idle = Recording::of_pid(pid, &["-s", "-i", "-r", "100", "-d", "1", "-f", "raw"]);
        idle.assert_no_error();
        let (resting, all) = idle.samples_with("rests (");
        assert!(
            resting > 0 && resting == all,
            "{resting} of {all}: {}",
            idle.file
        );

        // Two requests at once are served by different threads, whichever they are.
        let (holds, spins) = (uwsgi.get("/holds"), uwsgi.get("/spins"));
        wait_until("both requests are under way", || {
            dumps = uwsgi.dump();
            let (holder, spinner) = (thread(&dumps, &holds), thread(&dumps, &spins));
            !holder.active && functions(holder).last() == Some(&"holds") && spinner.active
        });
        assert_eq!(functions(thread(&dumps, &spins)), ["spins"]);
        for (who, thread) in [&holds, &spins].map(|who| (who, thread(&dumps, who))) {
            assert_eq!(thread.name.as_deref(), who["name"].as_str());
        }
        let busy = Recording::of_pid(pid, &["-s", "-r", "100", "-d", "1", "-f", "raw"]);
        busy.assert_no_error();
        let (spinning, all) = busy.samples_with("spins (");
        assert!(
            spinning > 0 && spinning * 2 > all,
            "{spinning} of {all}: {}",
            busy.file
        );
    });
}

/// Fails to dump; returns what is said of it.
fn refused(pid: u32) -> String {
    let Output { status, stderr, .. } = pyspy_rs()
        .args(["dump", "--pid", &pid.to_string()])
        .output()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_program_that_is_no_python_says_which_child_is() {
    let python = &interpreters()[0];
    let mut words = vec![OsString::from("-c"), "\"$@\"; exit 7".into(), "sh".into()];
    words.extend(python.words(&[python.fixture("calls.py")]));
    let mut command = Command::new("sh");
    let target = Target::start_command({
        command.args(words);
        command
    });
    let (shell, child) = (target.started_pid(), target.pid());
    assert_ne!(shell, child);
    let said = refused(shell);
    let expected = format!("hint: its child {child} runs Python {} (", python.version);
    assert!(said.contains(", not a Python program\n"), "{said}");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains(&format!("use --pid {child}, or add -s")),
        "{said}"
    );
}
