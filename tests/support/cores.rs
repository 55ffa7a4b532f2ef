//! Programs that are dumped, by the kernel and by gdb.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::require::{has, skip};
use super::{Dump, Interpreter, Place, Target, Truth, pyspy_rs};

/// A program's core file, and what the program had said of itself.
pub struct Dumped {
    pub core: PathBuf,
    pub truth: Truth,
    pub pid: u32,
    pub place: Place,
}

/// Whether the kernel puts a core file into the folder of the process that it is of.
pub fn kernel_dumps() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let plain = !pattern.is_empty() && !pattern.starts_with(['|', '/', '@']);
    has(
        "cores",
        plain,
        format_args!(
            "/proc/sys/kernel/core_pattern is {pattern:?}: the kernel's core files go elsewhere"
        ),
    )
}

pub fn start(python: &Interpreter) -> (Target, Place) {
    // Its path alone is longer than the 80 bytes of a command line that the kernel stores in a core.
    let place = python.new_place(&"cores".repeat(16));
    let folder = place.seen.to_str().unwrap();
    (Target::start(python, "crashing.py", &[folder]), place)
}

/// Lets the kernel dump a program.
pub fn crash(python: &Interpreter) -> Dumped {
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

/// Lets gdb dump a program, which goes on, into a file in this folder.
pub fn gcore(pid: u32, folder: &Path) -> Option<PathBuf> {
    let output = Command::new("gcore")
        .arg("-o")
        .args([&folder.join("gcore"), Path::new(&pid.to_string())])
        .output();
    let Ok(output) = output else {
        skip("gdb", "there is no gcore (of the package gdb)");
        return None;
    };
    let core = folder.join(format!("gcore.{pid}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(core.is_file(), "gcore wrote none: {said}");
    Some(core)
}

/// The same of a program that says what is true of it.
pub fn dump_by_gdb(target: &Target, place: Place) -> Option<Dumped> {
    Some(Dumped {
        core: gcore(target.pid(), &place.host)?,
        truth: target.truth(),
        pid: target.pid(),
        place,
    })
}

impl Dumped {
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pyspy_rs();
        command.args(["dump", "--core"]).arg(&self.core);
        command.args(arguments);
        command
    }

    pub fn dump(&self, arguments: &[&str]) -> Dump {
        let dump = Dump::run(self.command(arguments).arg("--format=json"));
        dump.assert_matches(&self.truth);
        assert_eq!(dump.pid, u64::from(self.pid));
        // A core does not have these.
        assert!(dump.json["memory"].is_null());
        for thread in dump.json["threads"].as_array().unwrap() {
            assert!(thread["active"].is_null());
            // All of them read from a pipe.
            assert_eq!(thread["system_call"], 0);
        }
        dump
    }

    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Where the program of a chrooted interpreter is for us.
pub fn exe_of(python: &Interpreter) -> Option<String> {
    let root = python.root.as_ref()?;
    let inside = python.executable.strip_prefix("/").unwrap();
    Some(root.join(inside).to_str().unwrap().to_owned())
}
