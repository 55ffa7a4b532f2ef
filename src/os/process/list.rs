//! All processes that we can see, as candidates for attaching.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{command_line, exe_path};
use crate::os::Pid;
use crate::os::procfs::stat::{ProcStat, age_of};
use crate::os::procfs::statm::RssReader;
use crate::os::procfs::tasks::process_ids;
use crate::text::secrets::command::CommandLine;

/// The entry of a process in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSummary {
    pub pid: Pid,
    pub parent: Pid,
    /// Its program; empty when not permitted.
    pub exe: PathBuf,
    /// Its arguments.
    pub command_line: CommandLine,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Time since its start.
    pub age: Duration,
}

impl ProcessSummary {
    /// `None` when it has ended or is a kernel thread.
    pub fn of(pid: Pid) -> Option<ProcessSummary> {
        // This fails without memory, which excludes kernel threads and zombies.
        let rss_bytes = RssReader::open(pid).and_then(|rss| rss.rss_bytes()).ok()?;
        let stat = ProcStat::of_process(pid).ok()?;
        Some(ProcessSummary {
            pid,
            parent: stat.parent,
            exe: exe_path(pid),
            command_line: command_line(pid),
            rss_bytes,
            age: age_of(stat.start_ticks).unwrap_or_default(),
        })
    }
}

/// All processes that we can see except ourselves, by pid.
pub fn all_processes() -> io::Result<Vec<ProcessSummary>> {
    let own = std::process::id().cast_signed();
    let mut pids: Vec<Pid> = process_ids(Path::new("/proc"))?
        .filter(|pid| *pid != own)
        .collect();
    pids.sort_unstable();
    Ok(pids.into_iter().filter_map(ProcessSummary::of).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;
    use crate::text::secrets::Secrets;

    #[test]
    fn a_child_is_listed_and_we_are_not() {
        let cat = Cat::start(std::process::Command::new("cat").arg("-"));
        let own = std::process::id().cast_signed();
        let pid = cat.pid();
        let listed = all_processes().unwrap();
        assert!(listed.iter().all(|process| process.pid != own));
        assert!(listed.is_sorted_by_key(|process| process.pid));
        let found = listed
            .into_iter()
            .find(|process| process.pid == pid)
            .unwrap();
        assert_eq!(*found.command_line.words(Secrets::Shown), ["cat", "-"]);
        assert_eq!(found.parent, own);
        assert!(found.rss_bytes > 0);
        assert!(found.exe.is_absolute());
        drop(cat);
        assert_eq!(ProcessSummary::of(pid), None);
    }
}
