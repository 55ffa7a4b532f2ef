//! [`ProgramId`]: which program a pid stands for at the moment.

use std::fs;
use std::path::{Path, PathBuf};

use crate::os::Pid;
use crate::os::procfs::mm_layout::MmLayout;
use crate::os::procfs::stat::ProcStat;

/// A program in execution. Two values of one pid are equal if they are of the same process, and it has not
/// called exec in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProgramId {
    /// In clock ticks since boot. A later process with the same pid has another one.
    start_ticks: u64,
    /// Its file; empty if it may not be read.
    exe: PathBuf,
    /// Another one for each execution of the same file; `None` if it may not be read.
    layout: Option<MmLayout>,
}

impl ProgramId {
    /// The program that a process executes now; `None` without such a process.
    pub fn of(pid: Pid) -> Option<ProgramId> {
        Some(ProgramId {
            start_ticks: ProcStat::of_process(pid).ok()?.start_ticks,
            exe: fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default(),
            layout: MmLayout::of(pid),
        })
    }

    /// Whether both are programs of one process, rather than of two that had the same pid.
    pub fn is_of_same_process(&self, other: &ProgramId) -> bool {
        self.start_ticks == other.start_ticks
    }

    /// Whether this is its file.
    pub fn is_file(&self, exe: &Path) -> bool {
        self.exe == exe
    }

    #[cfg(test)]
    pub fn of_earlier_exec(self) -> ProgramId {
        ProgramId {
            layout: None,
            ..self
        }
    }

    #[cfg(test)]
    pub fn of_earlier_process(self) -> ProgramId {
        ProgramId {
            start_ticks: self.start_ticks.saturating_sub(1),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn each_execution_of_one_file_is_another_program() {
        const SCRIPT: &str = "echo 1; read go; exec sh -c 'echo 2; read end'";
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = shell.id().cast_signed();
        let mut stdin = shell.stdin.take().unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "1");
        let first = ProgramId::of(pid).unwrap();
        assert_eq!(ProgramId::of(pid).unwrap(), first);
        stdin.write_all(b"go\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "2");
        let second = ProgramId::of(pid).unwrap();
        assert_eq!(first.exe, second.exe);
        assert_ne!(first, second);
        assert!(first.is_of_same_process(&second));
        drop(stdin);
        shell.wait().unwrap();
        assert_eq!(ProgramId::of(pid), None);
    }

    #[test]
    fn a_pid_that_is_given_again_is_another_program() {
        let own = ProgramId::of(std::process::id().cast_signed()).unwrap();
        let earlier = own.clone().of_earlier_process();
        assert!(!own.is_of_same_process(&earlier));
        assert_ne!(own, earlier);
    }
}
