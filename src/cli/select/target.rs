//! The process that the arguments select.

use crate::cli::args::TargetArgs;
use crate::cli::args::usage::usage_error;
use crate::os::Pid;
use crate::session::options::{ContainerTarget, Program, Target};

pub(crate) fn running(pid: Option<Pid>, container: Option<String>) -> Target {
    match (container, pid) {
        (Some(container), pid) => Target::ContainerTarget(ContainerTarget { container, pid }),
        (None, Some(pid)) => Target::Pid(pid),
        (None, None) => Target::OnlyOne,
    }
}

pub(crate) fn target(args: TargetArgs, command: &str) -> Result<Target, clap::Error> {
    let mut words = args.program.into_iter();
    match (args.pid, words.next()) {
        (_, Some(_)) if args.in_container.is_some() => Err(usage_error(
            command,
            "--in-container selects a running process and cannot be combined with a program to launch",
        )),
        // As in py-spy; the command has said that the program is not launched.
        (pid @ Some(_), _) | (pid, None) => Ok(running(pid, args.in_container)),
        (None, Some(file)) => Ok(Target::Program(Program {
            file,
            args: words.collect(),
        })),
    }
}
