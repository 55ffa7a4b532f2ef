//! What the tests of this floor share: a process that runs until it is told to end.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use super::{Pid, TargetProcess};

/// A running `cat`, by whatever name, which is killed in the end.
pub(crate) struct Cat(pub(crate) Child);

impl Cat {
    /// Starts it and waits until it works: a process that has only just been started may not even
    /// have its program's mappings.
    pub(crate) fn start(command: &mut Command) -> Cat {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cat = Cat(command.spawn().unwrap());
        cat.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        cat.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        cat
    }

    pub(crate) fn pid(&self) -> Pid {
        self.0.id().cast_signed()
    }

    pub(crate) fn open(&self) -> TargetProcess {
        TargetProcess::open(self.pid()).unwrap()
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
