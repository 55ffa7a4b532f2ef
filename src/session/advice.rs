//! Where the Python interpreter is when a process has none itself.

use std::time::{Duration, Instant};

use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::process::tree::descendants;
use crate::text::escape::command_line;
use crate::text::sanitize::shorten;
use crate::text::secrets::Secrets;

/// Time limit for the search.
const SEARCH_TIME: Duration = Duration::from_secs(1);
/// The most characters of a command line in advice.
const MAX_COMMAND: usize = 60;

/// A hint that names the Python among the descendants of a process that is not one: PyInstaller's boot
/// loader and shell scripts run theirs in a child. `None` when there is none. `pid_option` names a process.
pub fn advice_on_children(pid: Pid, pid_option: impl Fn(Pid) -> String) -> Option<String> {
    let begin = Instant::now();
    let pythons: Vec<(Pid, PythonProcess)> = descendants(&[pid])
        .into_iter()
        .take_while(|_| begin.elapsed() < SEARCH_TIME)
        .filter_map(|child| Some((child.parent, PythonProcess::examine(child.pid).ok()?)))
        .collect();
    let [(parent, first), others @ ..] = pythons.as_slice() else {
        return None;
    };
    let relation = if *parent == pid {
        "its child"
    } else {
        "its descendant"
    };
    let more = match others.len() {
        0 => String::new(),
        1 => ", and 1 more descendant".to_owned(),
        more => format!(", and {more} more descendants"),
    };
    let command = first.target().command_line();
    Some(format!(
        "{relation} {} runs Python {} ({}){more}: use {}, or add -s (--subprocesses) to \
         include all child processes",
        first.pid(),
        first.version(),
        shorten(&command_line(&command.words(Secrets::Hidden)), MAX_COMMAND),
        pid_option(first.pid()),
    ))
}
