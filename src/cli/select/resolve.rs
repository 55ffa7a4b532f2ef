//! The process behind a [`Target`].

use super::{candidates, container};
use crate::os::Pid;
use crate::session::errors::UserError;
use crate::session::options::{Process, Target};
use crate::text::secrets::Secrets;

/// The running process or the program of a target.
///
/// # Errors
/// When there is no such process, or more than one.
pub fn process(target: &Target, secrets: Secrets) -> Result<Process, UserError> {
    match target {
        Target::Program(program) => Ok(Process::Launch(program.clone())),
        running => running_process(running, secrets).map(Process::Running),
    }
}

/// The process of a target that is never a program to launch.
///
/// # Errors
/// When there is no such process, or more than one.
pub fn running_process(target: &Target, secrets: Secrets) -> Result<Pid, UserError> {
    match target {
        Target::Pid(pid) => Ok(*pid),
        Target::ContainerTarget(wanted) => container::find(wanted, secrets),
        Target::OnlyOne | Target::Program(_) => candidates::only_one(secrets),
    }
}
