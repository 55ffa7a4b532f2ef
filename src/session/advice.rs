//! Where Python is when a process has none itself.

use std::time::{Duration, Instant};

use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::process::tree::descendants;
use crate::text::escape::command_line;

/// How long processes below one are looked into for advice.
const ADVISED_FOR: Duration = Duration::from_secs(1);
/// The most characters of a command line in advice.
const MAX_COMMAND: usize = 60;

/// Where the Python of a process is that is none itself: PyInstaller's boot loader and shell scripts
/// have theirs in a child. `None` when there is none below it either.
pub fn advice_on_children(pid: Pid) -> Option<String> {
    let begin = Instant::now();
    let pythons: Vec<(Pid, PythonProcess)> = descendants(&[pid])
        .into_iter()
        .take_while(|_| begin.elapsed() < ADVISED_FOR)
        .filter_map(|child| Some((child.parent, PythonProcess::attach(child.pid).ok()?)))
        .collect();
    let [(parent, first), others @ ..] = pythons.as_slice() else {
        return None;
    };
    let relation = if *parent == pid {
        "its child"
    } else {
        "below it,"
    };
    let more = match others.len() {
        0 => String::new(),
        more => format!(", and {more} more below it"),
    };
    Some(format!(
        "{relation} process {} runs Python {} ({}){more}: give --pid {}, or add -s (--subprocesses) \
         to look at all below it",
        first.pid(),
        first.version(),
        short(&command_line(&first.target().command_line())),
        first.pid(),
    ))
}

fn short(command: &str) -> String {
    match command.char_indices().nth(MAX_COMMAND) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or_default()),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_shows_the_beginning_of_a_long_command() {
        assert_eq!(short("python app.py"), "python app.py");
        let long = short(&"ä".repeat(MAX_COMMAND + 1));
        assert_eq!(long, "ä".repeat(MAX_COMMAND) + "…");
    }
}
