//! [`FaultReader`]: how many page faults a process or one of its threads has had.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::fd_budget::FdPermit;
use crate::os::procfs::stat::ProcStat;
use crate::os::{Pid, Tid};

/// Asks again and again, mostly through a descriptor that stays open.
#[derive(Debug)]
pub struct FaultReader {
    path: String,
    /// `None` when [too many](FdPermit) are open: it is opened for each question then.
    file: Option<(File, FdPermit)>,
}

impl FaultReader {
    /// A reader for all threads of a process together, those that have ended included.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_process(pid: Pid) -> io::Result<FaultReader> {
        FaultReader::open(format!("/proc/{pid}/stat"))
    }

    /// A reader for one thread of a process.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn of_thread(pid: Pid, tid: Tid) -> io::Result<FaultReader> {
        FaultReader::open(format!("/proc/{pid}/task/{tid}/stat"))
    }

    fn open(path: String) -> io::Result<FaultReader> {
        let file = File::open(&path)?;
        Ok(FaultReader {
            path,
            file: FdPermit::take(1).map(|kept| (file, kept)),
        })
    }

    /// Its page faults since it started, minor and major: a page or, with huge pages, many came into
    /// memory with each, or one that was there was copied.
    ///
    /// # Errors
    /// `NotFound` when it has ended; `InvalidData` for a line that is not as documented.
    pub fn total(&self) -> io::Result<u64> {
        let mut line = [0; ProcStat::MAX_LINE];
        let read = match &self.file {
            Some((file, _)) => file.read_at(&mut line, 0),
            None => File::open(&self.path).and_then(|file| file.read_at(&mut line, 0)),
        };
        let length = match read {
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            result => result?,
        };
        let stat = line.get(..length).and_then(ProcStat::parse);
        stat.map(|stat| stat.minor_faults.saturating_add(stat.major_faults))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::page_size;

    #[test]
    fn touching_pages_counts_for_the_thread_that_does() {
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
        // Huge pages would make it fewer; the test's allocator has not asked for them.
        assert!(its >= pages as u64 / 512, "{its}");
        assert!(after.0 - before.0 >= its, "{before:?} {its} {after:?}");
        assert!(after.1 - before.1 < its, "{before:?} {its} {after:?}");
    }

    #[test]
    fn who_has_ended_has_none() {
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
