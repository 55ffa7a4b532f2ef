//! A target program in a container that is made for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::require::skip;
use super::{Interpreter, Target, binary, copy_program, fixtures};

/// A running program in PID, mount and UTS namespaces of its own, with a root of its own.
pub struct Container {
    /// Its end is the container's end.
    _target: Target,
    _folder: tempfile::TempDir,
    /// The host name inside.
    pub host_name: String,
    /// The container's first process, as we see it.
    pub init: u32,
    /// The program, as we see it.
    pub pid: u32,
    /// The program, as it sees itself.
    pub inner_pid: u32,
}

impl Container {
    /// Whether containers can be made here; says loudly when not.
    pub fn can_be_made() -> bool {
        static CAN: OnceLock<Result<(), String>> = OnceLock::new();
        let can = CAN.get_or_init(|| {
            if !nix::unistd::geteuid().is_root() {
                return Err("making containers needs root".to_owned());
            }
            let folder = tempfile::tempdir().expect("a temporary folder");
            let output = command(folder.path(), "probe").arg("true").output();
            match output {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
                Err(error) => Err(error.to_string()),
            }
        });
        if let Err(reason) = can {
            skip(
                "namespaces",
                format_args!("no containers can be made here: {reason}"),
            );
        }
        can.is_ok()
    }

    /// Starts a fixture in a new container; it must print a plain `ready`, as its own number for itself is
    /// no number of ours.
    pub fn start(python: &Interpreter, fixture: &str) -> Self {
        Self::start_with(python, fixture, None, &[])
    }

    /// The same under a host name, with variables for `container.sh`.
    pub fn start_with(
        python: &Interpreter,
        fixture: &str,
        host_name: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("box-{}-{number}", std::process::id());
        let host_name = host_name.map_or(unique, str::to_owned);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let inner = python.command(&[python.fixture(fixture)]);
        let mut command = command(folder.path(), &host_name);
        command.arg(inner.get_program()).args(inner.get_args());
        let environment = inner.get_envs();
        command.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        command.envs(variables.iter().copied());
        let target = Target::start_command(command);
        let init = only_child(target.started_pid()).expect("the container's first process");
        let mut pid = init;
        while let Some(child) = only_child(pid) {
            pid = child;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inner_pid = numbers.and_then(|numbers| numbers.split_whitespace().last());
        Self {
            _target: target,
            _folder: folder,
            host_name,
            init,
            pid,
            inner_pid: inner_pid.and_then(|pid| pid.parse().ok()).expect("NSpid"),
        }
    }

    /// A path of the container's, as we reach it.
    pub fn path(&self, inside: &Path) -> PathBuf {
        let inside = inside.strip_prefix("/").expect("an absolute path");
        // Its first process has the container's root; the program may have been given another one.
        Path::new(&format!("/proc/{}/root", self.init)).join(inside)
    }

    /// A command that runs our binary in the container, with these capabilities more or less.
    pub fn pyspy_rs(&self, bounding: &str) -> Command {
        let inside = Path::new("/tmp/pyspy-rs");
        if !self.path(inside).exists() {
            let ours = binary();
            copy_program(Path::new(ours), &self.path(inside));
        }
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.init.to_string(),
                "--mount",
                "--pid",
                "--uts",
            ])
            .args(["setpriv", "--bounding-set", bounding])
            .arg(inside)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null());
        command
    }
}

fn command(folder: &Path, host_name: &str) -> Command {
    let mut command = Command::new("sh");
    let script = fixtures().join("container.sh");
    command.arg(script).arg(folder).arg(host_name);
    command
}

fn only_child(pid: u32) -> Option<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    list.split_whitespace().next()?.parse().ok()
}
