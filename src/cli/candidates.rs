//! Which Python processes run, for who names none.

use std::fs;
use std::time::Duration;

use super::clock::{mib, rough};
use super::errors::{Advised, USAGE, say};
use super::escape::command_line;
use crate::cpython::PythonProcess;
use crate::target::{Pid, TargetProcess};

/// The most processes that are listed.
const MAX_LISTED: usize = 50;

/// A Python process that we may read.
#[derive(Clone, Debug)]
struct Candidate {
    pid: Pid,
    version: String,
    rss_bytes: Option<u64>,
    age: Option<Duration>,
    command: Vec<String>,
}

/// The only Python process that runs; says on stderr which one that is.
///
/// # Errors
/// A usage error when there is none or more than one; these are then listed on stderr.
pub fn only_one() -> Result<Pid, Advised> {
    let candidates = find();
    match candidates.as_slice() {
        [one] => {
            say(&format!(
                "Process {} is the only Python process: {}",
                one.pid,
                command_line(&one.command)
            ));
            Ok(one.pid)
        }
        [] => Err(Advised {
            message: "no --pid was given, and no Python process runs that we may read".to_owned(),
            hint: "give --pid PID, or run as root to see other users' processes".to_owned(),
            status: USAGE,
        }),
        several => {
            for line in table(several) {
                say(&line);
            }
            Err(Advised {
                message: format!(
                    "no --pid was given, and {} Python processes run",
                    several.len()
                ),
                hint: "give --pid with one of those above".to_owned(),
                status: USAGE,
            })
        }
    }
}

/// Every Python process that we may read, but ourselves (a test of ours may be one).
fn find() -> Vec<Candidate> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id();
    let mut pids: Vec<Pid> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(own))
        .collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(candidate).collect()
}

fn candidate(pid: Pid) -> Option<Candidate> {
    let target = TargetProcess::open(pid).ok()?;
    if !looks_like_python(&target) {
        return None;
    }
    let process = PythonProcess::attach(pid).ok()?;
    Some(Candidate {
        pid,
        version: process.version().to_string(),
        rss_bytes: target.rss().ok(),
        age: target.age().ok(),
        command: target.command_line(),
    })
}

/// A quick look, before every program of the machine gets its symbols read. It misses a Python
/// that is linked statically into a program of another name; that one needs its `--pid`.
fn looks_like_python(target: &TargetProcess) -> bool {
    let is_python = |path: &std::path::Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains("python"))
    };
    is_python(&target.exe_path())
        || target
            .maps()
            .is_ok_and(|maps| maps.iter().filter_map(|m| m.file_path()).any(is_python))
}

fn table(candidates: &[Candidate]) -> Vec<String> {
    let unknown = || "?".to_owned();
    let mut lines = vec![format!(
        "{:>8}  {:<9} {:>11}  {:>8}  COMMAND",
        "PID", "VERSION", "RSS", "AGE"
    )];
    lines.extend(candidates.iter().take(MAX_LISTED).map(|one| {
        format!(
            "{:>8}  {:<9} {:>11}  {:>8}  {}",
            one.pid,
            one.version,
            one.rss_bytes.map_or_else(unknown, mib),
            one.age.map_or_else(unknown, rough),
            command_line(&one.command)
        )
    }));
    let more = candidates.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_one_needs_to_choose() {
        let candidates = [
            Candidate {
                pid: 8172,
                version: "3.11.7".to_owned(),
                rss_bytes: Some(59_873_690),
                age: Some(Duration::from_secs(200)),
                command: vec!["python".to_owned(), "app.py\n".to_owned()],
            },
            Candidate {
                pid: 12,
                version: "2.7.18".to_owned(),
                rss_bytes: None,
                age: None,
                command: vec!["python2".to_owned()],
            },
        ];
        assert_eq!(
            table(&candidates),
            [
                "     PID  VERSION           RSS       AGE  COMMAND",
                "    8172  3.11.7       57.1 MiB    3m 20s  python app.py\\n",
                "      12  2.7.18              ?         ?  python2",
            ]
        );
        let [one, _] = candidates;
        let many = vec![one; MAX_LISTED + 3];
        assert_eq!(
            table(&many).last().map(String::as_str),
            Some("… and 3 more")
        );
    }
}
