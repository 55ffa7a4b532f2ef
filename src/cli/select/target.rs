//! [`Target`]: which process the arguments ask for.

use std::ffi::OsString;

use crate::cli::args::TargetArgs;
use crate::cli::options::usage_error;
use crate::os::Pid;

/// Which process to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that runs.
    Pid(Pid),
    /// One to launch: the program and its arguments; never empty.
    Program(Program),
    /// The only Python process that runs.
    OnlyOne,
    /// One in a container.
    Inside(Inside),
}

/// A process by what its container knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Which container, in one of the ways of [`Containers::processes_in`](crate::os::container::find::Containers).
    pub container: String,
    /// Its number in there; without one it is the only Python.
    pub pid: Option<Pid>,
}

/// A program to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What to run, searched in PATH as a shell does.
    pub file: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// A process that runs.
pub(crate) fn running(pid: Option<Pid>, container: Option<String>) -> Target {
    match (container, pid) {
        (Some(container), pid) => Target::Inside(Inside { container, pid }),
        (None, Some(pid)) => Target::Pid(pid),
        (None, None) => Target::OnlyOne,
    }
}

pub(crate) fn target(args: TargetArgs, command: &str) -> Result<Target, clap::Error> {
    let mut words = args.program.into_iter();
    match (args.pid, words.next()) {
        (_, Some(_)) if args.in_container.is_some() => Err(usage_error(
            command,
            "--in-container looks at a process that runs, and a program starts here: give one of them",
        )),
        (pid, None) => Ok(running(pid, args.in_container)),
        (None, Some(file)) => Ok(Target::Program(Program {
            file,
            args: words.collect(),
        })),
        (Some(_), Some(file)) => Err(usage_error(
            command,
            &format!(
                "--pid looks at a process that runs, and `{}` is a program to run: give one of them",
                file.to_string_lossy().escape_debug()
            ),
        )),
    }
}
