//! The running Python processes, for a command without a target.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::cpython::attach::error::AttachError;
use crate::cpython::attach::locate::program_holds_interpreter;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::process::TargetProcess;
use crate::os::process::list::{ProcessSummary, all_processes};
use crate::os::procfs::maps::{Mapping, read_mappings};
use crate::os::work_budget::{EXAMINE, GaveUp, WorkBudget};
use crate::session::errors::{USAGE, UserError, print_stderr};
use crate::text::align::{Align, columns, more};
use crate::text::escape::command_line;
use crate::text::secrets::Secrets;
use crate::text::units::{mib, rough_duration};

/// Most processes that are listed.
const MAX_LISTED: usize = 50;

/// How long all processes together may be examined. Five hundred ordinary ones take half a second.
const SEARCH: Duration = Duration::from_secs(5);

/// A readable Python process.
#[derive(Clone, Debug)]
struct Candidate {
    process: ProcessSummary,
    version: String,
}

/// The only readable Python process. Prints on stderr which one it is.
///
/// # Errors
/// A usage error when there is none or more than one, or one that may be Python as well; these are
/// listed on stderr.
pub fn only_one(secrets: Secrets) -> Result<Pid, UserError> {
    let mut search = Search::start();
    let candidates: Vec<Candidate> = all_processes()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|process| search.examine(process))
        .collect();
    let unknown = search.unknown();
    let running = match (candidates.as_slice(), unknown.as_slice()) {
        ([one], []) => {
            print_stderr(&format!(
                "Using process {}, the only Python process: {}",
                one.process.pid,
                command_line(&one.process.command_line.words(secrets))
            ));
            return Ok(one.process.pid);
        }
        ([], []) => {
            return Err(UserError {
                message: "no --pid given, and no readable Python process found".to_owned(),
                hint: match geteuid().is_root() {
                    true => "use --pid PID; doctor --pid PID says why a process is not readable",
                    false => "use --pid PID, or run as root to find other users' processes",
                }
                .to_owned(),
                status: USAGE,
            });
        }
        ([], _) => "no Python process is known to be running".to_owned(),
        ([_], _) => "more than one Python process may be running".to_owned(),
        (several, _) => format!("{} Python processes are running", several.len()),
    };
    if !candidates.is_empty() {
        for line in table(&candidates, secrets) {
            print_stderr(&line);
        }
    }
    for line in unknown {
        print_stderr(&line);
    }
    Err(UserError {
        message: format!("no --pid given, and {running}"),
        hint: "use --pid with one of those above".to_owned(),
        status: USAGE,
    })
}

/// A search for Python processes among all. No process makes it take longer than a moment.
pub struct Search {
    deadline: Deadline,
    programs: Programs,
    /// Those that could not be examined in their time.
    gave_up: Vec<(Pid, GaveUp)>,
    /// How many were not examined at all.
    left_out: usize,
}

impl Search {
    pub fn start() -> Search {
        Search {
            deadline: Deadline::after(SEARCH),
            programs: Programs::default(),
            gave_up: Vec::new(),
            left_out: 0,
        }
    }

    /// The process as a candidate, if it is a readable Python process.
    fn examine(&mut self, process: ProcessSummary) -> Option<Candidate> {
        if self.deadline.is_over() {
            self.left_out += 1;
            return None;
        }
        let budget = WorkBudget::within_and_by(EXAMINE, self.deadline);
        let holds = match looks_like_python(&process, &budget) {
            true => Ok(true),
            false => self.programs.hold_python(process.pid, &budget),
        };
        match holds {
            Ok(true) => {}
            Ok(false) => return None,
            Err(gave_up) => {
                self.gave_up.push((process.pid, gave_up));
                return None;
            }
        }
        self.attach(process, &budget)
    }

    /// Whether a process is a readable Python process.
    pub fn is_python(&mut self, process: ProcessSummary) -> bool {
        if self.deadline.is_over() {
            self.left_out += 1;
            return false;
        }
        let budget = WorkBudget::within_and_by(EXAMINE, self.deadline);
        self.attach(process, &budget).is_some()
    }

    fn attach(&mut self, process: ProcessSummary, budget: &WorkBudget) -> Option<Candidate> {
        match PythonProcess::attach_within(process.pid, budget) {
            Ok(attached) => Some(Candidate {
                process,
                version: attached.version().to_string(),
            }),
            Err(AttachError::GaveUp { pid, gave_up }) => {
                self.gave_up.push((pid, gave_up));
                None
            }
            Err(_) => None,
        }
    }

    /// A line for each process that may be Python as well, as far as there is room.
    pub fn unknown(&self) -> Vec<String> {
        let line = |(pid, gave_up): &(Pid, GaveUp)| {
            format!("Process {pid} may be a Python process: {gave_up}")
        };
        let mut lines: Vec<String> = self.gave_up.iter().take(MAX_LISTED).map(line).collect();
        lines.extend(more(self.gave_up.len(), MAX_LISTED));
        if self.left_out > 0 {
            let processes = match self.left_out {
                1 => "1 process was".to_owned(),
                count => format!("{count} processes were"),
            };
            lines.push(format!(
                "{processes} not examined: the search is given up after {} s",
                SEARCH.as_secs()
            ));
        }
        lines
    }
}

/// Whether a program contains an interpreter, by its device and inode.
#[derive(Default)]
struct Programs(HashMap<(u64, u64), Result<bool, GaveUp>>);

impl Programs {
    /// Finds an interpreter linked into a program of any name.
    fn hold_python(&mut self, pid: Pid, budget: &WorkBudget) -> Result<bool, GaveUp> {
        if let Some(gave_up) = budget.gave_up() {
            return Err(gave_up);
        }
        let Ok(file) = fs::metadata(format!("/proc/{pid}/exe")) else {
            return Ok(false);
        };
        let examine = || match TargetProcess::open(pid) {
            Ok(process) => program_holds_interpreter(&process, budget),
            Err(_) => Ok(false),
        };
        let known = self.0.entry((file.dev(), file.ino()));
        known.or_insert_with(examine).clone()
    }
}

/// A quick test of file names, before symbols are read.
fn looks_like_python(process: &ProcessSummary, budget: &WorkBudget) -> bool {
    let is_python = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains("python"))
    };
    budget.begin("while its mappings were read");
    is_python(&process.exe)
        || read_mappings(process.pid, budget.deadline())
            .is_ok_and(|maps| maps.iter().filter_map(Mapping::file_path).any(is_python))
}

fn table(candidates: &[Candidate], secrets: Secrets) -> Vec<String> {
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
            command_line(&one.process.command_line.words(secrets)),
        ]
    });
    let mut lines = columns(&HEADINGS, &rows.collect::<Vec<_>>());
    lines.extend(more(candidates.len(), MAX_LISTED));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::secrets::command::CommandLine;

    #[test]
    fn lists_what_is_needed_to_choose() {
        let one = Candidate {
            process: ProcessSummary {
                pid: 8172,
                parent: 1,
                exe: "/usr/bin/python3.11".into(),
                command_line: CommandLine::new(vec!["python".to_owned(), "app.py\n".to_owned()]),
                rss_bytes: 59_873_690,
                age: Duration::from_secs(200),
            },
            version: "3.11.7".to_owned(),
        };
        assert_eq!(
            table(std::slice::from_ref(&one), Secrets::Hidden),
            [
                " PID  VERSION       RSS     AGE  COMMAND",
                "8172  3.11.7   57.1 MiB  3m 20s  python app.py\\n",
            ]
        );
        let many = vec![one; MAX_LISTED + 3];
        assert_eq!(
            table(&many, Secrets::Hidden).last().map(String::as_str),
            Some("… and 3 more")
        );
    }

    #[test]
    fn processes_without_an_answer_are_named() {
        let mut search = Search::start();
        assert!(search.unknown().is_empty());
        let gave_up = GaveUp {
            doing: "while its mappings were read".into(),
            limit: EXAMINE,
        };
        search.gave_up.push((8172, gave_up));
        search.left_out = 3;
        assert_eq!(
            search.unknown(),
            [
                "Process 8172 may be a Python process: gave up after 500 ms, while its mappings were read",
                "3 processes were not examined: the search is given up after 5 s",
            ]
        );
    }
}
