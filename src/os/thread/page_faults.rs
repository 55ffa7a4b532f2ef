//! [`FaultReader`]: the number of page faults of a process or of one of its threads.

use std::fs::File;
use std::io;

use super::fd_budget::FdPermit;
use crate::os::procfs::stat::ProcStat;
use crate::os::{Pid, Tid};

/// Reads repeatedly, through an open descriptor where the budget permits.
#[derive(Debug)]
pub struct FaultReader {
    path: String,
    /// `None` when the [budget](FdPermit) is spent: the file is opened for each read then.
    file: Option<(File, FdPermit)>,
}

impl FaultReader {
    /// For all threads of a process together, those that have ended included.
    pub fn of_process(pid: Pid) -> io::Result<FaultReader> {
        FaultReader::open(format!("/proc/{pid}/stat"))
    }

    pub fn of_thread(pid: Pid, tid: Tid) -> io::Result<FaultReader> {
        FaultReader::open(format!("/proc/{pid}/task/{tid}/stat"))
    }

    fn open(path: String) -> io::Result<FaultReader> {
        let file = File::open(&path)?;
        Ok(FaultReader {
            path,
            file: FdPermit::take(1).map(|permit| (file, permit)),
        })
    }

    /// Minor and major page faults since the start. Each brought one page into memory (or many,
    /// with huge pages) or copied one that was there.
    ///
    /// # Errors
    /// `NotFound` when it has ended; `InvalidData` for a line that is not as documented.
    pub fn total(&self) -> io::Result<u64> {
        let stat = match &self.file {
            Some((file, _)) => ProcStat::reread(file),
            None => File::open(&self.path).and_then(|file| ProcStat::reread(&file)),
        }?;
        Ok(stat.minor_faults.saturating_add(stat.major_faults))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::page_size;

    #[test]
    fn faults_count_for_the_thread_that_touches_the_pages() {
        let own = std::process::id() as Pid;
        let process = FaultReader::of_process(own).unwrap();
        let mine = FaultReader::of_thread(own, nix::unistd::gettid().as_raw()).unwrap();
        let before = (process.total().unwrap(), mine.total().unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        let pages = 4_096;
        std::thread::spawn(move || {
            let tid = nix::unistd::gettid().as_raw();
            let its = FaultReader::of_thread(own, tid).unwrap();
            let before = its.total().unwrap();
            let bytes = usize::try_from(page_size()).unwrap() * pages;
            std::hint::black_box(vec![1_u8; bytes]);
            sender.send(its.total().unwrap() - before).unwrap();
        });
        let its = receiver.recv().unwrap();
        let after = (process.total().unwrap(), mine.total().unwrap());
        // Huge pages would make it fewer, but the test's allocator has not requested them.
        assert!(its >= pages as u64 / 512, "{its}");
        assert!(after.0 - before.0 >= its, "{before:?} {its} {after:?}");
        assert!(after.1 - before.1 < its, "{before:?} {its} {after:?}");
    }

    #[test]
    fn an_ended_process_is_not_found() {
        let error = FaultReader::of_thread(std::process::id() as Pid, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let reader = FaultReader::of_process(child.id() as Pid).unwrap();
        assert!(reader.total().unwrap() > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(reader.total().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
