//! [`Status`]: fields of `/proc/PID/status`.

use std::io;
use std::path::Path;

use super::read::read_capped;
use crate::os::{Pid, Tid};

/// A `status` file has about 1.5 KB; a long list of groups makes it longer.
const MAX_STATUS: u64 = 1 << 18;

/// A parsed `status` file; field names are those of proc_pid_status(5). Missing fields stay empty:
/// a kernel thread has no memory fields, and an old kernel has fewer fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `Tgid`: the process of the thread.
    pub process: Option<Pid>,
    /// `TracerPid`: the tracing thread; `None` for 0.
    pub tracer: Option<Pid>,
    /// The first of `Uid`.
    pub real_uid: Option<u32>,
    /// The second of `Uid`.
    pub effective_uid: Option<u32>,
    /// The fourth of `Uid`, used for opening files.
    pub filesystem_uid: Option<u32>,
    /// The fourth of `Gid`, and `Groups`.
    pub filesystem_groups: Vec<u32>,
    /// `NSpid`: the id in each PID namespace, ours first.
    pub namespace_ids: Vec<Tid>,
    /// `SigIgn`: bit N-1 for signal N.
    pub ignored_signals: u64,
    /// `CapEff`.
    pub effective_capabilities: u64,
    /// `Seccomp`: 0 for none, 1 for strict, 2 for a filter.
    pub seccomp: Option<u8>,
    /// `NoNewPrivs`: executing a program cannot raise privileges.
    pub no_new_privileges: bool,
    /// `VmHWM` in bytes: the peak of the resident memory.
    pub peak_rss_bytes: Option<u64>,
    /// `VmRSS` in bytes.
    pub rss_bytes: Option<u64>,
    /// `RssFile` in bytes: pages of mapped files, without shared memory.
    pub file_bytes: Option<u64>,
    /// `RssShmem` in bytes: pages of shared memory (System V, tmpfs, memfd, shared anonymous mappings).
    pub shmem_bytes: Option<u64>,
    /// `VmSwap` in bytes.
    pub swap_bytes: Option<u64>,
    /// `Threads`.
    pub threads: Option<u64>,
}

impl Status {
    pub fn read(path: &Path) -> io::Result<Status> {
        Ok(Status::parse(&read_capped(path, MAX_STATUS)?))
    }

    pub fn of_process(pid: Pid) -> io::Result<Status> {
        Status::read(Path::new(&format!("/proc/{pid}/status")))
    }

    pub fn of_thread(pid: Pid, tid: Tid) -> io::Result<Status> {
        Status::read(Path::new(&format!("/proc/{pid}/task/{tid}/status")))
    }

    fn parse(text: &[u8]) -> Status {
        let mut status = Status::default();
        for line in text.split(|&byte| byte == b'\n') {
            // The process name can be any bytes, but is escaped and on a line of its own.
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let mut words = value.split_ascii_whitespace();
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            let kilobytes = |kb: Option<u64>| kb.map(|kb| kb.saturating_mul(1024));
            match key {
                "Tgid" => status.process = number().and_then(|pid| Pid::try_from(pid).ok()),
                "TracerPid" => {
                    status.tracer = number()
                        .and_then(|pid| Pid::try_from(pid).ok())
                        .filter(|pid| *pid != 0);
                }
                "Uid" => {
                    let mut uid = || number().and_then(|uid| u32::try_from(uid).ok());
                    status.real_uid = uid();
                    status.effective_uid = uid();
                    status.filesystem_uid = words.nth(1).and_then(|uid| uid.parse().ok());
                }
                "Gid" => {
                    let gid: Option<u32> = words.nth(3).and_then(|gid| gid.parse().ok());
                    status.filesystem_groups.extend(gid);
                }
                "Groups" => {
                    let groups = words.filter_map(|gid| gid.parse::<u32>().ok());
                    status.filesystem_groups.extend(groups);
                }
                "NSpid" => {
                    status.namespace_ids = words.filter_map(|word| word.parse().ok()).collect();
                }
                "SigIgn" => status.ignored_signals = mask(value),
                "CapEff" => status.effective_capabilities = mask(value),
                "Seccomp" => status.seccomp = number().and_then(|mode| u8::try_from(mode).ok()),
                "NoNewPrivs" => status.no_new_privileges = number() == Some(1),
                "VmHWM" => status.peak_rss_bytes = kilobytes(number()),
                "VmRSS" => status.rss_bytes = kilobytes(number()),
                "RssFile" => status.file_bytes = kilobytes(number()),
                "RssShmem" => status.shmem_bytes = kilobytes(number()),
                "VmSwap" => status.swap_bytes = kilobytes(number()),
                "Threads" => status.threads = number(),
                _ => {}
            }
        }
        status
    }
}

/// A hexadecimal bit set.
fn mask(value: &str) -> u64 {
    u64::from_str_radix(value.trim(), 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_parsed_and_the_name_cannot_fake_them() {
        let text = b"Name:\tevil\\nUid:\t5\nTgid:\t70\nTracerPid:\t0\nUid:\t1000\t0\t1000\t1001\n\
            Gid:\t7\t8\t9\t10\nGroups:\t4 24 \n\
            NSpid:\t71\t3\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\nRssFile:\t 12 kB\nRssShmem:\t 4 kB\nThreads:\t9\n\
            SigIgn:\t0000000001001000\n\
            CapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n\xff\xfe: 1\nnonsense\n";
        assert_eq!(
            Status::parse(text),
            Status {
                process: Some(70),
                tracer: None,
                real_uid: Some(1000),
                effective_uid: Some(0),
                filesystem_uid: Some(1001),
                filesystem_groups: vec![10, 4, 24],
                namespace_ids: vec![71, 3],
                ignored_signals: 0x100_1000,
                file_bytes: Some(12 << 10),
                shmem_bytes: Some(4 << 10),
                effective_capabilities: 0xa804_25fb,
                seccomp: Some(2),
                no_new_privileges: true,
                peak_rss_bytes: Some(2 << 20),
                rss_bytes: Some(1 << 20),
                swap_bytes: None,
                threads: Some(9),
            }
        );
    }
}
