//! The running Python processes, for a command without a target.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cpython::attach::locate::program_holds_interpreter;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::process::TargetProcess;
use crate::os::process::list::{ProcessSummary, all_processes};
use crate::os::procfs::maps::{Mapping, read_mappings};
use crate::session::errors::{USAGE, UserError, print_stderr};
use crate::text::align::{Align, columns, more};
use crate::text::escape::command_line;
use crate::text::units::{mib, rough_duration};

/// Most processes that are listed.
const MAX_LISTED: usize = 50;

/// A readable Python process.
#[derive(Clone, Debug)]
struct Candidate {
    process: ProcessSummary,
    version: String,
}

/// The only readable Python process. Prints on stderr which one it is.
///
/// # Errors
/// A usage error when there is none or more than one; these are listed on stderr.
pub fn only_one() -> Result<Pid, UserError> {
    let candidates = find();
    match candidates.as_slice() {
        [one] => {
            print_stderr(&format!(
                "Using process {}, the only Python process: {}",
                one.process.pid,
                command_line(&one.process.command_line)
            ));
            Ok(one.process.pid)
        }
        [] => Err(UserError {
            message: "no --pid given, and no readable Python process found".to_owned(),
            hint: "use --pid PID, or run as root to find other users' processes".to_owned(),
            status: USAGE,
        }),
        several => {
            for line in table(several) {
                print_stderr(&line);
            }
            Err(UserError {
                message: format!(
                    "no --pid given, and {} Python processes are running",
                    several.len()
                ),
                hint: "use --pid with one of those above".to_owned(),
                status: USAGE,
            })
        }
    }
}

fn find() -> Vec<Candidate> {
    let processes = all_processes().unwrap_or_default();
    let mut programs = Programs::default();
    processes
        .into_iter()
        .filter(|process| looks_like_python(process) || programs.hold_python(process.pid))
        .filter_map(candidate)
        .collect()
}

/// Whether a program contains an interpreter, by its device and inode.
#[derive(Default)]
struct Programs(HashMap<(u64, u64), bool>);

impl Programs {
    /// Finds an interpreter linked into a program of any name.
    fn hold_python(&mut self, pid: Pid) -> bool {
        let Ok(file) = fs::metadata(format!("/proc/{pid}/exe")) else {
            return false;
        };
        *self.0.entry((file.dev(), file.ino())).or_insert_with(|| {
            TargetProcess::open(pid).is_ok_and(|p| program_holds_interpreter(&p))
        })
    }
}

/// Whether a process is a readable Python process.
pub fn is_candidate(process: ProcessSummary) -> bool {
    candidate(process).is_some()
}

fn candidate(process: ProcessSummary) -> Option<Candidate> {
    let version = PythonProcess::attach(process.pid).ok()?.version();
    Some(Candidate {
        process,
        version: version.to_string(),
    })
}

/// A quick test of file names, before symbols are read.
fn looks_like_python(process: &ProcessSummary) -> bool {
    let is_python = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains("python"))
    };
    is_python(&process.exe)
        || read_mappings(process.pid)
            .is_ok_and(|maps| maps.iter().filter_map(Mapping::file_path).any(is_python))
}

fn table(candidates: &[Candidate]) -> Vec<String> {
    const HEADINGS: [(&str, Align); 5] = [
        ("PID", Align::Right),
        ("VERSION", Align::Left),
        ("RSS", Align::Right),
        ("AGE", Align::Right),
        ("COMMAND", Align::Left),
    ];
    let rows = candidates.iter().take(MAX_LISTED).map(|one| {
        vec![
            one.process.pid.to_string(),
            one.version.clone(),
            mib(one.process.rss_bytes),
            rough_duration(one.process.age),
            command_line(&one.process.command_line),
        ]
    });
    let mut lines = columns(&HEADINGS, &rows.collect::<Vec<_>>());
    lines.extend(more(candidates.len(), MAX_LISTED));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lists_what_is_needed_to_choose() {
        let one = Candidate {
            process: ProcessSummary {
                pid: 8172,
                parent: 1,
                exe: "/usr/bin/python3.11".into(),
                command_line: vec!["python".to_owned(), "app.py\n".to_owned()],
                rss_bytes: 59_873_690,
                age: Duration::from_secs(200),
            },
            version: "3.11.7".to_owned(),
        };
        assert_eq!(
            table(std::slice::from_ref(&one)),
            [
                " PID  VERSION       RSS     AGE  COMMAND",
                "8172  3.11.7   57.1 MiB  3m 20s  python app.py\\n",
            ]
        );
        let many = vec![one; MAX_LISTED + 3];
        assert_eq!(
            table(&many).last().map(String::as_str),
            Some("… and 3 more")
        );
    }
}
